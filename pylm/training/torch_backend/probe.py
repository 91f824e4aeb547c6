"""What is found by trying: the micro-batch that fits and is fast, whether compiling pays, how fast a step is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from pylm.config.units import format_bytes
from pylm.errors import Interrupted, PylmError
from pylm.training.backend import Choices, MicroBatch
from pylm.training.optim.muon import Muon
from pylm.training.torch_backend import machine

if TYPE_CHECKING:
    from pylm.training.torch_backend.backend import TorchBackend

__all__ = ["probe"]

# On a CPU more rows than keep the caches and cores busy only cost memory.
CPU_TOKENS = (2048, 4096, 8192)
MEMORY_SHARE = 0.9  # of a GPU's memory: the rest is for fragments, evaluation and whoever else
COMPILE_SECONDS = {"cpu": 90.0, "cuda": 60.0}
OUTLAST = 10  # times the compile that a run must take, for a gain of a tenth to be one
GAIN = 0.97  # of the time that a compiled step may take
PASSES = 3
MEASURING = "measuring this machine"
ONCE = "(once for this shape)"
SKIPPED = "(once for this shape; --micro-batch {} skips it)"
COMPILING = "trying torch.compile: about 30 s (once for this shape; --no-compile skips it)"
MINUTE = 60.0  # of a run, that has the time to measure the device once more
DISTURBED = 2.0  # times the eager pass that was measured before: somebody else has the machine, or had it then

Batch = Callable[[int], MicroBatch]


def probe(
    backend: TorchBackend,
    batch: Batch,
    sequences: int | None,
    seconds: Callable[[float], float],
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Choices:
    """Choose what is left to this machine, from memory where the same was asked before.

    Args:
        backend: whose model is tried; only its working gradients are touched.
        batch: gives so many rows.
        sequences: of a step on this device; None: the micro-batch decides.
        seconds: the time of the whole run, from the seconds of a step.
        say: told what was found.
        stopping: asked between passes.
    """
    _refuse_what_cannot_be(backend)
    key = _key(backend, batch(1).cu_seqlens is not None, sequences)
    known = machine.recall(key) or {}
    compiler = machine.compiler()
    # a compiler that was mended or changed since is another trial
    trial = known.get("trial") if known.get("compiler") == compiler else None
    rng = backend.rng()
    try:
        recalled = {"micro_batch", "eager", "optimizer"} <= known.keys()
        if not recalled:
            given = backend.train.micro_batch
            if isinstance(given, int):
                _refuse_what_cannot_fit(backend, _rows(given, sequences))
            micro = given if isinstance(given, int) else _micro_batch(backend, batch, sequences, stopping)
            backend.doing(f"{MEASURING}: the time of a step {ONCE}")
            eager = _time(backend, batch(_rows(micro, sequences)), stopping)
            known = {"micro_batch": micro, "eager": eager, "optimizer": _optimizer_time(backend)}
        rows = _rows(known["micro_batch"], sequences)
        passes = 1 if sequences is None else max(sequences // rows, 1)
        optimizer = known["optimizer"]
        wanted, why = _wanted(backend, seconds(passes * known["eager"] + optimizer))
        if wanted and trial is None:
            trial = _trial(backend, batch(rows), stopping)
            disturbed = not 1 / DISTURBED < trial.get("eager", 0.0) / known["eager"] < DISTURBED
            if not disturbed:  # nor is a failure remembered, which has no time
                known |= {"trial": trial, "compiler": compiler}
        choices = {"micro_batch": known["micro_batch"], **_decided(backend, trial if wanted else None, why)}
        each = trial["compiled"] if trial and choices["compile"] else known["eager"]
        if recalled and backend.train.max_time is not None:
            # what was chosen stays; a length in time is planned by the speed of today, when others may be busy or gone
            backend.doing(f"{MEASURING}: the time of a step, which plans max_time")
            each = _time(backend, batch(rows), stopping)
        choices["seconds_per_step"] = passes * each + optimizer
        backend.doing(f"{MEASURING}: its matrix products")
        choices["matmul_flops"] = machine.known_matmul_flops(
            backend.torch_device, backend.precision, say, again=seconds(choices["seconds_per_step"]) > MINUTE
        )
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        tried = known.get("micro_batch", backend.train.micro_batch)
        raise too_large(backend, tried if isinstance(tried, int) else 1) from None
    finally:
        backend.forget_gradients()
        backend.set_rng(rng)
    machine.remember(key, known, say)
    return choices


def _rows(micro_batch: int, sequences: int | None) -> int:
    return micro_batch if sequences is None else min(micro_batch, sequences)


def _wanted(backend: TorchBackend, seconds: float) -> tuple[bool, str]:
    """Whether compiling is worth a trial, and why not where it is not."""
    kind = backend.torch_device.type
    if backend.train.compile is not False and kind not in COMPILE_SECONDS:
        return False, f"it is not tried on {kind}"
    if backend.train.compile == "auto" and seconds < OUTLAST * COMPILE_SECONDS[kind]:
        return False, "the run is too short to win back the time that compiling takes"
    return bool(backend.train.compile), "it was switched off"


def _decided(backend: TorchBackend, trial: Choices | None, why: str) -> Choices:
    """Compile or not, with the model left accordingly; `why` there was no trial."""
    if trial is None:
        return {"compile": False, "compile_why": why}
    if "failure" in trial:
        if backend.train.compile is True:
            raise PylmError(f"torch.compile failed: {trial['failure']}", "train.compile auto does without")
        return {"compile": False, "compile_why": f"torch.compile failed here: {trial['failure']}"}
    compiled, eager = trial["compiled"], trial["eager"]
    chosen = backend.train.compile is True or compiled < GAIN * eager
    if chosen:
        backend.compile()
    else:
        backend.uncompile()
    why = f"{'' if chosen else 'it gains nothing, '}{compiled:.3g} s a pass with it, {eager:.3g} s without"
    return {"compile": chosen, "compile_why": why}


def _key(backend: TorchBackend, packed: bool, sequences: int | None) -> str:
    """One text for everything that what is chosen depends on."""
    shape = backend.shape.model_dump(mode="json")
    train = backend.train.model_dump(mode="json", include={"micro_batch", "activation_checkpointing", "optimizer"})
    here = machine.facts(backend.torch_device)
    text = json.dumps([shape, train, here, backend.precision, packed, sequences], sort_keys=True)
    return f"{here['device_name']} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _time(backend: TorchBackend, micro_batch: MicroBatch, stopping: Callable[[], bool], passes: int = PASSES) -> float:
    """The least seconds of a forward and backward pass; the first one does not count."""
    _pass(backend, micro_batch, stopping)
    return min(_pass(backend, micro_batch, stopping) for _ in range(passes))


def _pass(backend: TorchBackend, micro_batch: MicroBatch, stopping: Callable[[], bool]) -> float:
    """The seconds of one forward and backward pass."""
    if stopping():
        raise Interrupted("stopped while probing: nothing was trained, so nothing is lost")
    backend.synchronize()
    started = time.perf_counter()
    backend.forward_backward(micro_batch)
    backend.synchronize()
    seconds = time.perf_counter() - started
    backend.forget_gradients()
    return seconds


def _optimizer_time(backend: TorchBackend) -> float:
    """The seconds of an optimizer step: it reads three numbers and a gradient for each, and writes what it read."""
    count = sum(parameter.numel() for parameter in backend.masters.values())
    probe_size = min(count, 4 << 20)
    tensors = [torch.ones(probe_size, device=backend.torch_device) for _ in range(4)]
    best = float("inf")
    for _ in range(2):  # the first one warms up: a GPU loads its kernel then, which a large count would multiply
        backend.synchronize()
        started = time.perf_counter()
        for tensor in tensors:
            tensor.mul_(1.0)
        backend.synchronize()
        best = min(best, time.perf_counter() - started)
    return best * count / max(probe_size, 1) + _muon_time(backend)


def _muon_time(backend: TorchBackend) -> float:
    """The seconds that Muon's products take: those of one block's matrices, stepped aside, times the blocks."""
    groups = [group for group in backend.optimizer.groups if group.rule == "muon"]
    names = [name for group in groups for name in group.names]
    first = [name for name in names if name.startswith("blocks.0.")]
    if not first:
        return 0.0
    matrices = {name: backend.masters[name].clone() for name in first}
    muon = Muon([dataclasses.replace(groups[0], names=tuple(first))], matrices)
    best = float("inf")
    for _ in range(2):  # the first one warms up
        backend.synchronize()
        started = time.perf_counter()
        muon.step(matrices, lr=0.0, step=1, scale=1.0)
        backend.synchronize()
        best = min(best, time.perf_counter() - started)
    return best * len(names) / len(first)


def _micro_batch(backend: TorchBackend, batch: Batch, sequences: int | None, stopping: Callable[[], bool]) -> int:
    if backend.torch_device.type == "cpu":
        return _fastest_on_cpu(backend, batch, sequences, stopping)
    return _largest_that_fits(backend, batch, sequences, stopping)


def _fastest_on_cpu(backend: TorchBackend, batch: Batch, sequences: int | None, stopping: Callable[[], bool]) -> int:
    """The micro-batch with the most tokens a second, among those that divide a step."""
    context = backend.shape.context_length
    most = sequences or max(CPU_TOKENS[-1] // context, 1)
    rows = {_divisor(most, max(tokens // context, 1)) for tokens in CPU_TOKENS}
    if len(rows) == 1:
        return rows.pop()
    speed = {}
    for number, count in enumerate(sorted(rows), 1):
        backend.doing(f"{MEASURING}: {number} of {len(rows)} batch sizes {SKIPPED.format(min(rows))}")
        speed[count] = count / _time(backend, batch(count), stopping, passes=2)
    return max(speed, key=lambda count: speed[count])


def _largest_that_fits(backend: TorchBackend, batch: Batch, sequences: int | None, stopping: Callable[[], bool]) -> int:
    """Twice as many rows until they do not fit, and then the most that divide a step."""
    fits, rows = 0, 1
    while rows <= (sequences or 1 << 20):
        backend.doing(f"{MEASURING}: whether {rows} sequences at a time fit {SKIPPED.format(max(fits, 1))}")
        try:
            _time(backend, batch(rows), stopping, passes=1)
            fits = rows
            if backend.memory_free() * MEMORY_SHARE < backend.memory():
                break
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            break
        finally:
            backend.forget_gradients()
        rows *= 2
    if not fits:
        raise too_large(backend, 1)
    return _divisor(sequences, fits) if sequences else fits


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says so; torch has a type of its own for that on CUDA devices only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(said in str(error) for said in ("DefaultCPUAllocator", "MPS backend out of memory"))


def _refuse_what_cannot_be(backend: TorchBackend) -> None:
    """What was asked for and is not there is an error, not a line in a log."""
    kind = backend.torch_device.type
    if backend.train.compile is True and kind not in COMPILE_SECONDS:
        raise PylmError(f"train.compile true: torch.compile is not used on {kind}", "leave it out, or --compile false")


def _refuse_what_cannot_fit(backend: TorchBackend, rows: int) -> None:
    """On a CPU the kernel would end the process without a word: say what no memory here could hold, and what could.

    Counted is what a pass keeps at the least: what attention and the MLP multiply.
    """
    if backend.torch_device.type != "cpu":
        return
    shape = backend.shape
    assert shape.n_layers and shape.d_model and shape.d_ff
    kept = 2 * shape.d_model if backend.train.activation_checkpointing else 4 * shape.d_model + 2 * shape.d_ff
    each = shape.context_length * shape.n_layers * kept * backend.dtype.itemsize
    total = machine.total_memory()
    if rows * each > total:
        raise too_large(
            backend, rows, max(total // each // 2, 1), f"{format_bytes(rows * each)} and more of {format_bytes(total)}"
        )


def too_large(backend: TorchBackend, rows: int, fits: int | None = None, needs: str | None = None) -> PylmError:
    """The error for a batch that does not fit, with what would."""
    hint = f"lower model.context_length (it is {backend.shape.context_length}) or the model's size"
    if not backend.train.activation_checkpointing:
        hint = f"--activation-checkpointing needs less, or {hint}"
    if rows > 1:
        hint = f"--micro-batch auto finds what fits, {fits or max(rows // 2, 1)} may; {hint}"
    needs = needs or f"{format_bytes(backend.memory())} in use"
    return PylmError(f"a micro-batch of {rows} does not fit {backend.device_name}: {needs}", hint)


def _divisor(whole: int, most: int) -> int:
    """The largest divisor that is no more than `most`."""
    return max(n for n in range(1, min(whole, most) + 1) if whole % n == 0)


def _trial(backend: TorchBackend, micro_batch: MicroBatch, stopping: Callable[[], bool]) -> Choices:
    """The seconds of a pass compiled and not, in turns: what shares the machine meanwhile is in both.

    Where it does not compile here, what was said.
    """
    backend.doing(COMPILING)
    backend.compile()
    try:
        _pass(backend, micro_batch, stopping)  # compiles
        compiled = eager = float("inf")
        for number in range(PASSES + 1):
            seconds = _pass(backend, micro_batch, stopping)
            with backend.eagerly():
                without = _pass(backend, micro_batch, stopping)
            if number:  # the first ones warm up
                compiled, eager = min(compiled, seconds), min(eager, without)
        return {"compiled": compiled, "eager": eager}
    except (Interrupted, torch.OutOfMemoryError):
        raise
    except Exception as error:  # compilers fail in every way there is
        backend.uncompile()
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return {"failure": said}
