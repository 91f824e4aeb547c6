"""How long a run takes: from steps that are taken here, or from what matrix products reach."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.config.recipe import MFU
from pylm.config.shape import count_parameters
from pylm.training import inputs
from pylm.training.backend import MicroBatch, cut
from pylm.training.backends import make_backend
from pylm.training.events import Doing
from pylm.training.plan import resolve_batches, resolve_length, sequences_of_step

if TYPE_CHECKING:
    from pylm.training.backend import Backend
    from pylm.training.estimate.need import Need
    from pylm.training.estimate.subject import Subject
    from pylm.training.events import Event

__all__ = ["Speed", "by_products", "probed", "seconds_of"]

STEPS, WARMING = 8, 2  # steps that are timed, and taken before them
PATIENCE = 20.0  # seconds of steps
PROMPT = 40  # tokens that a sample has on the average, half of what it gets
PROMPTS = 2
WRITTEN = 300e6  # bytes a second that a disk takes and flushes: a common solid-state one's


@dataclass(frozen=True)
class Speed:
    """Seconds of what a run does, and what said so."""

    step: float
    evaluation: float
    samples: float
    save: float  # for which steps wait, or are slower
    last_save: float
    why: str
    micro_batch: int | None = None
    matmul_flops: float = 0.0


def seconds_of(speed: Speed, need: Need, limit: float | None, behind: int) -> float:
    """Return how long a run takes; one with a limit in time ends there."""
    steps = max(need.length.steps - behind, 0)
    seconds = steps * speed.step + need.evaluations * (speed.evaluation + speed.samples)
    seconds += (need.saves - 1) * speed.save + speed.last_save
    return seconds if limit is None else min(seconds, limit)


def by_products(need: Need, flops: float, devices: int, why: str) -> Speed:
    """Return the speed of a run that reaches the usual share of what products do.

    Args:
        need: of the run.
        flops: of products, a second, on one device.
        devices: that share a step.
        why: where `flops` is from.
    """
    reached = flops * MFU
    tokens = need.batches.tokens
    evaluation = need.evaluated_tokens * need.flops_per_token / 3 / reached
    write = need.disk.checkpoint / WRITTEN
    return Speed(tokens * need.flops_per_token / (reached * devices), evaluation, 0.0, 0.0, write, why)


def probed(
    subject: Subject, need: Need, on_event: Callable[[Event], None], stopping: Callable[[], bool], devices: int
) -> Speed:
    """Return the speed of a model of this shape, which is made and trained for a few steps."""
    config, shape = subject.config, subject.shape
    train, context = config.train, shape.context_length
    count = count_parameters(shape)
    sequences = sequences_of_step(train, context, count, devices)

    def run_seconds(step: float) -> float:
        batches = resolve_batches(train, context, count, sequences or 1, devices)
        return resolve_length(train, batches, subject.windows, step, subject.done).steps * step

    backend = make_backend(config, shape, None, on_event, stopping, run_seconds, subject.trained)
    choices = backend.probe(lambda rows: _batch(subject, rows), sequences)
    batches = resolve_batches(train, context, count, choices["micro_batch"], devices)
    on_event(Doing("measuring this machine: some steps"))
    step = _step(backend, subject, batches.sequences // devices, batches.micro_batch, choices["seconds_per_step"])
    on_event(Doing("measuring this machine: an evaluation, a sample, a checkpoint"))
    copied, written = _save(backend)
    return Speed(
        step,
        _evaluation(backend, subject, need),
        _samples(backend, subject) if need.evaluations else 0.0,
        copied + written / max(os.cpu_count() or 1, 1),
        copied + written,
        "steps that were taken here",
        choices["micro_batch"],
        choices["matmul_flops"],
    )


def _step(backend: Backend, subject: Subject, rows: int, micro_batch: int, expected: float) -> float:
    """Return the seconds of a step: the mean of some, or what probing made of one's parts where it takes so long."""
    if expected * 2 > PATIENCE:
        return expected
    batch = _batch(subject, rows)
    parts = cut(*batch, micro_batch)
    began = 0.0
    steps = min(STEPS, max(int(PATIENCE / expected) - WARMING, 1))
    for number in range(WARMING + steps):
        if number == WARMING:
            began = perf_counter()
        backend.step(parts, lr=0.0)
    return (perf_counter() - began) / steps


def _evaluation(backend: Backend, subject: Subject, need: Need) -> float:
    """Return the seconds of an evaluation, by those of a few rows."""
    if not need.evaluated_tokens:
        return 0.0
    context = subject.shape.context_length
    windows = need.evaluated_tokens // context
    rows = min(windows, max(2048 // context, 1))
    seconds = math.inf
    for _ in range(2):
        began = perf_counter()
        backend.loss(_batch(subject, rows))
        seconds = min(seconds, perf_counter() - began)
    return seconds * windows / rows


def _samples(backend: Backend, subject: Subject) -> float:
    """Return the seconds of the samples that are drawn at an evaluation."""
    if subject.config.train.sample_every is None or not subject.facts.samples:
        return 0.0
    ids = [0] * min(PROMPT, subject.shape.context_length)
    seconds = math.inf
    for _ in range(3):
        began = perf_counter()
        backend.logits(ids)
        seconds = min(seconds, perf_counter() - began)
    sample = subject.config.sample
    return seconds * PROMPTS * sample.n * sample.max_tokens


def _save(backend: Backend) -> tuple[float, float]:
    """Return the seconds of a checkpoint's copy, and of writing it: hashed, written, read again and hashed."""
    began = perf_counter()
    tensors = [*backend.weights().values(), *backend.optimizer_state().values()]
    copied = perf_counter() - began
    size = sum(len(tensor.data) for tensor in tensors)
    sample = bytes(1 << 22)
    began = perf_counter()
    hashlib.blake2b(sample, digest_size=32)
    hashing = (perf_counter() - began) / len(sample)
    return copied, size * (2 * hashing + 1 / WRITTEN)


def _batch(subject: Subject, rows: int) -> MicroBatch:
    """Return rows of the run's data; of a text that is not there, any tokens."""
    if subject.facts.tokens and subject.facts.tokenized:
        batch = inputs.loader(subject.config, rows).batch(0)
        reference = np.zeros(batch.inputs.shape) if subject.config.finetune.prefers else None
        return MicroBatch(batch.inputs, batch.targets, batch.cu_seqlens, reference)
    drawn: Any = np.random.default_rng(0).integers(0, subject.facts.vocab_size, (rows, subject.shape.context_length))
    return MicroBatch(drawn, drawn)
