"""What training says of itself, as data: a caller's `on_event` gets these, in the order in which things happen.

The words of the command line are made from them, and from nothing else. A text in an event may name parameters (see
pylm.wording): `pylm.train` hands events out with them as keywords.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pylm.wording import in_python

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.training.plan import Batches, Length
    from pylm.training.schedule import Schedule

__all__ = ["Answers", "Asked", "Branched", "Doing", "Ended", "Evaluated", "Evaluation", "Event", "Incident", "Inexact",
           "Initialised", "NoValidation", "Note", "NothingToResume", "Probed", "Resumed", "Sampled", "Saved", "Sized",
           "Started", "StartedOver", "Stepped", "Superseded", "Tokenized", "Tokenizing",
           "TrackerDropped", "in_plain_python"]  # fmt: skip


class Answers(NamedTuple):
    """What a model is worth on the questions that a run asks."""

    suite: str
    tasks: dict[str, float | None]  # by the metric that stands for each; None where its weights give no number
    metrics: dict[str, str]  # which metric that is
    means: dict[str, float]  # over the tasks of each metric
    score: dict[str, float]  # of a suite that has one, such as {"CORE-18": 0.0312}


class Evaluation(NamedTuple):
    """What a validation split says: means over all tokens that count."""

    loss: float
    perplexity: float
    accuracy: float
    bits_per_byte: float | None
    bits_per_byte_with_eot: float | None = None  # the nats of special tokens counted too
    margin: float | None = None  # of pairs of answers: beta times how much the chosen ones gained on the others


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Doing(Event):
    """What is being done now, which may take seconds; nothing of it needs to be kept."""

    text: str


@dataclass(frozen=True)
class Note(Event):
    """A sentence of whatever does the work: the tokenizer, a backend that measures the machine."""

    text: str


@dataclass(frozen=True)
class Tokenizing(Event):
    """How far text has been tokenized, a few times a second."""

    phase: str | None
    done: float
    total: float | None
    unit: str | None
    note: str


@dataclass(frozen=True)
class Tokenized(Event):
    """The text is a folder of tokens; `reused` where an earlier run had made it."""

    sources: tuple[str, ...]
    folder: Path
    reused: bool


@dataclass(frozen=True)
class NoValidation(Event):
    """Nothing is validated on, and why: no checkpoint will be the best."""

    text: str


@dataclass(frozen=True)
class Sized(Event):
    """The size that was derived, and why it is this one."""

    text: str


@dataclass(frozen=True)
class NothingToResume(Event):
    """It starts at step 0: the run has no checkpoint yet, or (None) no run has one."""

    run: Path | None


@dataclass(frozen=True)
class Superseded(Event):
    """A checkpoint is damaged, and the run goes on from an earlier one."""

    run: Path
    damaged: str
    used: str


@dataclass(frozen=True)
class Inexact(Event):
    """The result will not be the same to the bit: these choices changed, each with what it was and what it is."""

    changed: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True)
class Initialised(Event):
    """The weights are a checkpoint's, and so is what was asked for beside them; all else is fresh."""

    checkpoint: Path
    optimizer: bool = False
    inherited: dict[str, Any] = field(default_factory=dict)  # keys of training with their values


@dataclass(frozen=True)
class StartedOver(Event):
    """A run that was killed before its first checkpoint begins again; lines of metrics went."""

    lines_removed: int


@dataclass(frozen=True)
class Resumed(Event):
    """It goes on from this step; lines of metrics past it went, and are made again."""

    step: int
    lines_removed: int


@dataclass(frozen=True)
class Branched(Event):
    """It goes on from another run's checkpoint."""

    checkpoint: Path


@dataclass(frozen=True)
class Probed(Event):
    """What was left to the machine is chosen: micro-batch, compile, seconds a step, by name."""

    choices: dict[str, Any]


@dataclass(frozen=True)
class Started(Event):
    """All is known, and the first step follows."""

    run: Path
    step: int
    shape: Shape
    parameters: int
    tokens: int
    windows: int
    backend: str
    device: str
    choices: dict[str, Any]
    batches: Batches
    length: Length
    schedule: Schedule


@dataclass(frozen=True)
class Stepped(Event):
    """An optimizer step was taken; the figures are those of metrics.jsonl."""

    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    mfu: float | None
    memory: int
    seconds_left: float
    pair_accuracy: float | None = None  # of pairs of answers: the share whose chosen one gained on the other
    pair_margin: float | None = None  # by how much, in the mean: beta times nats


@dataclass(frozen=True)
class Evaluated(Event):
    """The validation split was evaluated; `best` where no earlier loss was as low."""

    step: int
    loss: float
    perplexity: float
    accuracy: float
    bits_per_byte: float | None
    bits_per_byte_with_eot: float | None
    best: bool
    average_val_loss: float | None = None  # of the average of the weights, where one is kept
    margin: float | None = None


@dataclass(frozen=True)
class Sampled(Event):
    """The fixed prompts were gone on from: `{"prompt": …, "text": …}` each."""

    step: int
    samples: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Asked(Event):
    """The suite was asked; `average` is what the average of the weights answered, where one is kept."""

    step: int
    answers: Answers
    average: Answers | None = None


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written, whole: a few steps after its own, for a thread writes it while training goes on."""

    step: int
    checkpoint: Path
    best: bool


@dataclass(frozen=True)
class Incident(Event):
    """A step was skipped as it was `not finite`, or its loss was a `spike`."""

    step: int
    kind: str
    loss: float
    run: Path
    record: Mapping[str, Any] = field(default_factory=dict)  # its line of incidents.jsonl


@dataclass(frozen=True)
class TrackerDropped(Event):
    """A tracker raised, or no longer answers: the run goes on without it, and says so once."""

    step: int
    tracker: str
    why: str
    run: Path

    @property
    def record(self) -> Mapping[str, Any]:
        """Its line of incidents.jsonl."""
        return {"step": self.step, "kind": "tracker", "tracker": self.tracker, "why": self.why}


@dataclass(frozen=True)
class Ended(Event):
    """What a run came to: the same figures whether it ended now or had nothing `already` left to do."""

    run: Path
    already: bool
    why: str
    step: int
    tokens: int
    seconds: float
    val_loss: float | None
    perplexity: float | None
    accuracy: float | None
    bits_per_byte: float | None
    bits_per_byte_with_eot: float | None
    best_loss: float | None
    best_step: int | None
    parameters: int


AnyEvent = TypeVar("AnyEvent", bound=Event)


def in_plain_python(event: AnyEvent) -> AnyEvent:
    """Return the event with the parameters in its texts as keywords."""
    texts = {one.name: getattr(event, one.name) for one in fields(event)}
    said = {name: in_python(text) for name, text in texts.items() if isinstance(text, str)}
    changed = {name: text for name, text in said.items() if text != texts[name]}
    return replace(event, **changed) if changed else event
