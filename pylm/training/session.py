"""From a configuration and its data to a session: probed, planned, checked and written down before the first step."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import Saver
from pylm.config.shape import complete, count_parameters
from pylm.training import continued, hooks, init_from, inputs, plan, resume
from pylm.training.backend import MicroBatch, cut
from pylm.training.backends import make_backend
from pylm.training.events import Probed, Started
from pylm.training.loop import Files, Hooks, Plan, Progress, Session
from pylm.training.schedule import Schedule

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Config
    from pylm.runs import RunFolder
    from pylm.training.inputs import TrainingData
    from pylm.training.request import Request

__all__ = ["make_session"]


def make_session(
    request: Request,
    resolved: Resolved,
    data: TrainingData,
    checkpoint: Checkpoint | None,
    replayed: plan.Length | None,
    folder: RunFolder,
    listeners: Hooks,
) -> Session:
    """Return all that the loop needs.

    Args:
        request: what was asked for.
        resolved: the configuration, complete.
        data: opened.
        checkpoint: the one to go on from, if there is one.
        replayed: the length that the run was begun with, where that still holds.
        folder: of the run, held.
        listeners: who is told, and who may ask to stop; what evaluates and samples is made here.
    """
    config, on_event, identity = resolved.config, listeners.on_event, data.identity
    shape = complete(config.model, inputs.vocab_size(config, identity))
    if checkpoint is not None:
        resume.check_bound(checkpoint, identity, str(config.data.mix or config.data.path))
    parameters = count_parameters(shape)
    plan.check_disk(folder.path, parameters, config.train.keep_last)
    sequences = plan.sequences_of_step(config.train, shape.context_length, parameters)

    def run_seconds(step: float) -> float:
        """Return how long the run is at so many seconds a step: what probing may cost depends on it."""
        batches = plan.resolve_batches(config.train, shape.context_length, parameters, sequences or 1)
        return plan.resolve_length(config.train, batches, data.windows, step).steps * step

    backend = make_backend(config, shape, checkpoint, on_event, listeners.stop, run_seconds)
    choices = backend.probe(lambda rows: _sample_batch(config, rows), sequences)
    on_event(Probed(choices))
    batches = plan.resolve_batches(config.train, shape.context_length, parameters, choices["micro_batch"])
    length = replayed or plan.resolve_length(
        config.train, batches, data.windows, _pace(checkpoint, choices), _done(checkpoint)
    )
    schedule = Schedule.of(config.train, length.steps)
    if checkpoint is not None:
        resume.check_choices(checkpoint, choices, request.allow_inexact, on_event)
    progress = Progress() if checkpoint is None else resume.restore(backend, checkpoint)
    if request.init_from:
        init_from.initialise(backend, shape, request.init_from, identity, on_event)
    resume.cut_back(folder, checkpoint, on_event)
    loader = inputs.loader(config, batches.sequences, backend)
    text = resolved.to_yaml()
    made_by = {"argv": list(request.argv), "python": sys.version.split()[0]}
    made_by = {"argv": list(request.argv), "python": sys.version.split()[0]}
    folder.environment({"choices": choices, "sequences": batches.sequences, **made_by})
    folder.write("config.yaml", text)
    bound = {
        "version": 1,
        "samples": continued.SAMPLES_VERSION,
        "tokenizer": identity.tokenizer,
        "data": identity.fingerprint,
        "choices": choices,
        "length": dataclasses.asdict(length),
    }
    saver = Saver(folder.path, config.train.keep_last, text, identity.texts)
    here = checkpoint is not None and resume.home(checkpoint).resolve() == folder.path.resolve()
    session = Session(
        backend=backend,
        loader=loader,
        files=Files(folder, saver, bound, last_saved=progress.step if here else None),
        plan=Plan(config, batches, length, schedule, parameters, plan.flops_per_token(shape), choices["matmul_flops"]),
        hooks=dataclasses.replace(listeners, evaluate=hooks.evaluator(config, identity), sample=_sampler(config, data)),
        progress=progress,
    )
    on_event(
        Started(
            folder.path,
            progress.step,
            shape,
            parameters,
            data.tokens,
            data.windows,
            backend.name,
            backend.device,
            choices,
            batches,
            length,
            schedule,
        )  # fmt: skip
    )
    return session


def _sample_batch(config: Config, rows: int) -> MicroBatch:
    """Return a batch of so many rows of the run's own data, to try things on."""
    batch = inputs.loader(config, rows).batch(0)
    return cut(batch.inputs, batch.targets, batch.cu_seqlens, rows)[0]


def _sampler(config: Config, data: TrainingData) -> hooks.Draw | None:
    """Return what samples on the way; None where no tokenizer is there to read and write with."""
    tokenizer = inputs.sampling_tokenizer(config)
    if tokenizer is None:
        return None
    return hooks.sampler(tokenizer, config.sample, hooks.fixed_prompts(config, data.identity, tokenizer.eot))


def _done(checkpoint: Checkpoint | None) -> tuple[int, float]:
    """Return the steps and seconds that lie behind."""
    return (0, 0.0) if checkpoint is None else (checkpoint.step, checkpoint.state["progress"]["seconds"])


def _pace(checkpoint: Checkpoint | None, choices: dict[str, Any]) -> float | None:
    """Return the seconds of a step: the run's own where it was computed as it is now."""
    measured: float | None = choices["seconds_per_step"]
    if checkpoint is None or resume.changed_choices(checkpoint, choices):
        return measured
    return plan.own_pace(measured, _done(checkpoint))
