"""What `pylm.train` shows on a terminal or in a notebook: rich's bar, and the sentences that stay."""

from __future__ import annotations

import sys
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from pylm.config.units import format_count, format_duration
from pylm.training.events import Doing, Event, Started, Stepped, Tokenized, Tokenizing
from pylm.training.words import said
from pylm.wording import in_python

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["Bar"]

INTERVAL = 0.1  # seconds between figures: what a person can read


class Bar:
    """Hears the events of a training and shows them; shows nothing where nobody looks, as in a script's log."""

    def __init__(self, console: Console | None = None) -> None:
        """Look for a terminal, or a notebook that can draw."""
        self._console = console or _console()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @property
    def shows(self) -> bool:
        """Whether anybody looks."""
        return self._console is not None

    def __enter__(self) -> Bar:
        """Draw an empty bar."""
        if self._console is None:
            return self
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, text="")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        return False

    def __call__(self, event: Event) -> None:
        """Show an event."""
        progress, task = self._progress, self._task
        if progress is None or task is None:
            return
        for line in said(event):
            progress.console.print(in_python(line), markup=False, highlight=False, soft_wrap=True)
        match event:
            case Doing(text):
                progress.update(task, description=in_python(text))
            case Tokenizing():
                progress.update(
                    task,
                    description=event.phase or "tokenize",
                    completed=event.done,
                    total=event.total,
                    text=event.note,
                )
            case Tokenized():
                progress.update(task, completed=0, total=None, text="")
            case Started():
                progress.update(task, description="the first step", completed=event.step, total=event.length.steps)
            case Stepped():
                text = (
                    f"{event.step:,}/{event.steps:,}  loss {event.loss:.4f}  "
                    f"{format_count(event.tokens_per_second)} tokens/s  "
                    f"{format_duration(max(event.seconds_left, 0.0))} left"
                )
                progress.update(task, description="training", completed=event.step, total=event.steps, text=text)


def _console() -> Console | None:
    """Return where to draw; None where nobody looks."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        try:
            import_module("ipywidgets")  # with which rich redraws a line in a notebook
        except ImportError:
            return None
        return console
    return console if sys.stderr is not None and console.is_terminal else None
