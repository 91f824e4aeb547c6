"""The options of `pylm eval` that say how the files of `--tasks` are asked: the fields of a task, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pylm.errors import UsageError

if TYPE_CHECKING:
    from pylm.evaluation.task import Task

__all__ = ["task_options", "tasks_of"]

FIELDS = ("template", "prompt", "choices", "answer", "delimiter", "separator", "before", "baseline", "primary")
ESCAPES = {r"\n": "\n", r"\t": "\t"}
WRITTEN = ("template", "delimiter", "separator", "before")  # in which `\n` is the end of a line

OPTIONS = (
    click.option("--template", metavar="TEXT", help="The question, from all columns: 'Q: {{ question }}\\nA:'."),
    click.option("--prompt", metavar="COLUMN", help="Of a plain file.  [default: prompt]"),
    click.option("--choices", metavar="COLUMN", help="Of a plain file.  [default: choices]"),
    click.option("--answer", metavar="COLUMN", help="Of a plain file.  [default: answer]"),
    click.option("--delimiter", metavar="TEXT", help="Between question and choice.  [default: a space]"),
    click.option("--separator", metavar="TEXT", help="After each example.  [default: \\n\\n]"),
    click.option("--before", metavar="TEXT", help="Before each question and example.  [default: nothing]"),
    click.option("--baseline", type=float, metavar="SHARE", help="What chance is right at, such as 0.25."),
    click.option("--primary", metavar="METRIC", help="What stands for the task: acc, acc_norm, bpb, …"),
)


def task_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; `tasks_of` takes them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def tasks_of(names: str | None, options: dict[str, Any]) -> list[str | Task]:
    """Return the tasks that were named, asked as the options say, which are taken out of `options`."""
    given: dict[str, Any] = {}
    for field in FIELDS:
        value = options.pop(field)
        if value is not None:
            given[field] = _unescaped(value) if field in WRITTEN else value
    if names is None:
        if given:
            raise UsageError(f"--{next(iter(given))} is for tasks that are named", "name one: --tasks FILE")
        return []
    if not given:
        return list(names.split(","))
    from pylm.evaluation.task import Task

    return [Task(name, name, **given) for name in names.split(",")]


def _unescaped(text: str) -> str:
    for written, meant in ESCAPES.items():
        text = text.replace(written, meant)
    return text
