"""What is found by trying: the micro-batch that fits and is fast, whether compiling pays, how fast a step is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from pylm.config.units import format_bytes
from pylm.errors import Interrupted, PylmError
from pylm.train.backend import Choices, MicroBatch
from pylm.train.torch_backend import machine

if TYPE_CHECKING:
    from pylm.train.torch_backend.backend import TorchBackend

__all__ = ["probe"]

# On a CPU more rows than keep the caches and cores busy only cost memory.
CPU_TOKENS = (2048, 4096, 8192)
MEMORY_SHARE = 0.9  # of a GPU's memory: the rest is for fragments, evaluation and whoever else
COMPILE_SECONDS = {"cpu": 90.0, "cuda": 60.0}
OUTLAST = 10  # times the compile that a run must take, for a gain of a tenth to be one
GAIN = 0.97  # of the time that a compiled step may take
PASSES = 3

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
    key = _key(backend, sequences)
    known = machine.recall(key)
    if known is not None and _complete(known):
        if known["compile"]:
            backend.compile()
        return known
    choices: Choices = {}
    given = backend.train.micro_batch
    rng = backend.rng()
    try:
        choices["micro_batch"] = given if isinstance(given, int) else _micro_batch(backend, batch, sequences, stopping)
        rows = choices["micro_batch"] if sequences is None else min(choices["micro_batch"], sequences)
        passes = 1 if sequences is None else max(sequences // rows, 1)
        each = _time(backend, batch(rows), stopping)
        optimizer = _optimizer_time(backend)
        whole = passes * each + optimizer
        choices["compile"], choices["compile_why"] = False, "it was switched off"
        if backend.train.compile is True or (
            backend.train.compile == "auto" and _outlasts(backend, seconds(whole), choices)
        ):
            compiled = _compiled_time(backend, batch(rows), stopping, choices)
            if compiled is not None and (backend.train.compile is True or compiled < GAIN * each):
                choices["compile"], each = True, compiled
                choices["compile_why"] = f"{compiled:.3g} s a pass, {each:.3g} s without"
            elif compiled is not None:
                choices["compile_why"] = f"it gains nothing: {compiled:.3g} s a pass, {each:.3g} s without"
                backend.uncompile()
        choices["seconds_per_step"] = passes * each + optimizer
        choices["matmul_flops"] = machine.known_matmul_flops(backend.torch_device, backend.precision, say)
    finally:
        backend.forget_gradients()
        backend.set_rng(rng)
    machine.remember(key, choices, say)
    return choices


def _complete(known: Choices) -> bool:
    return {"micro_batch", "compile", "compile_why", "seconds_per_step", "matmul_flops"} <= known.keys()


def _key(backend: TorchBackend, sequences: int | None) -> str:
    """One text for everything that what is chosen depends on."""
    shape = backend.shape.model_dump(mode="json")
    train = backend.train.model_dump(mode="json", include={"micro_batch", "compile", "activation_checkpointing",
                                                           "optimizer", "max_time"})  # fmt: skip
    here = machine.facts(backend.torch_device)
    text = json.dumps([shape, train, here, backend.precision, sequences], sort_keys=True)
    return f"{here['device_name']} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _time(backend: TorchBackend, micro_batch: MicroBatch, stopping: Callable[[], bool], passes: int = PASSES) -> float:
    """The least seconds of a forward and backward pass; the first one does not count."""
    best = float("inf")
    for number in range(passes + 1):
        if stopping():
            raise Interrupted("stopped while probing: nothing was trained, so nothing is lost")
        backend.synchronize()
        started = time.perf_counter()
        backend.forward_backward(micro_batch)
        backend.synchronize()
        if number:
            best = min(best, time.perf_counter() - started)
        backend.forget_gradients()
    return best


def _optimizer_time(backend: TorchBackend) -> float:
    """The seconds of an optimizer step: it reads three numbers and a gradient for each, and writes what it read."""
    count = sum(parameter.numel() for parameter in backend.masters.values())
    probe_size = min(count, 4 << 20)
    tensors = [torch.ones(probe_size, device=backend.torch_device) for _ in range(4)]
    backend.synchronize()
    started = time.perf_counter()
    for tensor in tensors:
        tensor.mul_(1.0)
    backend.synchronize()
    return (time.perf_counter() - started) * count / max(probe_size, 1)


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
    speed = {count: count / _time(backend, batch(count), stopping, passes=2) for count in sorted(rows)}
    return max(speed, key=lambda count: speed[count])


def _largest_that_fits(backend: TorchBackend, batch: Batch, sequences: int | None, stopping: Callable[[], bool]) -> int:
    """Twice as many rows until they do not fit, and then the most that divide a step."""
    fits, rows = 0, 1
    while rows <= (sequences or 1 << 20):
        try:
            _time(backend, batch(rows), stopping, passes=1)
            fits = rows
            if backend.memory_free() * MEMORY_SHARE < backend.memory():
                break
        except torch.OutOfMemoryError:
            break
        finally:
            backend.forget_gradients()
        rows *= 2
    if not fits:
        raise too_large(backend, 1)
    return _divisor(sequences, fits) if sequences else fits


def too_large(backend: TorchBackend, rows: int) -> PylmError:
    """The error for a batch that does not fit, with what would."""
    hint = f"lower model.context_length (it is {backend.shape.context_length}) or the model's size"
    if not backend.train.activation_checkpointing:
        hint = f"--activation-checkpointing needs less, or {hint}"
    if rows > 1:
        hint = f"--micro-batch auto finds what fits, {max(rows // 2, 1)} may; {hint}"
    held = format_bytes(backend.memory())
    return PylmError(f"a micro-batch of {rows} does not fit {backend.device_name}, {held} in use", hint)


def _divisor(whole: int, most: int) -> int:
    """The largest divisor that is no more than `most`."""
    return max(n for n in range(1, min(whole, most) + 1) if whole % n == 0)


def _outlasts(backend: TorchBackend, seconds: float, choices: Choices) -> bool:
    kind = backend.torch_device.type
    if kind not in COMPILE_SECONDS:
        choices["compile_why"] = f"it is not tried on {kind}"
        return False
    if seconds < OUTLAST * COMPILE_SECONDS[kind]:
        choices["compile_why"] = "a run this short would not outlast it"
        return False
    return True


def _compiled_time(
    backend: TorchBackend, micro_batch: MicroBatch, stopping: Callable[[], bool], choices: dict[str, Any]
) -> float | None:
    """The seconds of a compiled pass; None, and a sentence, where it does not compile here."""
    backend.compile()
    try:
        return _time(backend, micro_batch, stopping)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - compilers fail in every way there is
        backend.uncompile()
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if backend.train.compile is True:
            raise PylmError(
                f"torch.compile failed: {said}", "leave train.compile at auto, or set it to false"
            ) from error
        choices["compile_why"] = f"torch.compile failed here: {said}"
        return None
