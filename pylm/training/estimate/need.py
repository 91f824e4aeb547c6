"""What a configuration takes: parameters, memory, disk, FLOPs, steps; in milliseconds, for it computes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pylm.config.shape import complete, count_parameters
from pylm.evaluation.validation import batches_of
from pylm.model.parameters import parameters
from pylm.training.backend import evaluation_rows
from pylm.training.due import EVALUATION_STEPS
from pylm.training.estimate.exchange import sent, shared
from pylm.training.estimate.memory import BYTES, Run, Usage, moments, used
from pylm.training.plan import (
    Batches,
    Length,
    flops_per_token,
    resolve_batches,
    resolve_length,
    sequences_of_step,
)
from pylm.training.probe import sizes_tried

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.training.estimate.subject import Subject

__all__ = ["OVERHEAD", "Disk", "Machine", "Need", "changed", "need_of"]

TABLES = ("embed.weight", "position.weight", ".value.weight", "head.weight")
FRAGMENTS = 0.05  # of what lives on a GPU
UNSEEN = 0.05  # of the heap: small pieces lie between tensors, and nobody counts where; docs/plan.md has the errors
OVERHEAD, BETWEEN, UNCUT = "interpreter and torch", "between tensors", "weights before they are cut"
REFERRED = 8  # rows that are asked, as an evaluation, what the model gives each answer before it learns
AT_ONCE = 2  # checkpoints beside those kept: the best, and the one that is being written


class Machine(NamedTuple):
    """Where a run would be computed."""

    backend: str  # torch or mlx
    device: str  # cpu, cuda or mps
    precision: str
    overhead: int  # bytes that a process holds beside the model
    name: str = "this machine"
    stores_logits: bool = False
    fast_bf16: bool = True
    devices: int = 1
    here: bool = True
    mode: str = "none"  # in which several devices share the model
    beside: int = 1  # processes that share the memory of the host
    indices: tuple[int, ...] = (0,)  # of the CUDA devices whose memory counts


@dataclass(frozen=True)
class Disk:
    """What is written."""

    checkpoint: int
    checkpoints: int  # that exist at once
    shards: int  # still to be written

    @property
    def needed(self) -> int:
        """All of it."""
        return self.checkpoint * self.checkpoints + self.shards


@dataclass(frozen=True)
class Need:
    """What a run takes on one device."""

    shape: Shape
    parameters: int
    tables: int  # of them: looked up, or the head
    usage: Usage
    memory: int  # the most that its process holds
    parts: Mapping[str, int]
    disk: Disk
    batches: Batches
    length: Length
    flops_per_token: float
    kv_per_token: int
    evaluations: int
    evaluated_tokens: int  # each time
    saves: int
    mode: str  # in which several devices share the model
    sent: int  # bytes by each device, a step

    @property
    def tokens(self) -> int:
        """What is trained on in all."""
        return self.length.steps * self.batches.tokens


def need_of(
    subject: Subject, machine: Machine, micro_batch: int | None = None, seconds_per_step: float | None = None
) -> Need:
    """Return what a run takes.

    Args:
        subject: what is planned.
        machine: where.
        micro_batch: that a probe chose; None: the largest that would be tried counts.
        seconds_per_step: measured or estimated; a length in time depends on it.
    """
    config, facts, shape = subject.config, subject.facts, subject.shape
    kinds = parameters(shape)
    sizes = {name: math.prod(one.shape) for name, one in kinds.items()}
    count, world = count_parameters(shape), machine.devices
    sequences = sequences_of_step(config.train, shape.context_length, count, world)
    tried = _tried(config, shape, sequences, machine, micro_batch)
    batches = resolve_batches(config.train, shape.context_length, count, micro_batch or max(tried), world)
    length = resolve_length(config.train, batches, subject.windows, seconds_per_step, subject.done)
    rows, evaluation_batches = batches_of(config, facts.held_back)
    evaluated = min(rows * evaluation_batches, facts.held_back)  # windows
    steps = length.steps - subject.done[0]
    evaluations, saves = _times(config, steps, facts.held_back > 0)
    averages = config.train.average != "off"
    trained = subject.trained
    saved = trained.saved(shape)
    moment_bytes = 2 * 4 * saved  # of adapters
    if trained.adapter is None:
        learning = [name for name in sizes if trained.rows(name) is not None]
        optimizer = config.train.optimizer
        moment_bytes = sum(4 * sizes[name] * moments(optimizer, name, len(kinds[name].shape)) for name in learning)
    run = Run(
        shape,
        machine.precision,
        config.train.optimizer,
        config.train.activation_checkpointing,
        batches.micro_batch,
        batches.grad_accum_steps,
        tuple(tried) if micro_batch is None else (micro_batch,),
        max(min(rows, facts.held_back), REFERRED if trained.dpo_beta is not None else 0),
        evaluation_rows(shape.context_length, shape.vocab_size),
        saves > 1,
        machine.stores_logits,
        machine.fast_bf16,
        averages,
        trained,
    )
    usage = used(run)
    mode, passes = machine.mode, batches.grad_accum_steps
    parts = dict(usage.parts)
    if world > 1:
        parts = shared(parts, shape, run.optimizer, run.precision, mode, world, passes)
        if mode == "fsdp" and machine.device == "cpu":  # before it is cut it lies whole where it stays afterwards
            parts[UNCUT] = max(4 * count + parts["matrices of Muon"] - sum(parts.values()), 0)
    if machine.device == "cpu":
        parts[BETWEEN] = int(usage.heap * (1 + UNSEEN)) - usage.live
    else:  # their allocators join what is free: not measured here, the usual share
        parts[BETWEEN] = int(sum(parts.values()) * FRAGMENTS)
    parts[OVERHEAD] = machine.overhead
    kept = min(saves, config.train.keep_last) + AT_ONCE
    return Need(
        shape=shape,
        parameters=count,
        tables=sum(size for name, size in sizes.items() if name.endswith(TABLES)),
        usage=usage,
        memory=sum(parts.values()),
        parts={name: size for name, size in parts.items() if size},
        disk=Disk(4 * saved * (1 + averages) + moment_bytes, kept, 0 if facts.tokenized else facts.shard_bytes),
        batches=batches,
        length=length,
        flops_per_token=flops_per_token(shape),
        kv_per_token=_kv(shape, machine.precision),
        evaluations=evaluations,
        evaluated_tokens=evaluated * shape.context_length,
        saves=saves,
        mode=mode,
        sent=0 if world == 1 else sent(count, world, mode, run.precision, passes),
    )


def changed(subject: Subject, keys: Mapping[str, object]) -> Subject:
    """Return the subject with other values of some keys, by their dotted names; ConfigError where they cannot be."""
    resolved = replace(subject.resolved, config=_with(subject.config, keys))
    return replace(subject, resolved=resolved, shape=complete(resolved.config.model, subject.facts.vocab_size))


def _with(config: Config, keys: Mapping[str, object]) -> Config:
    values = {section: getattr(config, section).model_dump() for section in type(config).model_fields}
    for key, value in keys.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    return type(config).model_validate(values)


def _tried(config: Config, shape: Shape, sequences: int | None, machine: Machine, chosen: int | None) -> list[int]:
    """Return the rows of the passes that are tried before a run starts."""
    given = config.train.micro_batch
    if chosen is not None or given != "auto":
        rows = given if given != "auto" else chosen
        assert isinstance(rows, int)
        return [rows if sequences is None else min(rows, sequences)]
    if machine.device == "cpu":
        return sizes_tried(shape.context_length, sequences)
    return [1]  # a device takes what fits: this is the least


def _times(config: Config, steps: int, evaluates: bool) -> tuple[int, int]:
    """Return how often a run evaluates and saves, the end included: the first evaluation is always the best so far."""
    train = config.train
    every = EVALUATION_STEPS if train.eval_every == "auto" else train.eval_every  # a clock looks about as often
    evaluations = _due(every, steps) if evaluates else 0
    saves = max(_due(train.save_every, steps), 2 if evaluations > 1 else 1)
    return evaluations, saves


def _due(every: int | None, steps: int) -> int:
    return 1 if every is None else math.ceil(max(steps, 1) / every)


def _kv(shape: Shape, precision: str) -> int:
    """Return the bytes of keys and values of a token, in what is computed in."""
    assert shape.n_layers and shape.n_kv_heads and shape.head_dim
    return 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim * BYTES[precision]
