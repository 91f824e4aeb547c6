"""What a run will do, resolved before it starts: steps, batches, FLOPs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pylm.config.batch import plan_batch
from pylm.config.schema import Model, Train
from pylm.config.units import format_count, format_duration
from pylm.errors import ConfigError
from pylm.model.parameters import parameters
from pylm.wording import param

__all__ = [
    "Batches",
    "Length",
    "default_batch_tokens",
    "divisor",
    "refuse_no_tree",
    "resolve_batches",
    "resolve_length",
    "sequences_of_step",
]

DEFAULT_EPOCHS = 1.0
MOST_STEPS = 10**12  # at a millisecond each, thirty years


@dataclass(frozen=True)
class Batches:
    """One optimizer step in figures."""

    tokens: int
    micro_batch: int
    grad_accum_steps: int
    sequences: int  # over all devices
    world: int = 1  # devices

    def __str__(self) -> str:
        """In words, for the start of a run."""
        rows, length = self.micro_batch, self.tokens // self.sequences
        each = f"{rows} sequence{'' if rows == 1 else 's'} of {length:,} tokens"
        if self.grad_accum_steps > 1:
            each = f"{self.grad_accum_steps} passes of {each}"
        if self.world > 1:
            each += f" on each of {self.world} devices"
        return f"{self.tokens:,} tokens a step: {each}"


@dataclass(frozen=True)
class Length:
    """How many steps a run has, and what said so.

    Under a clock, `seconds`, that is how many are planned: what the time is good for at the speed that was measured,
    or `limit` where another length ends the run before that.
    """

    steps: int
    why: str
    seconds: float | None = None
    limit: int | None = None

    @property
    def most(self) -> int | None:
        """The steps that end the run; None where its time alone does."""
        return self.steps if self.seconds is None else self.limit


def default_batch_tokens(parameters: int) -> int:
    """Tokens of a step where nobody says: larger models take larger steps, by the root of their size."""
    return 1 << max(12, min(19, round(math.log2(4096 * math.sqrt(max(parameters, 1) / 1e6)))))


def sequences_of_step(train: Train, context_length: int, parameters: int, world: int = 1) -> int | None:
    """Sequences of one device's share of a step; None where the micro-batch, left to probing, decides them."""
    given = None if train.micro_batch == "auto" else train.micro_batch
    if train.batch_tokens is not None:
        return max(train.batch_tokens // context_length // world, 1)
    if train.grad_accum_steps is not None:
        return None if given is None else given * train.grad_accum_steps
    unit = given or 1
    return max(default_batch_tokens(parameters) // context_length // (world * unit), 1) * unit


def resolve_batches(train: Train, context_length: int, parameters: int, micro_batch: int, world: int = 1) -> Batches:
    """Complete the batch.

    Args:
        train: what was given.
        context_length: tokens of a sequence.
        parameters: of the model; they decide where nothing was given.
        micro_batch: what probing chose, used where none was given.
        world: devices that share a step.
    """
    share = sequences_of_step(train, context_length, parameters, world)
    micro = micro_batch if train.micro_batch == "auto" else train.micro_batch
    accumulate = train.grad_accum_steps
    tokens = None if share is None else share * world * context_length
    if train.batch_tokens is not None:
        tokens = train.batch_tokens
    if train.micro_batch == "auto" and share is not None:
        _refuse_uneven(tokens, context_length, world)
        # what was probed may be of another step: the largest divisor of the share that is no more
        micro = share // accumulate if accumulate else divisor(share, micro)
    try:
        batch = plan_batch(tokens, micro, accumulate, context_length, world)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if batch.tokens is None or batch.micro_batch is None or batch.grad_accum_steps is None:
        raise ConfigError("the batch is open", "give train.batch_tokens, or train.micro_batch")
    return Batches(batch.tokens, batch.micro_batch, batch.grad_accum_steps, batch.tokens // context_length, world)


def refuse_no_tree(batches: Batches, alone: Batches) -> None:
    """Refuse a step whose passes are not those of the binary tree that they are in one process, `alone`."""
    passes, each = batches.sequences // batches.micro_batch, batches.tokens // batches.sequences
    if batches.world & (batches.world - 1):
        raise ConfigError(
            f"{param('determinism', 'bitwise')} is for 1, 2, 4, … processes, and there are {batches.world}",
            f"start a power of two, or {param('determinism', 'default')}",
        )
    if batches.micro_batch != alone.micro_batch:
        raise ConfigError(
            f"{param('determinism', 'bitwise')} adds up the same passes for any number of processes, and there are "
            f"{batches.micro_batch} sequences in one here, {alone.micro_batch} in one process",
            param("micro_batch", batches.micro_batch),
        )
    low = 1 << passes.bit_length() - 1
    if passes != low:
        raise ConfigError(
            f"{param('determinism', 'bitwise')} adds up a power of two of passes, and a step has {passes} of "
            f"{batches.micro_batch} sequences",
            " or ".join(param("batch_tokens", number * batches.micro_batch * each) for number in (low, 2 * low)),
        )


def _refuse_uneven(tokens: int | None, context_length: int, world: int) -> None:
    """Refuse a step of whole sequences of which devices get not as many each."""
    if tokens is None or tokens % context_length or not (tokens // context_length) % world:
        return
    each = world * context_length
    raise ConfigError(
        f"{world} devices cannot share a step of {tokens // context_length} sequences evenly (batch_tokens {tokens}, "
        f"context_length {context_length})",
        " or ".join(param("batch_tokens", one) for one in (tokens // each * each, -(-tokens // each) * each) if one),
    )


def resolve_length(
    train: Train,
    batches: Batches,
    windows: int,
    seconds_per_step: float | None,
    done: tuple[int, float] = (0, 0.0),
) -> Length:
    """Return the first reached of all lengths given; one epoch where none is.

    Args:
        train: what was given.
        batches: one step.
        windows: sequences of an epoch.
        seconds_per_step: measured; needed only where a time was given.
        done: steps and seconds that lie behind a run that goes on.
    """
    found = _counted_lengths(train, batches, windows)
    limit = min(found)[0] if found else None
    if train.max_time is not None:
        each = seconds_per_step or 1.0
        steps = done[0] + max(int((train.max_time - done[1]) / each), 1)
        found.append((steps, f"max_time {format_duration(train.max_time)} at {each:.3g} s a step"))
    if not found:
        found.append((math.ceil(DEFAULT_EPOCHS * windows / batches.sequences), "one epoch, as no length was given"))
    steps, why = min(found)
    if steps > MOST_STEPS:
        raise ConfigError(f"{why} is {steps:.3g} steps, more than a run counts", f"{MOST_STEPS:,} is the most")
    if train.max_time is None or limit is None:
        return Length(max(steps, 1), why, train.max_time)
    return Length(max(steps, 1), why, train.max_time, max(min(limit, MOST_STEPS), 1))


def _counted_lengths(train: Train, batches: Batches, windows: int) -> list[tuple[int, str]]:
    """Return the lengths that were given in steps, tokens or epochs, all as steps, each with what said so."""
    found: list[tuple[int, str]] = []
    if train.max_steps is not None:
        found.append((train.max_steps, f"max_steps {train.max_steps:,}"))
    if train.max_tokens is not None:
        found.append((math.ceil(train.max_tokens / batches.tokens), f"max_tokens {format_count(train.max_tokens)}"))
    if train.max_epochs is not None:
        found.append((math.ceil(train.max_epochs * windows / batches.sequences), f"max_epochs {train.max_epochs:g}"))
    return found


def divisor(whole: int, most: int) -> int:
    """Return the largest divisor that is no more than `most`."""
    small = [n for n in range(1, math.isqrt(whole) + 1) if whole % n == 0]
    return max(one for n in small for one in (n, whole // n) if one <= most)


def flops_per_token(shape: Model, frozen: Collection[str] = (), factors: Mapping[str, tuple[int, ...]] = {}) -> float:
    """Return the FLOPs that training takes for a token: six a weight that multiplies, and attention's products.

    Tables that are looked up multiply nothing: positions, value embeddings, the embedding beside a head of its own.

    Args:
        shape: completed.
        frozen: names of weights that have no gradient: they take four.
        factors: sizes of those of an adapter, which multiply too.
    """
    assert shape.n_layers and shape.n_heads and shape.head_dim
    products = 6.0 * sum(math.prod(size) for name, size in factors.items() if not name.startswith("embed."))
    products += sum(
        (4.0 if name in frozen else 6.0) * math.prod(parameter.shape)
        for name, parameter in parameters(shape).items()
        if len(parameter.shape) == 2
        and not name.endswith(("position.weight", ".value.weight"))
        and (shape.tied or name != "embed.weight")
    )
    context = shape.context_length
    window = min(shape.window or context, context)
    # causal attention: the rows of a sequence see 1, 2, … keys until the window is full; half of all without one
    seen = window * (1 - window / (2 * context))
    return products + 12.0 * shape.n_layers * shape.n_heads * shape.head_dim * seen
