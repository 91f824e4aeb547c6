"""The words of a training, on stderr: what is done at first, a bar while text is tokenized, then a line a step."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from pylm.cli.frame import starting
from pylm.wording import in_options

if TYPE_CHECKING:
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.progress import Progress
    from pylm.runs import View
    from pylm.training.events import Ended, Event, Started

__all__ = ["Narrator"]


class Narrator:
    """A listener that says the events of a training in words; `ended` is the last of them."""

    def __init__(self, activity: Activity) -> None:
        """Speak where `activity` does, and be as quiet."""
        self.ended: Ended | None = None
        self._activity = activity
        self._tokenizing: Progress | None = None
        self._view: View | None = None

    def wants_step(self) -> bool:
        """Say whether a step would be shown now: making its figures costs a little."""
        return self._view is not None and self._view.wants()

    def __call__(self, event: Event) -> None:
        """Say an event."""
        from pylm.training import events
        from pylm.training.words import said

        lines = [in_options(line) for line in said(event)]
        match event:
            case events.Doing(text):
                (self._activity if self._view is None else self._view).doing(in_options(text))
            case events.Tokenizing():
                self._tokenize(event)
            case events.Tokenized():
                self._end_tokenizing()
            case events.Started():
                self._start(event, lines)
                return
            case events.Stepped():
                if self._view is not None:
                    self._view.steps = event.steps  # which a run under a clock finds out on its way
                    self._view.step(vars(event), event.seconds_left)
            case events.Ended():
                self.ended = event  # said on stdout, where it is the command's result
                return
        for line in lines:
            self._say(line)

    def print_ended(self, as_json: bool) -> None:
        """Print what the training came to on stdout: the command's result."""
        import click

        from pylm.cli.frame.printing import drawn_on, print_json
        from pylm.training.words import said

        ended = self.ended
        assert ended is not None
        if as_json:
            print_json({**vars(ended), "run": str(ended.run), "why": in_options(ended.why)})
            return
        lines = in_options("\n".join(said(ended)))
        if drawn_on(sys.stdout):
            from pylm.runs.terminal import wrapped

            lines = wrapped(lines)
        click.echo(lines)

    def __enter__(self) -> Narrator:
        """Return it, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Take away what is drawn."""
        self._end_tokenizing()
        if self._view is not None:
            self._view.close()
        return False

    def _say(self, line: str) -> None:
        if self._view is not None:
            self._view.remark(line)
        elif self._tokenizing is not None:
            self._tokenizing.say(line)
        else:
            self._activity.say(line)

    def _tokenize(self, event: Event) -> None:
        from pylm.cli.frame.progress import Progress
        from pylm.training.events import Tokenizing

        assert isinstance(event, Tokenizing)
        if self._tokenizing is None:
            self._activity.rest()
            self._tokenizing = Progress("tokenize", unit="bytes", quiet=self._activity.quiet)
            self._tokenizing.__enter__()
            return
        self._tokenizing(event.done, event.total, phase=event.phase, unit=event.unit, note=event.note)

    def _end_tokenizing(self) -> None:
        if self._tokenizing is not None:
            self._tokenizing.__exit__(None, None, None)
            self._tokenizing = None

    def _start(self, event: Started, lines: list[str]) -> None:
        """Say what the run will do, and draw its steps from now on."""
        from pylm.runs import View

        self._activity.rest()
        for line in lines:
            self._activity.say(line)
        starting.settle()
        self._view = View(event.length.steps, quiet=self._activity.quiet)
        self._view.begin(event.step, compiling=bool(event.choices.get("compile")))
