"""A task as data: its file, how its items are asked, what it is measured by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """What a suite says of a task."""

    name: str
    file: str  # a path, or a name that is looked for
    shots: int = 0  # examples before each question, drawn from the same file
    delimiter: str = " "  # between context and continuation
    separator: str = "\n\n"  # after each example
    template: str | None = None  # of the context, from all columns of a row
    prompt: str = "prompt"  # the columns of a plain file
    choices: str = "choices"
    answer: str = "answer"
    docs: bool = False  # of OLMES requests: the documents they were made of, not the requests
    limit: int | None = None
    primary: str | None = None  # the metric that stands for the task
    baseline: float = 0.0  # what chance is right at
    prefix: str | None = None  # before each context, where the task's measure is defined by it
