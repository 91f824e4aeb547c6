"""What is found by trying: the micro-batch that fits and is fast, and how fast a step is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import mlx.core as mx

from pylm.config.units import format_bytes
from pylm.errors import Interrupted, PylmError
from pylm.model.mlx.device import MEMORY_SHARE, on_gpu, working_set
from pylm.training.backend import Choices, MicroBatch
from pylm.training.mlx_backend import machine
from pylm.training.remembered import recall, remember

if TYPE_CHECKING:
    from pylm.training.mlx_backend.backend import MlxBackend

__all__ = ["probe", "too_large"]

FIRST_TOKENS, MOST_TOKENS = 1024, 1 << 16  # of the micro-batches that are tried
GAIN = 1.03  # in tokens a second, for which twice as many rows are tried further
PASSES = 2
MEASURING = "measuring this machine"

Batch = Callable[[int], MicroBatch]


def probe(
    backend: MlxBackend,
    batch: Batch,
    sequences: int | None,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Choices:
    """Choose what is left to this machine, from memory where the same was asked before.

    Args:
        backend: whose model is tried; nothing of it is changed.
        batch: gives so many rows.
        sequences: of a step; None: the micro-batch decides.
        say: told what could not be remembered.
        stopping: asked between passes.
    """
    key = _key(backend, sequences)
    known = recall(key) or {}
    rng = backend.rng()
    try:
        if "micro_batch" not in known:
            given = backend.train.micro_batch
            micro = given if isinstance(given, int) else _micro_batch(backend, batch, sequences, stopping)
            rows = micro if sequences is None else min(micro, sequences)
            known = {"micro_batch": micro, "pass": _time(backend, batch(rows), stopping)}
            remember(key, known, say)
        elif backend.train.max_time is not None:
            # what was chosen stays; a length in time is planned by the speed of today
            backend.doing(f"{MEASURING}: the time of a step, which plans max_time")
            rows = known["micro_batch"] if sequences is None else min(known["micro_batch"], sequences)
            known["pass"] = _time(backend, batch(rows), stopping)
    finally:
        backend.set_rng(rng)
    micro = known["micro_batch"]
    passes = 1 if sequences is None else max(sequences // min(micro, sequences), 1)
    asked = backend.train.compile
    why = "it was switched off" if asked is False else "on a CPU MLX compiles with a C++ compiler, for each run anew"
    return {
        "micro_batch": micro,
        "compile": backend.compiled,
        "compile_why": "the two functions of a step" if backend.compiled else why,
        "seconds_per_step": passes * known["pass"],
        "matmul_flops": machine.known_matmul_flops(mx.gpu if on_gpu() else mx.cpu, backend.precision, say),
    }


def too_large(backend: MlxBackend, rows: int, error: RuntimeError) -> Exception:
    """The error for a batch that does not fit, with what would; the error itself where it is of something else."""
    text = str(error).lower()
    if not any(word in text for word in ("alloc", "memory", "buffer size")):
        return error
    hint = f"lower model.context_length (it is {backend.shape.context_length}) or the model's size"
    if not backend.train.activation_checkpointing:
        hint = f"--activation-checkpointing needs less, or {hint}"
    if rows > 1:
        hint = f"--micro-batch auto finds what fits, {max(rows // 2, 1)} may; {hint}"
    held = format_bytes(backend.memory())
    return PylmError(f"a micro-batch of {rows} does not fit {backend.device_name}, {held} at most in use", hint)


def _key(backend: MlxBackend, sequences: int | None) -> str:
    """One text for everything that what is chosen depends on."""
    shape = backend.shape.model_dump(mode="json")
    train = backend.train.model_dump(mode="json", include={"micro_batch", "activation_checkpointing"})
    here = machine.facts()
    text = json.dumps([shape, train, here, backend.precision, backend.compiled, sequences], sort_keys=True)
    return f"{here['device_name']} mlx {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _time(backend: MlxBackend, micro_batch: MicroBatch, stopping: Callable[[], bool]) -> float:
    """The least seconds of a forward and backward pass; the first one does not count."""
    best = float("inf")
    for number in range(PASSES + 1):
        if stopping():
            raise Interrupted("stopped while probing: nothing was trained, so nothing is lost")
        started = time.perf_counter()
        try:
            backend.trial(micro_batch)
        except RuntimeError as error:
            raise too_large(backend, len(micro_batch.inputs), error) from None
        if number:
            best = min(best, time.perf_counter() - started)
    return best


def _micro_batch(backend: MlxBackend, batch: Batch, sequences: int | None, stopping: Callable[[], bool]) -> int:
    """Twice as many rows while that is faster a token, and while twice the memory that they took will be there.

    A GPU that runs out may take the process with it, so nothing is tried that may not fit.
    """
    context = backend.shape.context_length
    most = sequences or max(MOST_TOKENS // context, 1)
    rows = _divisor(most, max(FIRST_TOKENS // context, 1))
    best, speed = rows, 0.0
    while True:
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        backend.doing(f"{MEASURING}: {rows} sequences at a time (once for this shape; --micro-batch {best} skips it)")
        found = rows / _time(backend, batch(rows), stopping)
        taken = mx.get_peak_memory() - before
        if found < GAIN * speed:
            return best
        best, speed = rows, found
        larger = _divisor(most, 2 * rows)
        fits = not working_set() or before + taken * larger / rows < MEMORY_SHARE * working_set()
        if larger == rows or larger * context > MOST_TOKENS or not fits:
            return best
        rows = larger


def _divisor(whole: int, most: int) -> int:
    """The largest divisor that is no more than `most`."""
    return max(n for n in range(1, min(whole, most) + 1) if whole % n == 0)
