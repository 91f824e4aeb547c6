"""What the loop asks of a backend: torch and MLX answer, and the loop knows nothing else of either."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple, Protocol

from pylm.checkpoint import Tensor

__all__ = ["IGNORED", "LOSS_SCALE", "Backend", "Choices", "Counts", "LossScale", "MicroBatch", "Phases", "StepResult",
           "Tensor", "answers_of", "cut", "evaluation_rows", "shares_of"]  # fmt: skip

IGNORED = -100  # the target of a place that does not count
EVALUATION_BYTES = 256 << 20  # of logits that exist at a time
FIRST_SCALE = 2.0**16
SCALE_GROWS_AFTER = 2000  # steps without an overflow
LOSS_SCALE = "loss_scale"  # its name among the optimizer's tensors

# What probing chose, by name: stored with the run and in every checkpoint, and given back on resume.
Choices = dict[str, Any]


class MicroBatch(NamedTuple):
    """What one pass takes: rows of a batch, as the loader's arrays."""

    inputs: Any  # [rows, context_length]
    targets: Any
    cu_seqlens: Any = None  # starts of documents over the flattened rows, and their size; None: not packed
    reference: Any = None  # of pairs: log-probabilities of each answer as the run began, where it begins in the rows


class StepResult(NamedTuple):
    """What an optimizer step found; where it is not finite, nothing was changed."""

    loss: float
    grad_norm: float
    finite: bool
    margins: Any = None  # of pairs: how much more each is preferred than as the run began, as an array


class Counts(NamedTuple):
    """Sums over the tokens of a batch that count, and what they are the sums of."""

    loss: float
    correct: int
    tokens: int
    losses: Any  # of each target, [rows, context_length] in fp32, 0 where it does not count


class Backend(Protocol):
    """A model, its optimizer, and the machine that they run on."""

    name: str
    device: str
    adapter: Any  # a pylm.model.lora.Adapter where weights stay, and what is beside them learns; else None

    def step(self, micro_batches: Sequence[MicroBatch], lr: float) -> StepResult:
        """Take one optimizer step over all of them; the gradient is clipped once, over the sum."""
        ...

    def loss(self, batch: MicroBatch) -> Counts:
        """Evaluate: sums, so that batches of different sizes add up."""
        ...

    def logits(self, ids: Sequence[int]) -> Any:
        """Return the next token's logits after `ids`, fp32, as a numpy array."""
        ...

    def reading(self) -> AbstractContextManager[Any]:
        """Give the model, to be read with and not trained; it is as before when the block is left."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Return the fp32 masters, as a copy that later steps leave alone; of an adapter what learns alone."""
        ...

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, as such a copy."""
        ...

    def load(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor] | None) -> None:
        """Take what `weights` and `optimizer_state` gave; None leaves the optimizer fresh."""
        ...

    def load_base(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights that the adapter is for."""
        ...

    def average(self, share: float) -> None:
        """Move an average of the fp32 masters towards them by a share of the way; it begins as they are."""
        ...

    def average_weights(self) -> dict[str, Tensor]:
        """Return the average, as such a copy."""
        ...

    def load_average(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `average_weights` gave."""
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """Compute with the average; the model is as before, to the bit, when the block is left."""
        ...

    def rng(self) -> dict[str, str]:
        """Return the states of the random generators, as text."""
        ...

    def set_rng(self, state: Mapping[str, str]) -> None:
        """Take what `rng` gave."""
        ...

    def probe(self, batch: Callable[[int], MicroBatch], sequences: int | None) -> Choices:
        """Choose what was left to it, by trying; the model and the generators are as before when it returns.

        Args:
            batch: gives a batch of so many rows.
            sequences: of one optimizer step on this device; None where the micro-batch decides.
        """
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return memory for the loader's ring, as a numpy array: what the device copies fastest."""
        ...

    def timings(self) -> dict[str, float]:
        """Return seconds by phase since the last call: forward, backward, optimizer."""
        ...

    def memory(self) -> int:
        """Return the most bytes that training has held at once."""
        ...


class Phases:
    """A clock for each phase; reading it starts all of them anew."""

    def __init__(self) -> None:
        """Start with none."""
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time of a block to a phase, an exception's too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - started)

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase."""
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Return what has gathered."""
        taken, self._seconds = self._seconds, {}
        return taken


class LossScale:
    """What the loss is multiplied by: fp16 has no number between 0 and 6e-8, where gradients are; elsewhere 1.

    It halves where a gradient overflows 65,504, and doubles after 2,000 steps without that: as large as it may be.
    """

    def __init__(self, precision: str) -> None:
        """Begin large: the first steps find out what overflows."""
        self.used = precision == "fp16"
        self.value = FIRST_SCALE if self.used else 1.0
        self._steps = 0

    def halved(self, loss: float, grad_norm: float) -> bool:
        """Halve where it was the scale that made a norm not finite; return whether, for the step to be taken again."""
        if not self.used or isfinite(grad_norm) or not isfinite(loss) or self.value <= 1.0:
            return False
        self.value, self._steps = self.value / 2, 0
        return True

    def count(self) -> None:
        """Count a step that stands."""
        self._steps += 1
        if self.used and self._steps >= SCALE_GROWS_AFTER:
            self.value, self._steps = self.value * 2, 0

    def state(self) -> list[float]:
        """Return what a resume needs."""
        return [self.value, float(self._steps)]

    def load(self, state: Sequence[float]) -> None:
        """Take what `state` gave; the scale of a run that was in fp16 until now is nobody's."""
        if self.used:
            self.value, self._steps = float(state[0]), int(state[1])


def evaluation_rows(context_length: int, vocab_size: int | None) -> int:
    """Return the rows of a batch whose fp32 logits may exist at a time while evaluating."""
    assert vocab_size is not None
    return max(EVALUATION_BYTES // (4 * context_length * vocab_size), 1)


def cut(inputs: Any, targets: Any, cu_seqlens: Any, reference: Any, rows: int) -> list[MicroBatch]:
    """Cut a rank's share of a step into micro-batches of so many rows, the last one smaller where it must be."""
    context_length = inputs.shape[1]
    parts = []
    for at in range(0, len(inputs), rows):
        part = slice(at, min(at + rows, len(inputs)))
        starts = None
        if cu_seqlens is not None:
            # every row begins a segment, so both bounds are among the starts
            low, high = part.start * context_length, part.stop * context_length
            starts = cu_seqlens[(cu_seqlens >= low) & (cu_seqlens <= high)] - low
        given = None if reference is None else reference[part]
        parts.append(MicroBatch(inputs[part], targets[part], starts, given))
    return parts


def answers_of(part: MicroBatch) -> list[tuple[int, int]]:
    """Return from where to where documents go, over the flattened rows, of which something counts.

    Of pairs each chosen answer stands before the one that was rejected.
    """
    counted = part.targets.reshape(-1) != IGNORED
    return [(start, stop) for start, stop in pairwise(part.cu_seqlens.tolist()) if counted[start:stop].any()]


def shares_of(micro_batches: Sequence[MicroBatch]) -> list[float]:
    """Return what share of a step's tokens each micro-batch has, so that the loss is the mean over all that count.

    Of pairs it is the share of the pairs.
    """
    if len(micro_batches) == 1:
        return [1.0]
    counts = [len(answers_of(part)) for part in micro_batches if part.reference is not None] or [
        int((part.targets != IGNORED).sum()) for part in micro_batches
    ]
    return [count / max(sum(counts), 1) for count in counts]
