"""`pylm.finetune`: examples and a trained model in, a tuned one out; from a script, a notebook or a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.finetuning.request import Tuning
from pylm.training.call import asked, watching, with_named_keys
from pylm.training.events import Event, in_plain_python

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.runs import Run
    from pylm.training.keywords import FinetuneKeywords

__all__ = ["finetune"]

Text = str | os.PathLike[str]


def finetune(
    checkpoint: Text | None = None,
    *,
    dataset: Text | None = None,
    method: str | None = None,
    config: Text | Iterable[Text] = (),
    out: Text | None = None,
    resume: Text | None = None,
    allow_inexact: bool = False,
    profile: int | None = None,
    on_incident: Iterable[str] | None = None,
    on_event: Callable[[Event], object] | None = None,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    **keys: Unpack[FinetuneKeywords],
) -> Run:
    """Tune a trained model on examples, or go on with that, and return the run.

    ::

        run = pylm.finetune("runs/a", dataset="chat.jsonl")
        run = pylm.finetune("runs/a", dataset="chat.jsonl", method="lora", out="runs/b", max_epochs=3)
        run = pylm.finetune(out="runs/b", resume="auto")             # goes on, to the bit

    What it does is what `pylm finetune` does, to the bit. Ctrl-C saves the state and raises pylm.errors.Interrupted.

    Args:
        checkpoint: The CHECKPOINT that is tuned, ours or a folder of Hugging Face's layout; the newest run's best if
            not given.
        dataset: Examples: a file of jsonl, json, csv or parquet, a dataset by name, `hub:ORG/NAME`.
        method: full, lora, or dpo and dpo-lora, which take pairs: `{"prompt", "chosen", "rejected"}`.
        config: YAML files; later ones win.
        out: Folder of the run; `runs/<name>-tuned-<date>-<time>` if not given.
        resume: `auto` for the newest checkpoint of the run, or a CHECKPOINT of it.
        allow_inexact: Whether to go on where the result cannot be the same to the bit.
        profile: Steps of which RUN/profile gets a trace and a table by kernel; none unless given.
        on_incident: A program and its arguments, run when a step or a tracker fails, as by `pylm.train`.
        on_event: Called with each event as it happens, as by `pylm.train`.
        model: Keys of the section `model`, for those that another section has too.
        train: Keys of the section `train`, likewise.
        data: Keys of the section `data`, likewise.
        sample: Keys of the section `sample`, likewise.
        metrics: Keys of the section `metrics`, likewise.
        keys: Every other key of the configuration by its name; `val_share` is what of the examples is held out.
    """
    if on_event is not None and not callable(on_event):
        raise UsageError(f"on_event={on_event!r} cannot be called", "give a function that takes an event")
    named = {"checkpoint": checkpoint, "dataset": dataset, "method": method}
    texts = {name: _name(name, value) for name, value in named.items()}
    given = {**keys, **{name: value for name, value in texts.items() if value is not None and name != "checkpoint"}}
    sections = {"model": model, "train": train, "data": data, "sample": sample, "metrics": metrics}
    paths = {"preset": None, "config": config, "out": out, "resume": resume, "init_from": None}
    read = asked(None, None, paths, sections, given, depth=None, allow_inexact=allow_inexact)
    given_here = replace(read.given, section="finetune")
    request = Tuning(given_here, texts["checkpoint"], read.out, read.resume, allow_inexact,
                     **watching(profile, on_incident))  # fmt: skip
    if on_event is not None:
        return _run(request, on_event, listens=True)
    from pylm.training.bar import Bar

    with Bar() as bar:
        return _run(request, bar, listens=bar.shows)


def _name(what: str, value: Any) -> str | None:
    """Return a name or a path; refuse what is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        return str(Path(value))
    raise UsageError(
        f"{what} is a {type(value).__name__}, and no name",
        "write its rows to a .jsonl and name that" if what == "dataset" else "give a str or a Path",
    )


def _run(request: Tuning, on_event: Callable[[Event], object], listens: bool) -> Run:
    """Run it in a thread of its own."""
    from pylm.finetuning import run
    from pylm.training.apart import Listening, in_own_thread

    def work(to: Listening) -> Run:
        return run.finetune(request, to.on_event, stop=to.stop, wants_step=to.wants_step)

    return in_own_thread(work, lambda event: on_event(in_plain_python(event)), listens)


finetune.__signature__ = with_named_keys(finetune, "finetune")  # type: ignore[attr-defined]
