"""What to change where a run does not fit: each change is planned again, and named only where it fits then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pylm.errors import ConfigError
from pylm.training.estimate.need import changed, need_of
from pylm.training.plan import divisor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pylm.training.estimate.need import Machine, Need
    from pylm.training.estimate.subject import Subject

__all__ = ["suggestions"]

MOST = 3  # changes that are named
LEAST_CONTEXT = 64

Keys = dict[str, Any]


def suggestions(
    subject: Subject, machine: Machine, need: Need, fits: Callable[[Need], bool]
) -> list[tuple[Keys, Need]]:
    """Return the first changes after which a run fits, each with what it takes then.

    Args:
        subject: what does not fit.
        machine: that it does not fit.
        need: what it takes.
        fits: says whether something fits.
    """
    found: list[tuple[Keys, Need]] = []
    kinds: set[frozenset[str]] = set()
    for keys in _changes(subject, machine, need):
        if frozenset(keys) in kinds:
            continue  # the mildest change of a key is enough
        again = _again(subject, machine, keys)
        if again is not None and fits(again):
            kinds.add(frozenset(keys))
            found.append((keys, again))
        if len(found) == MOST:
            break
    return found


def _again(subject: Subject, machine: Machine, keys: Mapping[str, Any]) -> Need | None:
    """Return what the run takes with other values; None where they cannot be."""
    try:
        other = changed(subject, keys)
        if "train.precision" in keys:
            machine = machine._replace(precision=keys["train.precision"])
        return need_of(other, machine)
    except (ConfigError, ValidationError):
        return None


def _changes(subject: Subject, machine: Machine, need: Need) -> Iterator[Keys]:
    """Return what may be changed, what costs least first: nothing but time, then the model's reach, then its size."""
    train, shape, rows = subject.config.train, need.shape, need.batches.micro_batch
    sequences = rows * need.batches.grad_accum_steps
    fewer = list(_halves(sequences, rows))
    # the step stays the same where it is given by its tokens, and where it is not, it is given so
    kept = {"train.batch_tokens": need.batches.tokens, "train.grad_accum_steps": None}
    yield from ({"train.keep_last": keep} for keep in _down(train.keep_last))
    yield from ({**kept, "train.micro_batch": few} for few in fewer)
    if not train.activation_checkpointing:
        checkpointing = {"train.activation_checkpointing": True}
        yield checkpointing
        yield from ({**kept, "train.micro_batch": few, **checkpointing} for few in fewer)
    method = subject.config.finetune.method
    if subject.config.finetune.dataset is not None and not subject.trained.adapter:
        yield {"finetune.method": "dpo-lora" if method == "dpo" else "lora"}
    if machine.precision == "fp32" and machine.fast_bf16:
        yield {"train.precision": "bf16"}
    assert shape.n_layers
    if subject.config.finetune.dataset is not None:  # the checkpoint's shape stays
        return
    least = {**kept, "train.micro_batch": 1} if fewer else {}
    context = shape.context_length
    while context > LEAST_CONTEXT and context % 2 == 0:
        context //= 2
        yield {"model.context_length": context}
        yield {**least, "train.batch_tokens": need.batches.tokens, "model.context_length": context}
    layers = shape.n_layers
    while layers > 1:
        layers //= 2
        yield {"model.n_layers": layers}
        yield {**least, "model.n_layers": layers}


def _halves(sequences: int, rows: int) -> Iterator[int]:
    """Return fewer rows a pass, as many as divide a step."""
    while rows > 1:
        rows = divisor(sequences, rows // 2)
        yield rows


def _down(keep: int) -> Iterator[int]:
    while keep > 1:
        keep //= 2
        yield keep
