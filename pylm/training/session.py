"""From a configuration and its data to a session: probed, planned, checked and written down before the first step."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.config.shape import complete, count_parameters
from pylm.data.open import source_of
from pylm.training import hooks, init_from, inputs, plan, preferences, resume
from pylm.training.average import Averaging
from pylm.training.backend import Choices, MicroBatch, cut
from pylm.training.backends import make_backend
from pylm.training.decisions import Decisions
from pylm.training.estimate.preflight import shared_as_fits
from pylm.training.events import Probed, Started
from pylm.training.loop import Files, Hooks, Plan, Progress, Session
from pylm.training.ranks import Ranks
from pylm.training.schedule import Schedule
from pylm.training.trained import trained_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pylm.checkpoint import Checkpoint
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.runs import RunFolder
    from pylm.training.backend import Backend
    from pylm.training.estimate.sharing import Sharing
    from pylm.training.inputs import TrainingData
    from pylm.training.request import Request

__all__ = ["Beginning", "make_session"]


@dataclass(frozen=True)
class Beginning:
    """What a session is made from, once configuration and data are known."""

    resolved: Resolved
    data: TrainingData
    checkpoint: Checkpoint | None = None  # the one to go on from
    length: plan.Length | None = None  # the one that the run was begun with, where that still holds
    new: range | None = None  # rows of tokens that the weights it began with did not have
    ranks: Ranks = Ranks()  # the processes that train it

    @property
    def config(self) -> Config:
        """The configuration, complete."""
        return self.resolved.config

    @property
    def behind(self) -> tuple[int, float]:
        """The steps and seconds that lie behind."""
        if self.checkpoint is None:
            return 0, 0.0
        return self.checkpoint.step, self.checkpoint.state["progress"]["seconds"]


def make_session(request: Request, begin: Beginning, folder: RunFolder, listeners: Hooks) -> Session:
    """Return all that the loop needs, and tell that it can start.

    Args:
        request: what was asked for.
        begin: what is known.
        folder: of the run, held.
        listeners: who is told, and who may ask to stop; what evaluates and samples is made here.
    """
    config, data, checkpoint, on_event = begin.config, begin.data, begin.checkpoint, listeners.on_event
    ranks, leads = begin.ranks, begin.ranks.world.leads
    shape = complete(config.model, inputs.vocab_size(config, data.identity))
    if checkpoint is not None:
        resume.check_bound(checkpoint, data.identity, str(source_of(config)))
    parameters = count_parameters(shape)
    sharing = shared_as_fits(begin, shape, folder.path, on_event)
    rows = sharing.mode == "fsdp"
    ask = hooks.asker(config, on_event) if rows else ranks.led(lambda: hooks.asker(config, on_event))
    backend, choices = _probed(begin, shape, parameters, listeners, sharing)
    settled = _planned(begin, shape, parameters, choices)
    if checkpoint is not None:
        resume.check_choices(checkpoint, choices, request.allow_inexact, on_event)
    progress = Progress() if checkpoint is None else resume.restore(backend, checkpoint, settled.average)
    facts = {"choices": choices} | ({} if checkpoint is None else resume.begun_with(checkpoint))
    if request.init_from:
        facts |= init_from.initialise(backend, shape, begin, request, folder.path, on_event)
    references = None
    if config.finetune.prefers:
        kept = None if checkpoint is None else resume.home(checkpoint)
        references = preferences.references_of(config, backend, data.identity, kept, on_event, listeners.stop)
    decisions = Decisions()
    if checkpoint is not None and begin.length is not None:
        decisions = resume.decisions(folder, checkpoint)
    ranks.led(lambda: resume.cut_back(folder, checkpoint, on_event))
    evaluate: Any = hooks.evaluator(config, data.identity, ranks)
    if evaluate is not None and references is not None:
        evaluate = preferences.PairEvaluator(config, data.identity, references)
    counted = 0 if evaluate is None else evaluate.tokens
    session = Session(
        backend=backend,
        loader=inputs.loader(config, settled.batches.sequences, backend, ranks.world),
        files=_files(request, begin, settled, facts, folder, rows),
        plan=settled,
        hooks=ranks.shared(
            replace(
                listeners,
                evaluate=evaluate,
                sample=_sampler(config, data),
                ask=ask,
                measure=None if ask is None else hooks.measurer(config, on_event),
                suite_tokens=0 if ask is None else ask.tokens * (2 if settled.average else 1),
                evaluation_tokens=counted * (2 if settled.average else 1),
            ),
            asks=hooks.has_questions(config),
            hold_rows=rows,
        ),
        progress=progress,
        decisions=decisions,
    )
    if references is not None:
        if leads:
            references.write(folder.path)
        shape_of_batch = (settled.batches.sequences // ranks.world.size, shape.context_length)
        session.hooks.reference = lambda step: references.of(session.loader, "train", step, shape_of_batch)
    on_event(
        Started(
            run=folder.path,
            step=progress.step,
            shape=shape,
            parameters=parameters,
            tokens=data.tokens,
            windows=data.windows,
            backend=backend.name,
            device=backend.device,
            choices=choices,
            batches=settled.batches,
            length=settled.length,
            schedule=settled.schedule,
        )
    )
    return session


def _probed(
    begin: Beginning, shape: Shape, parameters: int, listeners: Hooks, sharing: Sharing
) -> tuple[Backend, Choices]:
    """Return the backend that all processes share, and what was left to the machine, tried on the run's own data."""
    train, context, ranks = begin.config.train, shape.context_length, begin.ranks
    sequences = plan.sequences_of_step(train, context, parameters, ranks.world.size)

    def run_seconds(step: float) -> float:
        """Return how long the run is at so many seconds a step: what probing may cost depends on it."""
        batches = plan.resolve_batches(train, context, parameters, sequences or 1, ranks.world.size)
        return plan.resolve_length(train, batches, begin.data.windows, step).steps * step

    on_event = listeners.on_event
    trained = trained_by(shape, begin.config.finetune, begin.new)

    def probed(choices: Choices | None = None) -> tuple[Backend, Choices]:
        backend = make_backend(
            begin.config, shape, begin.checkpoint, on_event, listeners.stop, run_seconds, trained, ranks.world, choices,
            whole=sharing.mode != "fsdp",
        )  # fmt: skip
        if sharing.mode == "fsdp":  # it may fit nobody whole: it is cut before it is tried, by all of them
            backend = ranks.parallelize(backend, begin.config, "fsdp")
        return backend, backend.probe(lambda rows: _sample_batch(begin.config, rows), sequences)

    # by the first alone where each has all of it: others beside it would be measured with it
    found = probed() if sharing.mode == "fsdp" else ranks.led(probed)
    choices = ranks.told(None if found is None else found[1])
    backend, here = found or probed(choices)
    resume.refuse_mixed(ranks, here)
    choices = sharing.noted(choices, ranks.world.size)
    on_event(Probed(choices))
    return backend if sharing.mode == "fsdp" else ranks.parallelize(backend, begin.config), choices


def _planned(begin: Beginning, shape: Shape, parameters: int, choices: Choices) -> Plan:
    """Return what the run does, now that it is known how fast it goes here."""
    train = begin.config.train
    world = begin.ranks.world.size
    batches = plan.resolve_batches(train, shape.context_length, parameters, choices["micro_batch"], world)
    if begin.checkpoint is not None and (before := begin.checkpoint.state["loader"]["batch_size"]) != batches.sequences:
        # of another number of processes, which share the batch that the run was begun with
        whole = {"batch_tokens": before * shape.context_length, "grad_accum_steps": None}
        train = train.model_copy(update=whole)
        batches = plan.resolve_batches(train, shape.context_length, parameters, choices["micro_batch"], world)
    if train.determinism == "bitwise":
        alone = plan.resolve_batches(train, shape.context_length, parameters, choices["micro_batch"])
        plan.refuse_no_tree(batches, alone)
    length = begin.length or plan.resolve_length(
        train, batches, begin.data.windows, choices["seconds_per_step"], begin.behind
    )
    schedule = Schedule.of(train, length.steps, by_clock=length.seconds is not None)
    trained = trained_by(shape, begin.config.finetune, begin.new)
    factors = {} if trained.adapter is None else trained.adapter.sizes(shape)
    return Plan(
        begin.config,
        batches,
        length,
        schedule,
        trained.saved(shape),
        plan.flops_per_token(shape, trained.frozen, factors),
        choices["matmul_flops"],
        choices["seconds_per_step"],
        Averaging.of(train),
    )


def _files(
    request: Request, begin: Beginning, settled: Plan, facts: Mapping[str, Any], folder: RunFolder, hold_rows: bool
) -> Files:
    """Write down what the run is, `facts` of machine and beginning with it; return where it is written from now on."""
    text, identity, checkpoint = begin.resolved.to_yaml(), begin.data.identity, begin.checkpoint
    made_by = {"argv": list(request.argv), "python": sys.version.split()[0], "origins": begin.resolved.origins}
    reckoned = {"flops_per_token": settled.flops_per_token, "length": asdict(settled.length)}
    folder.environment({**facts, "sequences": settled.batches.sequences, **reckoned, **made_by})
    folder.write("config.yaml", text)
    bound = {
        "version": 1,
        "samples": hooks.SAMPLES_VERSION,
        "tokenizer": identity.tokenizer,
        "data": identity.fingerprint,
        **facts,
        "length": asdict(settled.length),
    }
    saver = begin.ranks.saver(folder.path, begin.config, text, identity.texts, hold_rows)
    here = checkpoint is not None and resume.home(checkpoint).resolve() == folder.path.resolve()
    return Files(folder, saver, bound, last_saved=begin.behind[0] if here else None)


def _sample_batch(config: Config, rows: int) -> MicroBatch:
    """Return a batch of so many rows of the run's own data, to try things on."""
    batch = inputs.loader(config, rows).batch(0)
    reference = np.zeros(batch.inputs.shape) if config.finetune.prefers else None
    return cut(batch.inputs, batch.targets, batch.cu_seqlens, reference, rows)[0]


def _sampler(config: Config, data: TrainingData) -> hooks.Draw | None:
    """Return what samples on the way; None where no tokenizer is there to read and write with."""
    tokenizer = inputs.sampling_tokenizer(config)
    if tokenizer is None:
        return None
    ends = tokenizer.specials.values() if config.finetune.dataset is not None else ()  # one of them ends a turn
    prompts = hooks.fixed_prompts(config, data.identity, tokenizer.eot)
    return hooks.sampler(tokenizer, config.sample, prompts, frozenset(ends))
