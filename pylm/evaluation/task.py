"""A task as data: its file, how its rows become questions, what it is measured by."""

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
    template: str | None = None  # of plain rows: the context
    choices: str = "choices"  # of plain rows: the field that holds them
    answer: str = "answer"
    docs: bool = False  # of OLMES requests: the documents they were made of, not the requests
    limit: int | None = None
    primary: str | None = None  # the metric that stands for the task
    baseline: float = 0.0  # what chance is right at
    prefix: str | None = None  # before each context, where the task's measure is defined by it
