"""The backend in MLX: fp32 masters, a working copy in what is computed in, and a step that is two functions of arrays.

One function adds a micro-batch's gradients to the sum, the other takes the step; both are compiled on a GPU. Nothing
is waited for but the loss and the norm of a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf, isfinite
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.model.lora import in_model, saved, start
from pylm.model.masks import Masks
from pylm.model.mlx import Model, from_stored, to_numpy
from pylm.model.mlx.device import device_name, on_gpu
from pylm.model.parameters import draw, misfit, parameters
from pylm.training.backend import (
    IGNORED,
    LOSS_SCALE,
    Choices,
    Counts,
    LossScale,
    MicroBatch,
    Phases,
    StepResult,
    Tensor,
    answers_of,
    cut,
    evaluation_rows,
    shares_of,
)
from pylm.training.mlx_backend import machine
from pylm.training.mlx_backend.optimizer import Arrays, Optimizer
from pylm.training.mlx_backend.preferences import loss_of_pairs, pairs_of
from pylm.training.mlx_backend.trial import MlxTrial, out_of_memory
from pylm.training.optim.rules import STEP
from pylm.training.optim.rules import misfit as misfit_of_state
from pylm.training.probe import probe, too_large
from pylm.training.trained import EVERYTHING, Trained
from pylm_kernels import mlx as kernels

__all__ = ["MlxBackend", "make"]

ahead: Any = mx.async_eval  # begins to compute arrays, and does not wait


def make(
    shape: Shape,
    train: Train,
    *,
    choices: Choices | None = None,
    say: Callable[[str], None] = lambda text: None,
    stopping: Callable[[], bool] = lambda: False,
    run_seconds: Callable[[float], float] = lambda step: 0.0,
    doing: Callable[[str], None] = lambda text: None,
    trained: Trained = EVERYTHING,
) -> MlxBackend:
    """Make a backend for a completed shape; the arguments are those of pylm.training.torch_backend.make."""
    return MlxBackend(shape, train, choices, say, stopping, run_seconds, doing, trained)


class MlxBackend:
    """Implements pylm.training.backend.Backend."""

    name = "mlx"

    def __init__(
        self,
        shape: Shape,
        train: Train,
        choices: Choices | None,
        say: Callable[[str], None],
        stopping: Callable[[], bool],
        run_seconds: Callable[[float], float],
        doing: Callable[[str], None],
        trained: Trained = EVERYTHING,
    ) -> None:
        """Draw the weights from the seed, the same ones as torch, to rounding."""
        self.shape, self.train = shape, train
        self._say, self._stopping, self._run_seconds, self._doing = say, stopping, run_seconds, doing
        device = machine.choose_device(train.device)
        self.device, self.device_name = ("gpu" if on_gpu() else "cpu"), device_name()
        self.precision = machine.choose_precision(train.precision, device)
        self.dtype = machine.DTYPES[self.precision]
        self._trained, self.adapter = trained, trained.adapter
        self._masters: Arrays
        self._fixed: Arrays
        self._fixed_copies: Arrays
        self._take_masters(self._begun())
        self._copies = self._copied(self._masters)
        whole = self._whole(self._copies, self._fixed_copies)
        self.model = Model(shape, whole, checkpoint=train.activation_checkpointing, adapter=self.adapter)
        self.optimizer = Optimizer(self._masters, train)
        self._moments = self.optimizer.fresh(self._masters)
        self._average: Arrays = {}
        self._margins: list[Any] = []
        self._steps = 0
        self._masks = Masks(train.seed)
        self._scale = LossScale(self.precision)
        self._phases = Phases()
        self._choices = dict(choices or {})
        compiled = self._choices.get("compile", train.compile)
        self.compile(on_gpu() if compiled == "auto" else bool(compiled))

    def compile(self, wanted: bool) -> None:
        """Compile the two functions of a step at their first call, or do not."""
        self.compiled = wanted
        self._add = mx.compile(self._add_plainly) if wanted else self._add_plainly
        self._update = mx.compile(self._update_plainly) if wanted else self._update_plainly

    def step(self, micro_batches: Sequence[MicroBatch], lr: float) -> StepResult:
        """Take one optimizer step; in fp16 a step whose scale was too large is taken again with half of it."""
        while True:
            started = time.perf_counter()
            try:
                loss, sums = self._accumulate(micro_batches)
                scalars = self.optimizer.scalars(lr, self._steps + 1, 1 / self._scale.value)
                # nobody else holds the old arrays once these names are taken, so that their memory is used again
                self._masters, self._moments, copies, norm = self._update(
                    self._masters, self._moments, sums, loss, scalars
                )
                self._take(copies)
                ahead(norm, self._masters, self._moments, self._copies)
                mx.eval(loss)
                summed = time.perf_counter()
                mean_loss, grad_norm = float(loss), float(norm)
                mx.eval(self._masters, self._moments, self._copies)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                raise too_large(MlxTrial(self), len(micro_batches[0].inputs)) from None
            # forward and backward are one graph here, and nobody could say where the one ends
            self._phases.add("forward+backward", summed - started)
            self._phases.add("optimizer", time.perf_counter() - summed)
            if not self._scale.halved(mean_loss, grad_norm):
                break
        finite = isfinite(mean_loss) and isfinite(grad_norm)
        self._steps += finite
        self._scale.count()
        margins = to_numpy(mx.concatenate(self._margins)) if self._margins else None
        return StepResult(mean_loss, grad_norm, finite, margins)

    def loss(self, batch: MicroBatch) -> Counts:
        """Evaluate, a few rows of logits at a time."""
        rows = evaluation_rows(batch.inputs.shape[1], self.shape.vocab_size)
        loss, correct, tokens, each = 0.0, 0, 0, []
        for part in cut(*batch, rows):
            inputs, targets, ends = _arrays(part)
            weights = self.model.weights
            logits = self.model.logits(weights, self.model.hidden(weights, inputs, ends))
            losses = kernels.cross_entropy(logits, targets, reduction="none")
            summed = losses.sum()
            right = (mx.argmax(logits, axis=-1) == targets).sum()
            loss, correct = loss + summed.item(), correct + right.item()
            each.append(to_numpy(losses))
            tokens += int((part.targets != IGNORED).sum())
        return Counts(loss, correct, tokens, np.concatenate(each))

    def logits(self, ids: Sequence[int]) -> Any:
        """Return the next token's logits after the last tokens that the model sees, fp32."""
        return to_numpy(self.model([list(ids)[-self.shape.context_length :]])[0, -1])

    @contextmanager
    def reading(self) -> Iterator[Model]:
        """Give the model, which drops nothing where it is given no keys."""
        yield self.model

    def weights(self) -> dict[str, Tensor]:
        """Return the fp32 masters, copied; of an adapter what learns, and not its base."""
        return self._named(_stored(self._whole(self._masters, self._fixed)))

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, copied, and the scale of the loss where there is one."""
        state = {STEP: Tensor.of("I64", (), np.array(self._steps, np.int64))}
        state |= _stored(self._moments)
        if self._scale.used:
            scale = np.array(self._scale.state(), np.float32)
            state[LOSS_SCALE] = Tensor.of("F32", scale.shape, scale)
        return state

    def load(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor] | None) -> None:
        """Take what a checkpoint holds; None leaves the optimizer fresh."""
        loaded = from_stored(self._unnamed(weights))
        if optimizer_state is not None:
            state = from_stored(optimizer_state)
            scale = state.pop(LOSS_SCALE, None)
            misfit_of_state({name: one.shape for name, one in self._moments.items()}, state)
            self._steps = int(state.pop(STEP).item())
            self._moments = state
            if scale is not None:
                self._scale.load(scale.tolist())
        whole = {name: array.astype(mx.float32) for name, array in loaded.items()}
        if self.adapter is None:
            self._take_masters(whole)
        else:
            self._masters = whole
        self._take(self._copied(self._masters))
        mx.eval(self._masters, self._fixed, self._moments, self._copies, self._fixed_copies)

    def load_base(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights that an adapter is for; it begins as it is, with the base's rows of new tokens."""
        mine = {name: one.shape for name, one in parameters(self.shape).items()}
        misfit(mine, {name: one.shape for name, one in weights.items()})
        base = from_stored(weights)
        self._fixed_copies = self._copied(base)
        rows = {name: one.astype(mx.float32) for name, one in base.items() if name in self._masters}
        self._masters |= self._that_learns(rows)
        self._take(self._copied(self._masters))
        mx.eval(self._masters, self._copies, self._fixed_copies)

    def average(self, share: float) -> None:
        """Move the average towards the masters."""
        masters = self._whole(self._masters, self._fixed)
        self._average = {name: one + share * (masters[name] - one) for name, one in (self._average or masters).items()}
        mx.eval(self._average)

    def average_weights(self) -> dict[str, Tensor]:
        """Return the average, copied."""
        return self._named(_stored(self._average))

    def load_average(self, weights: Mapping[str, Tensor]) -> None:
        """Take what a checkpoint holds of it."""
        self._average = dict(from_stored(self._unnamed(weights)))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Compute with the average's copies, and then with the weights' again."""
        copies = self._copies
        self._take(self._copied(self._average if self.adapter else self._that_learns(self._average)))
        try:
            yield
        finally:
            self._take(copies)

    def rng(self) -> dict[str, str]:
        """Return the state of dropout: nothing else is drawn while training."""
        return {"dropout": self._masks.state}

    def set_rng(self, state: Mapping[str, str]) -> None:
        """Take what `rng` gave, here or in torch."""
        if "dropout" in state:
            self._masks.load(state["dropout"])

    def probe(self, batch: Callable[[int], MicroBatch], sequences: int | None) -> Choices:
        """Choose the micro-batch, and measure; what was replayed is not probed."""
        if "micro_batch" not in self._choices:
            chosen = probe(
                MlxTrial(self),
                batch,
                sequences,
                run_seconds=self._run_seconds,
                say=self._say,
                doing=self._doing,
                stopping=self._stopping,
            )
            self._choices.update(chosen)
            self.timings()  # those of the probe are no step's
        return {**self._choices, **machine.facts(), "precision": self.precision}

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return numpy's memory: MLX copies what it is given."""
        return np.zeros(shape, dtype)

    def timings(self) -> dict[str, float]:
        """Return seconds by phase."""
        return self._phases.take()

    def memory(self) -> int:
        """Return the most bytes that arrays have held."""
        return int(mx.get_peak_memory())

    def forward_backward(self, micro_batch: MicroBatch) -> None:
        """Compute the gradients of one pass, and forget them."""
        loss, sums = self._accumulate([micro_batch])
        mx.eval(loss, sums)

    def _accumulate(self, micro_batches: Sequence[MicroBatch]) -> tuple[Any, Arrays]:
        """Return the mean loss over all micro-batches, and their gradients times the scale; wait for neither."""
        total, sums = mx.zeros(()), None
        self._margins.clear()
        for micro_batch, share in zip(micro_batches, shares_of(micro_batches), strict=True):
            keys = None
            if self.model.places:
                keys = mx.array(np.array(self._masks.keys(self.model.places), np.uint64))
            factors = mx.array([share, self._scale.value])
            pairs = None if micro_batch.reference is None else pairs_of(micro_batch)
            arrays = *_arrays(micro_batch), pairs, keys, factors
            total, sums, margins = self._add(self._copies, self._fixed_copies, total, sums, *arrays)
            if pairs is not None:
                self._margins.append(margins[: len(answers_of(micro_batch)) // 2])
            ahead(total, sums)  # or the graphs of all micro-batches would stand there, and what they hold
        assert sums is not None
        return total, sums

    def _add_plainly(
        self, copies: Arrays, fixed: Arrays, total: Any, sums: Any, idx: Any, targets: Any, ends: Any, pairs: Any,
        keys: Any, factors: Any,
    ) -> tuple[Any, Arrays, Any]:  # fmt: skip
        """Add a micro-batch's share of the loss, and its gradients in fp32: in bf16 small ones would be lost."""
        share, scale = factors[0], factors[1]

        def objective(copies: Arrays) -> tuple[Any, Any]:
            weights = self._whole(copies, fixed)
            if pairs is None:
                return self.model.loss(weights, idx, targets, ends, keys, share * scale), mx.zeros(0)
            logits = self.model.logits(weights, self.model.hidden(weights, idx, ends, keys))
            losses = kernels.cross_entropy(logits, targets, reduction="none").reshape(-1)
            assert self._trained.dpo_beta is not None
            loss, margins = loss_of_pairs(losses, pairs, self._trained.dpo_beta)
            return loss * (share * scale), margins

        (loss, margins), gradients = mx.value_and_grad(objective)(copies)
        wide = {name: gradient.astype(mx.float32) for name, gradient in gradients.items()}
        sums = wide if sums is None else {name: sums[name] + wide[name] for name in sums}
        return total + loss / scale, sums, margins

    def _update_plainly(
        self, masters: Arrays, moments: Arrays, sums: Arrays, loss: Any, scalars: Any
    ) -> tuple[Arrays, Arrays, Arrays, Any]:
        """Return masters, moments and copies after a step, and the norm; no step where it or the loss is not finite."""
        sums = {name: mx.where(mx.isfinite(loss), gradient, inf) for name, gradient in sums.items()}
        masters, moments, norm = self.optimizer.step(masters, moments, sums, scalars)
        return masters, moments, self._copied(masters), norm

    def _copied(self, masters: Arrays) -> Arrays:
        return {name: master.astype(self.dtype) for name, master in masters.items()}

    def _take(self, copies: Arrays) -> None:
        """Compute with other weights from now on."""
        self._copies = copies
        self.model.weights = self._whole(copies, self._fixed_copies)

    def _take_masters(self, masters: Arrays) -> None:
        """Part what learns from what is frozen; a table of which some rows learn is among both."""
        self._masters = self._that_learns(masters)
        fixed = {name: one for name, one in masters.items() if name in self._trained.frozen}
        self._fixed_copies = self._copied(fixed)
        self._fixed = fixed if self.adapter is None else {}  # nobody asks for an adapter's base in fp32

    def _that_learns(self, whole: Arrays) -> Arrays:
        return {name: one[rows] for name, one in whole.items() if (rows := self._trained.rows(name)) is not None}

    def _whole(self, learning: Arrays, fixed: Arrays) -> Arrays:
        """Return all weights: rows that learn stand in their frozen table."""
        whole = {**fixed, **learning}
        for name in fixed.keys() & learning.keys():
            rows, table = self._trained.rows(name), fixed[name]
            assert rows is not None
            whole[name] = mx.concatenate([table[: rows.start], learning[name], table[rows.stop :]])
        return whole

    def _begun(self) -> Arrays:
        """Return what all begins as: drawn from the seed, and of an adapter's base zeros until it is loaded."""
        if self.adapter is None:
            return {name: mx.array(array) for name, array in draw(self.shape, self.train.seed).items()}
        base = {name: mx.zeros(one.shape) for name, one in parameters(self.shape).items()}
        return base | {name: mx.array(one) for name, one in start(self.adapter, self.shape, self.train.seed).items()}

    def _named(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors by the names that a checkpoint has them under."""
        return tensors if self.adapter is None else {saved(name): tensor for name, tensor in tensors.items()}

    def _unnamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's tensors by our names; it is an error where they are another model's."""
        mine = {name: one.shape for name, one in {**self._masters, **self._fixed}.items()}
        found = dict(tensors) if self.adapter is None else {in_model(name): one for name, one in tensors.items()}
        misfit(mine, {name: one.shape for name, one in found.items()})
        return found


def _stored(arrays: Arrays) -> dict[str, Tensor]:
    """Copy fp32 arrays."""
    return {name: Tensor.of("F32", array.shape, to_numpy(array)) for name, array in arrays.items()}


def _arrays(part: MicroBatch) -> tuple[Any, Any, Any]:
    """Return tokens, targets and document ends, these as many as a power of two: each number is compiled for anew."""
    inputs, targets = (mx.array(np.asarray(one, np.int32)) for one in (part.inputs, part.targets))
    if part.cu_seqlens is None:
        return inputs, targets, None
    ends = np.asarray(part.cu_seqlens, np.int32)
    room = 1 << (len(ends) - 1).bit_length()
    return inputs, targets, mx.array(np.pad(ends, (0, room - len(ends)), mode="edge"))
