"""The backend in torch: fp32 masters, a working copy in what is computed in, and an optimizer."""

from __future__ import annotations

import base64
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, nan
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

import pylm_kernels
from pylm.cache import cache_folder
from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.model.lora import in_model, saved
from pylm.model.masks import Masks
from pylm.model.parameters import misfit
from pylm.model.torch import Model
from pylm.model.torch_codecs import Copied, from_stored, to_buffer
from pylm.model.torch_lora import adapt
from pylm.training import optim
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
    cut,
    evaluation_rows,
)
from pylm.training.optim.optimizer import Steps
from pylm.training.probe import probe, too_large
from pylm.training.torch_backend import machine
from pylm.training.torch_backend.passes import Passes
from pylm.training.torch_backend.preferences import margins_of
from pylm.training.torch_backend.trial import TorchTrial, out_of_memory
from pylm.training.trained import EVERYTHING, Trained

__all__ = ["TorchBackend", "make"]


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
    whole: bool = True,
) -> TorchBackend:
    """Make a backend for a completed shape.

    Args:
        shape: of the model.
        train: how it is trained.
        choices: what an earlier run of the same chose, to be chosen again.
        say: told what a user wants to read.
        stopping: asked while probing.
        run_seconds: how long the run will take, from the seconds of a step.
        doing: told what is being tried, which may take a minute.
        trained: what of the model learns.
        whole: whether it is to compute as it is. Else its weights are fp32 in the host's memory, without an optimizer,
            until `parallelize` cuts them: a device need never hold all of them.
    """
    machine.keep_memory()
    if choices and "threads" in choices:
        torch.set_num_threads(int(choices["threads"]))
    machine.obey_thread_limit()
    return TorchBackend(shape, train, choices, say, stopping, run_seconds, doing, trained, whole)


class TorchBackend:
    """Implements pylm.training.backend.Backend."""

    name = "torch"

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
        whole: bool = True,
    ) -> None:
        """Draw the weights from the seed, on the CPU, so that every device begins with the same."""
        self.shape, self.train = shape, train
        self._say, self._stopping, self._run_seconds, self._doing = say, stopping, run_seconds, doing
        self.torch_device = machine.choose_device(train.device)
        self.device = str(self.torch_device)
        self.device_name = machine.device_name(self.torch_device)
        self.precision = machine.choose_precision(train.precision, self.torch_device)
        self.dtype = machine.DTYPES[self.precision]
        torch.manual_seed(train.seed)
        self.adapter, self._dpo_beta = trained.adapter, trained.dpo_beta
        model = self._model(shape, self.torch_device if whole else torch.device("cpu"))
        model.masks = Masks(train.seed)
        if self.adapter is not None:
            adapt(model, self.adapter, train.seed)
        # the padding of the vocabulary has no gradient: only what is saved is stepped
        weights = model.weights()
        self._learning = {
            name: slice(*rows.indices(len(weights[name])))
            for name in weights
            if (rows := trained.rows(name)) is not None
        }
        self.masters = self._that_is_saved(weights)
        copies: dict[str, torch.Tensor] = {}
        if whole and self.precision != "fp32":
            self.masters = {name: one.to(torch.float32, copy=True) for name, one in self.masters.items()}
            model = model.to(self.dtype)
            copies = self._that_is_saved(model.weights())
        del weights
        self.model, self.copies = model, copies
        self.working = dict(model.named_parameters())
        self.passes = Passes()
        self._average: dict[str, torch.Tensor] = {}
        self._margins: list[torch.Tensor] = []
        for name, parameter in self.working.items():
            parameter.requires_grad_(name in self._learning)
        if self.adapter is None:
            masters, copies = self._that_learns(self.masters), self._that_learns(copies)
        else:
            masters = self.masters
        self.optimizer: Steps = optim.build(masters.items() if whole else (), train, copies)
        if train.activation_checkpointing:
            self._checkpoint_activations()
        self._phases = Phases()
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._scale = LossScale(self.precision)
        self._choices = dict(choices or {})
        if self._choices.get("compile"):
            self.compile()

    def step(self, micro_batches: Sequence[MicroBatch], lr: float) -> StepResult:
        """Take one optimizer step; in fp16 a step whose scale was too large is taken again with half of it."""
        while True:
            try:
                losses = self._accumulate(micro_batches)
            except (RuntimeError, MemoryError) as error:
                self.forget_gradients()
                if not out_of_memory(error):
                    raise
                raise too_large(TorchTrial(self), len(micro_batches[0].inputs)) from None
            with self._timed("optimizer"):
                mean_loss, factor = self.passes.mean(losses)
                norm = nan
                if isfinite(mean_loss):
                    norm = self.optimizer.step(lr, self._gradients(), grad_scale=factor / self._scale.value)
                self.forget_gradients()
            if not self._scale.halved(mean_loss, norm):
                break
        self._scale.count()
        return StepResult(mean_loss, norm, isfinite(norm), self.passes.margins(self._margins))

    def loss(self, batch: MicroBatch) -> Counts:
        """Evaluate, a few rows of logits at a time."""
        rows = evaluation_rows(batch.inputs.shape[1], self.shape.vocab_size)
        loss, correct, tokens, each = 0.0, 0, 0, []
        self.model.eval()
        try:
            with torch.inference_mode(), self.eagerly():
                for part in cut(*batch, rows):
                    idx, targets, starts = self._on_device(part)
                    logits = self.model(idx, cu_seqlens=starts).flatten(0, 1)
                    flat = targets.flatten()
                    losses = pylm_kernels.cross_entropy(logits, flat, reduction="none")
                    loss += float(losses.sum())
                    each.append(losses.view(targets.shape).cpu().numpy())
                    correct += int((logits.argmax(-1) == flat).sum())
                    tokens += int((flat != IGNORED).sum())
                    del logits  # or they would stay while the next rows' are made: half a gigabyte more at once
        finally:
            self.model.train()
        return Counts(loss, correct, tokens, np.concatenate(each))

    def logits(self, ids: Sequence[int]) -> Any:
        """Return the next token's logits after the last tokens that the model sees, fp32."""
        idx = torch.tensor([list(ids)[-self.shape.context_length :]], device=self.torch_device)
        self.model.eval()
        try:
            with torch.inference_mode(), self.eagerly():
                return self.model(idx)[0, -1].float().cpu().numpy()
        finally:
            self.model.train()

    @contextmanager
    def reading(self) -> Iterator[Model]:
        """Give the model, without dropout and eagerly."""
        self.model.eval()
        try:
            with self.eagerly():
                yield self.model
        finally:
            self.model.train()

    def weights(self) -> dict[str, Tensor]:
        """Return the fp32 masters without padding, copied; of an adapter what learns, and not its base."""
        return self._named(_stored(self.masters))

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's tensors, copied, and the scale of the loss where there is one."""
        state = dict(self.optimizer.state())
        if self._scale.used:
            state[LOSS_SCALE] = torch.tensor(self._scale.state())
        return _stored(state)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor] | None) -> None:
        """Take what a checkpoint holds; None leaves the optimizer fresh."""
        loaded = from_stored(self._unnamed(weights))
        if self.adapter is None:
            self.model.load_weights(loaded)  # which says what does not fit
        self._put(self.masters, loaded)
        self._put(self.copies, loaded)
        if optimizer_state is not None:
            state = {name: tensor.to(self.torch_device) for name, tensor in from_stored(optimizer_state).items()}
            if LOSS_SCALE in state:
                self._scale.load(state.pop(LOSS_SCALE).tolist())
            self.optimizer.load(state)

    @torch.no_grad()
    def load_base(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights that an adapter is for; it begins as it is, with the base's rows of new tokens."""
        stored = Copied(weights)
        self.model.load_weights(stored)
        for name in self.masters.keys() & weights.keys():
            self.masters[name].copy_(stored[name][self._learning[name]])

    @torch.no_grad()
    def average(self, share: float) -> None:
        """Move the average towards the masters, in place."""
        if not self._average:
            self._average = {name: master.clone() for name, master in self.masters.items()}
        averages, masters = list(self._average.values()), list(self.masters.values())
        torch._foreach_lerp_(averages, masters, share)  # pyright: ignore[reportPrivateImportUsage]

    def average_weights(self) -> dict[str, Tensor]:
        """Return the average, copied."""
        return self._named(_stored(self._average))

    def load_average(self, weights: Mapping[str, Tensor]) -> None:
        """Take what a checkpoint holds of it."""
        loaded = from_stored(self._unnamed(weights))
        self._average = {name: loaded[name].to(self.torch_device) for name in self.masters}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Compute with the average: its values stand where the model's are, which are kept meanwhile."""
        computed = self.copies or self.masters
        kept = {name: tensor.detach().clone() for name, tensor in computed.items()}
        self._put(computed, self._average)
        try:
            yield
        finally:
            self._put(computed, kept)

    @torch.no_grad()
    def _put(self, into: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in into.items():
            tensor.copy_(values[name])

    def rng(self) -> dict[str, str]:
        """Return the states of torch's generators, and of dropout's."""
        states = {"torch": torch.get_rng_state()}
        if self.torch_device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.torch_device)
        elif self.torch_device.type == "mps":
            states["mps"] = torch.mps.get_rng_state()
        texts = {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}
        return {**texts, "dropout": self.model.masks.state}

    def set_rng(self, state: Mapping[str, str]) -> None:
        """Take what `rng` gave; a generator that was not there then keeps its state."""
        if "dropout" in state:
            self.model.masks.load(state["dropout"])
        for name, text in state.items():
            if name not in ("torch", "cuda", "mps"):
                continue
            generator = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
            if name == "torch":
                torch.set_rng_state(generator)
            elif name == "cuda" and self.torch_device.type == "cuda":
                torch.cuda.set_rng_state(generator, self.torch_device)
            elif name == "mps" and self.torch_device.type == "mps":
                torch.mps.set_rng_state(generator)

    def probe(self, batch: Callable[[int], MicroBatch], sequences: int | None) -> Choices:
        """Choose the micro-batch and whether to compile, and measure; what was replayed is not probed."""
        if "micro_batch" not in self._choices:
            chosen = probe(
                self._trial(),
                batch,
                sequences,
                run_seconds=self._run_seconds,
                say=self._say,
                doing=self._doing,
                stopping=self._stopping,
            )
            self._choices.update(chosen)
            self.timings()  # those of the probe are no step's
            if self.torch_device.type == "cuda":  # nor is the largest batch that it tried
                torch.cuda.reset_peak_memory_stats(self.torch_device)
        return {**self._choices, **machine.facts(self.torch_device), "precision": self.precision}

    def _trial(self) -> TorchTrial:
        return TorchTrial(self)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return pinned memory where the device is a CUDA one, numpy's elsewhere."""
        if self.torch_device.type != "cuda":
            return np.zeros(shape, dtype)
        return torch.zeros(shape, dtype=getattr(torch, dtype), pin_memory=True).numpy()

    def timings(self) -> dict[str, float]:
        """Return seconds by phase; on a CUDA device by its own events."""
        for phase, started, ended in self._events:
            ended.synchronize()
            self._phases.add(phase, started.elapsed_time(ended) / 1e3)
        self._events.clear()
        return self._phases.take()

    def memory(self) -> int:
        """Return the most bytes held: the device's where it has its own, else the process's."""
        if self.torch_device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        if self.torch_device.type == "mps":
            return int(torch.mps.driver_allocated_memory())
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def forward_backward(self, micro_batch: MicroBatch) -> None:
        """Compute one forward and backward pass, for a probe."""
        self._accumulate([micro_batch])

    def forget_gradients(self) -> None:
        """Give gradients up."""
        self.passes.sums.clear()
        for parameter in self.working.values():
            parameter.grad = None

    def compile(self) -> None:
        """Compile each block by itself: all of a model's blocks share what one costs."""
        if cache := cache_folder():
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
        for block in self.model.blocks:
            if block._compiled_call_impl is None:
                block.compile(dynamic=False)

    def uncompile(self) -> None:
        """Compute eagerly again."""
        for block in self.model.blocks:
            block._compiled_call_impl = None
        torch.compiler.reset()

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        """Compute without what was compiled.

        Evaluation has rows of its own and a sample one more token each time: a graph for each of them would be
        compiled, eight at most, and then training's own shape may have none any more.
        """
        compiled = [block._compiled_call_impl for block in self.model.blocks]
        for block in self.model.blocks:
            block._compiled_call_impl = None
        try:
            yield
        finally:
            for block, call in zip(self.model.blocks, compiled, strict=True):
                block._compiled_call_impl = call

    def _accumulate(self, micro_batches: Sequence[MicroBatch]) -> list[torch.Tensor]:
        """Compute all micro-batches both ways; return their shares of the mean loss, still on the device."""
        shares, losses = self.passes.shares(micro_batches), []
        apart = self.passes.apart(len(micro_batches), narrow=self.precision != "fp32")
        self._margins.clear()
        for micro_batch, share in zip(micro_batches, shares, strict=True):
            with self._timed("forward"):
                loss = self._loss(micro_batch)
            losses.append(loss.detach() * share)
            with self._timed("backward"):
                factor = share * self._scale.value
                torch.autograd.backward(loss if factor == 1.0 else loss * factor)
                if apart:
                    self._add_up()
        return losses

    def _loss(self, micro_batch: MicroBatch) -> torch.Tensor:
        """Return the mean loss of the tokens that count; of pairs that of the pairs, whose margins are kept."""
        idx, targets, starts = self._on_device(micro_batch)
        if micro_batch.reference is None:
            return self.model.loss(idx, targets, cu_seqlens=starts)
        assert self._dpo_beta is not None
        logits = self.model(idx, cu_seqlens=starts).flatten(0, 1)
        losses = pylm_kernels.cross_entropy(logits, targets.flatten(), reduction="none")
        margins = margins_of(losses, micro_batch, self._dpo_beta)
        self._margins.append(margins.detach())
        return torch.nn.functional.softplus(-margins).mean().float()

    def _add_up(self) -> None:
        """Add a pass's gradients to those before."""
        self.passes.sums.add({name: one.grad for name, one in self.working.items() if one.grad is not None})
        for parameter in self.working.values():
            parameter.grad = None

    def _gradients(self) -> dict[str, torch.Tensor]:
        """Return the gradients of what is saved: without the padding."""
        return self._that_learns(
            self.passes.sums.total() or {name: one.grad for name, one in self.working.items() if one.grad is not None}
        )

    def _that_learns(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the rows that learn, sharing memory; a frozen tensor is left out."""
        return {name: one[self._learning[name]] for name, one in tensors.items() if name in self._learning}

    def _model(self, shape: Shape, device: torch.device) -> Model:
        """Return the model as it begins; what an adapter is for is loaded, never drawn, and is never in fp32."""
        if self.adapter is not None:
            return Model(shape, draw=False, dtype=self.dtype).to(device)
        return Model(shape, generator=torch.Generator().manual_seed(self.train.seed)).to(device)

    def _that_is_saved(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what a checkpoint holds: everything, and of an adapter what learns. Its base is in nobody's fp32."""
        return tensors if self.adapter is None else self._that_learns(tensors)

    def _named(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors by the names that a checkpoint has them under."""
        return tensors if self.adapter is None else {saved(name): tensor for name, tensor in tensors.items()}

    def _unnamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's tensors by our names; it is an error where they are another model's."""
        mine = {name: one.shape for name, one in self.masters.items()}
        found = dict(tensors) if self.adapter is None else {in_model(name): one for name, one in tensors.items()}
        misfit(mine, {name: one.shape for name, one in found.items()})
        return found

    def _on_device(self, part: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return the arrays as tensors of the device; where that is the CPU they share the loader's memory."""
        inputs, targets, starts = (
            None if array is None else torch.from_numpy(array).to(self.torch_device, non_blocking=True)
            for array in part[:3]
        )
        assert inputs is not None and targets is not None
        return inputs, targets, starts

    def _checkpoint_activations(self) -> None:
        """Let each block forget what it computed, and compute it again in the backward pass."""
        for block in self.model.blocks:
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Time a phase without waiting for the device."""
        if self.torch_device.type != "cuda":
            with self._phases(phase):
                yield
            return
        event: Callable[..., torch.cuda.Event] = torch.cuda.Event
        started, ended = event(enable_timing=True), event(enable_timing=True)
        started.record()
        yield
        ended.record()
        self._events.append((phase, started, ended))


def _stored(tensors: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    """Copy tensors, which later steps leave alone."""
    return {name: Tensor.of(*to_buffer(tensor)) for name, tensor in tensors.items()}
