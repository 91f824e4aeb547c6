"""A task as data: its file, how its items are asked, what it is measured by."""

from __future__ import annotations

from dataclasses import dataclass

from pylm.data.tasks.suite import DELIMITERS
from pylm.errors import UsageError, did_you_mean
from pylm.evaluation.measures import CHOICE_METRICS
from pylm.evaluation.scoring.encoding import PREFIXES

__all__ = ["METRICS", "Task"]

METRICS = (*CHOICE_METRICS, "bpb")


@dataclass(frozen=True)
class Task:
    """What a suite says of a task."""

    name: str
    file: str  # a path, or a name that is looked for
    shots: int = 0  # examples before each question, drawn from the same file
    delimiter: str = DELIMITERS["continuation_delimiter"]  # between context and continuation
    separator: str = DELIMITERS["example_delimiter"]  # after each example
    before: str = DELIMITERS["question_prelimiter"]  # before each question and each example
    template: str | None = None  # of the context, from all columns of a row
    prompt: str = "prompt"  # the columns of a plain file
    choices: str = "choices"
    answer: str = "answer"
    docs: bool = False  # of OLMES requests: the documents they were made of, not the requests
    limit: int | None = None
    primary: str | None = None  # the metric that stands for the task
    baseline: float | None = None  # what chance is right at, where somebody knows
    prefix: str | None = None  # before each context, where the task's measure is defined by it

    def __post_init__(self) -> None:
        """Refuse what cannot be, before anything is read."""
        least = {"shots": 0, "limit": 1}
        for key, value in (("shots", self.shots), ("limit", self.limit)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least[key]):
                raise UsageError(f"{key} of {self.name} is {value!r}", f"give a whole number from {least[key]} on")
        if self.baseline is not None and not 0 <= self.baseline < 1:
            raise UsageError(f"baseline of {self.name} is {self.baseline!r}", "a share below 1, such as 0.25")
        for name, chosen, known in (("prefix", self.prefix, PREFIXES), ("primary", self.primary, METRICS)):
            if chosen is not None and chosen not in known:
                hint = did_you_mean(chosen, known) or f"choose {', '.join(known)}"
                raise UsageError(f"{name} of {self.name} is {chosen!r}", hint)
