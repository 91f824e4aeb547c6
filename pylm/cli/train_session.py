"""From a command line to a session of training: what is read, probed, checked and said before the first step."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError, Interrupted, UsageError

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.cli.frame.activity import Activity
    from pylm.cli.train_data import TrainingData
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given
    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.data.identity import Identity
    from pylm.runs import RunFolder, Stop
    from pylm.training.backend import Backend, MicroBatch
    from pylm.training.loop import Session
    from pylm.training.plan import Length

Say = Callable[[str], None]
MINUTES = 5.0  # of a run whose size and length nobody gave
ANOTHER = "leave it out to go on; without --resume and with another --out, a new run starts"
LARGE_VOCABULARY = 50304  # where nothing says how large it is
GLOB = "*?["


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    given: Given
    files: tuple[str, ...] = ()
    data: str | None = None
    out: str | None = None
    resume: str | None = None
    init_from: str | None = None
    depth: int | None = None
    allow_inexact: bool = False


def run_training(asked: Asked, activity: Activity) -> dict[str, Any]:
    """Do what was asked, and say how it ended."""
    from pylm.cli import train_data, train_ending, train_resume, train_watch
    from pylm.cli.frame import starting
    from pylm.runs import RunFolder, Stop

    say = activity.say
    _refuse_contradictions(asked)
    checkpoint = train_resume.find_checkpoint(asked.resume, asked.out, say)
    replayed, sized = None, None
    if checkpoint is None:
        resolved, sized = _configuration(asked, activity)
    else:
        stored = train_resume.stored_configuration(checkpoint)
        _refuse_another(asked, stored.config)
        resolved = train_resume.configuration(checkpoint, stored, _given(asked))
        replayed = train_resume.replayed_length(checkpoint, stored.config, resolved.config)
        if (why := train_resume.finished(checkpoint, stored.config, resolved.config, replayed)) is not None:
            return train_ending.finished_before(checkpoint, why, resolved.config.train.keep_last)
        resolved = train_watch.as_it_sampled(checkpoint, stored, resolved)
        _refuse_moved(resolved.config)
    data = train_data.open_data(resolved.config, _named(asked))
    for line in (data.remark, sized):
        if line is not None:
            say(line)
    out = (
        Path(asked.out) if asked.out else train_resume.home(checkpoint) if checkpoint else _default_out(asked, resolved)
    )
    with Stop() as stop, RunFolder(out) as run:
        stop.last_words = lambda: train_ending.last_words(run)
        try:
            train_resume.check_folder(out, checkpoint)
            session = _prepare(asked, resolved, data, checkpoint, replayed, run, stop, activity)
            starting.settle()
            return _train(session)
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise
        except OSError as error:
            raise train_ending.cannot_write(out, error) from error


def _prepare(
    asked: Asked,
    resolved: Resolved,
    found: TrainingData,
    checkpoint: Checkpoint | None,
    replayed: Length | None,
    run: RunFolder,
    stop: Stop,
    activity: Activity,
) -> Session:
    """Everything that a run needs, made, checked and told."""
    from pylm.cli import train_ending, train_init, train_resume, train_watch
    from pylm.cli.train_data import loader as make_loader
    from pylm.cli.train_data import tokenizer_of, vocab_size
    from pylm.cli.train_header import header
    from pylm.config.shape import complete, count_parameters
    from pylm.runs import View
    from pylm.training import plan
    from pylm.training.loop import Progress, Session
    from pylm.training.schedule import Schedule

    config, say = resolved.config, activity.say
    identity, first = found.identity, found.first
    shape = complete(config.model, vocab_size(config, identity))
    if checkpoint is not None:
        train_resume.check_bound(checkpoint, identity, str(config.data.mix or config.data.path))
    parameters = count_parameters(shape)
    plan.check_disk(run.path, parameters, config.train.keep_last)
    sequences = plan.sequences_of_step(config.train, shape.context_length, parameters)

    def run_seconds(step: float) -> float:
        whole = plan.resolve_batches(config.train, shape.context_length, parameters, sequences or 1)
        return plan.resolve_length(config.train, whole, first.windows, step).steps * step

    backend = _backend(config, shape, checkpoint, activity, stop, run_seconds)

    def rows(count: int) -> MicroBatch:
        from pylm.training.backend import cut

        batch = make_loader(config, count).batch(0)
        return cut(batch.inputs, batch.targets, batch.cu_seqlens, count)[0]

    choices = backend.probe(rows, sequences)
    batches = plan.resolve_batches(config.train, shape.context_length, parameters, choices["micro_batch"])
    length = replayed or plan.resolve_length(
        config.train, batches, first.windows, _pace(checkpoint, choices), _done(checkpoint)
    )
    schedule = Schedule.of(config.train, length.steps)
    if checkpoint is not None:
        train_resume.check_choices(checkpoint, choices, asked.allow_inexact, say)
    progress = Progress() if checkpoint is None else train_resume.restore(backend, checkpoint)
    if asked.init_from:
        train_init.initialise(backend, shape, asked.init_from, identity, say)
    if checkpoint is None:
        if gone := run.cut_back(0):  # of a run that was killed before its first checkpoint
            say(f"starting at step 0: {gone} lines of metrics without a checkpoint are made again")
    else:
        train_resume.cut_back(run, checkpoint, say)
    loader = make_loader(config, batches.sequences, backend)
    text = resolved.to_yaml()
    run.environment(
        {"choices": choices, "sequences": batches.sequences, "argv": sys.argv[1:], "python": sys.version.split()[0]}
    )
    run.write("config.yaml", text)
    tokenizer = tokenizer_of(config, identity)
    activity.rest()
    for line in header(shape, parameters, first, backend, choices, batches, length, schedule, run):
        say(line)
    return Session(
        config=config,
        run=run,
        backend=backend,
        loader=loader,
        saver=_saver(run, config, text, identity),
        batches=batches,
        length=length,
        schedule=schedule,
        view=View(length.steps, quiet=activity.quiet),
        stop=stop,
        resume_line=train_ending.line(run.path),
        bound={
            "version": 1,
            "samples": train_watch.SAMPLES,
            "tokenizer": identity.tokenizer,
            "data": identity.fingerprint,
            "choices": choices,
            "length": dataclasses.asdict(length),
        },
        evaluate=train_watch.evaluator(config, identity),
        sample=None
        if tokenizer is None
        else train_watch.sampler(tokenizer, config.sample, train_watch.fixed_prompts(config, identity, tokenizer.eot)),
        parameters=parameters,
        flops_per_token=plan.flops_per_token(shape),
        matmul_flops=choices["matmul_flops"],
        progress=progress,
        saved=None
        if checkpoint is None or train_resume.home(checkpoint).resolve() != run.path.resolve()
        else progress.step,
    )


def _train(session: Session) -> dict[str, Any]:
    """Train, and say how it ended."""
    from pylm.cli.train_ending import result
    from pylm.training.loop import train

    try:
        outcome = train(session)
    finally:
        session.loader.close()
        session.saver.finish()
    if (left := _cut_short(session, outcome.why)) is not None:
        session.view.remark(left)
    return result(session.run.path, dataclasses.asdict(session.progress), outcome.why, session.parameters)


def _done(checkpoint: Checkpoint | None) -> tuple[int, float]:
    """Steps and seconds that lie behind."""
    return (0, 0.0) if checkpoint is None else (checkpoint.step, checkpoint.state["progress"]["seconds"])


def _pace(checkpoint: Checkpoint | None, choices: dict[str, Any]) -> float | None:
    """Seconds of a step: the run's own where it was computed as it is now."""
    from pylm.cli.train_resume import changed_choices
    from pylm.training.plan import own_pace

    measured: float | None = choices["seconds_per_step"]
    if checkpoint is None or changed_choices(checkpoint, choices):
        return measured
    return own_pace(measured, _done(checkpoint))


def _cut_short(session: Session, why: str) -> str | None:
    """What is to be said of a run whose time was up before it had taken the steps that its schedule was laid over."""
    from pylm.training.loop import TIME_IS_UP

    step, steps, schedule = session.progress.step, session.length.steps, session.schedule
    if why != TIME_IS_UP or step >= steps or schedule.kind == "constant":
        return None
    return (
        f"its steps took longer than planned: time for {step:,} of {steps:,}, so the learning rate ended at "
        f"{schedule(step - 1):.2g} and not at {schedule(steps - 1):.2g}; to take the others: "
        f"{session.resume_line} --max-time null --max-steps {steps}"
    )


def _refuse_contradictions(asked: Asked) -> None:
    """What cannot be asked together."""
    if asked.files and asked.data is not None:
        raise UsageError(
            f"{_named(asked)} is text to tokenize, and --data {asked.data} is tokens", "give one of the two"
        )
    if asked.resume is not None and asked.init_from is not None:
        raise UsageError("--resume goes on with a run, --init-from starts a new one", "give one of the two")
    if asked.depth is not None and asked.given.preset is not None:
        raise UsageError(f"--depth and --preset {asked.given.preset} both give the shape", "give one of the two")
    for file in asked.files:
        if not Path(file).exists() and file != "-" and not set(file) & set(GLOB):
            raise DataError(f"{file}: no such file", "name a text to train on, or --data DIR that pylm tokenize wrote")


def _named(asked: Asked) -> str | None:
    """What the user calls the text."""
    return " ".join(asked.files) or None


def _refuse_moved(config: Config) -> None:
    """A run that goes on where its data is not to be seen."""
    path = config.data.path
    if path is not None and config.data.mix is None and not Path(path).exists():
        raise DataError(
            f"{path}, which the run was started with, is not there", "--data DIR names where it is now, seen from here"
        )


def _refuse_another(asked: Asked, stored: Config) -> None:
    """What would be another run than the one that is to go on."""
    from pylm.data.prepare import default_folder

    if asked.files and str(folder := default_folder(asked.files)) != stored.data.path:
        raise UsageError(
            f"{_named(asked)} is tokenized to {folder}, and the run was started with {stored.data.path or 'a mix'}",
            ANOTHER,
        )
    if asked.depth is not None and asked.depth != stored.model.n_layers:
        raise UsageError(
            f"--depth {asked.depth} is not what the run was started with, which has {stored.model.n_layers} layers",
            ANOTHER,
        )


def _given(asked: Asked) -> Given:
    """What the command line says of the configuration, with --data where it belongs."""
    given = asked.given
    return given.with_default("data.path", asked.data, "--data") if asked.data is not None else given


def _configuration(asked: Asked, activity: Activity) -> tuple[Resolved, str | None]:
    """The configuration of a new run, and what is to be said of its size; text is tokenized on the way."""
    from pylm.cli import train_data, train_init, train_resume, train_watch

    given = train_resume.lengthened(_given(asked), 0.0)
    begun = Path(asked.out, "config.yaml") if asked.out else None
    if asked.resume == "auto" and begun and begun.is_file() and given.preset is None and not given.files:
        given = dataclasses.replace(given, files=(str(begun),))  # it was killed before its first checkpoint
    resolved = given.resolve()  # what is wrong with it is said before any text is read
    if asked.files:
        activity.rest()
        vocabulary = resolved.config.model.vocab_size
        folder = train_data.tokenized(asked.files, vocabulary, activity.say, activity.quiet)
        given = given.with_default("data.path", folder, str(_named(asked)))
        resolved = given.resolve()
    if resolved.config.data.path is None and resolved.config.data.mix is None:
        raise UsageError(
            "nothing to train on was named",
            "pylm train my.txt, or pylm train --data DIR with a folder that pylm tokenize wrote",
        )
    if asked.init_from is not None and asked.depth is None and resolved.config.model.n_layers is None:
        given = train_init.with_shape(given, asked.init_from)
        resolved = given.resolve()
    given = train_watch.with_short_samples(given, resolved.origin)
    resolved, sized = given.resolve(), None
    model = resolved.config.model
    if asked.depth is not None or (model.n_layers is None and model.n_heads is None and model.d_model is None):
        resolved, sized = _sized(given, resolved, asked, activity)
    return resolved, sized


def _sized(given: Given, resolved: Resolved, asked: Asked, activity: Activity) -> tuple[Resolved, str]:
    """Derive what nobody gave from a depth, or from what this machine trains in minutes; and say what it is."""
    from pylm.cli import train_data
    from pylm.cli.train_backend import measured_flops
    from pylm.config import depth as dial
    from pylm.config.cascade import DEFAULT
    from pylm.data.identity import identify

    config = resolved.config
    data = config.data.mix or config.data.path
    assert data is not None
    identity = identify(data, config.data.val)
    # text that holds no window of the shortest context is refused before anything is measured
    context = int(dial.derive(asked.depth or dial.LEAST)["model.context_length"])
    if resolved.origin("model.context_length") != DEFAULT:
        context = config.model.context_length
    train_data.refuse_too_small(config, context, _named(asked))
    text = train_data.loader(config, 1, context_length=1).tokens
    if asked.depth is not None:
        values, origin = dial.derive(asked.depth, text), f"--depth {asked.depth}"
        found = dial.still_open(values, resolved)
        sized = f"{origin} gives {dial.described(found)}"
    else:
        flops = measured_flops(config, activity.say, activity.doing)
        seconds = config.train.max_time or 60 * MINUTES
        choice = dial.for_machine(seconds, flops, text, identity.vocab_size or LARGE_VOCABULARY)
        values, origin = choice.values, "the size of this machine"
        found = dial.still_open(values, resolved)
        sized = choice.why
    for key, value in found.items():
        given = given.with_default(key, value, origin)
    return given.resolve(), sized


def _backend(
    config: Config,
    shape: Shape,
    checkpoint: Checkpoint | None,
    activity: Activity,
    stop: Stop,
    run_seconds: Callable[[float], float],
) -> Backend:
    """The backend that computes."""
    from pylm.cli import train_backend

    choices = train_backend.replayed_choices(config, checkpoint)
    make = train_backend.backend_module(config, activity.doing).make
    activity.doing("making the model")
    backend: Backend = make(
        shape,
        config.train,
        choices=choices,
        say=activity.say,
        doing=activity.doing,
        stopping=stop,
        run_seconds=run_seconds,
    )
    return backend


def _saver(run: RunFolder, config: Config, text: str, identity: Identity) -> Any:
    from pylm.checkpoint import Saver

    return Saver(run.path, config.train.keep_last, text, identity.texts)


def _default_out(asked: Asked, resolved: Resolved) -> Path:
    """`runs/<preset>-<date>-<time>`."""
    name = asked.given.preset
    if name is None:
        files = asked.given.files
        name = Path(files[-1]).stem if files else f"depth-{resolved.config.model.n_layers}"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
