"""From a command line to a session of training: what is read, probed, checked and said before the first step."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import ConfigError, DataError, Interrupted, PylmError, UsageError

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.cli.configured import Given
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.data import Loader
    from pylm.data.identity import Identity
    from pylm.runs import RunFolder, Stop
    from pylm.train.backend import Backend, MicroBatch
    from pylm.train.loop import Session
    from pylm.train.plan import Batches, Length

Say = Callable[[str], None]
MINUTES = 5.0  # of a run whose size and length nobody gave
ANOTHER = "leave it out to go on; without --resume and with another --out, a new run starts"
LARGE_VOCABULARY = 50304  # where nothing says how large it is


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    given: Given
    file: str | None = None
    data: str | None = None
    out: str | None = None
    resume: str | None = None
    init_from: str | None = None
    depth: int | None = None
    allow_inexact: bool = False


def run_training(asked: Asked, say: Say, quiet: bool) -> dict[str, Any]:
    """Do what was asked, and say how it ended."""
    from pylm.cli import starting, train_ending, train_resume
    from pylm.runs import RunFolder, Stop

    _refuse_contradictions(asked)
    checkpoint = train_resume.find_checkpoint(asked.resume, asked.out, say)
    replayed = None
    if checkpoint is None:
        resolved = _configuration(asked, say, quiet)
    else:
        stored = train_resume.stored_configuration(checkpoint)
        _refuse_another(asked, stored.config)
        resolved = train_resume.configuration(checkpoint, stored, _given(asked))
        replayed = train_resume.replayed_length(checkpoint, stored.config, resolved.config)
        if (why := train_resume.finished(checkpoint, stored.config, resolved.config, replayed)) is not None:
            return train_ending.finished_before(checkpoint, why, resolved.config.train.keep_last)
    out = (
        Path(asked.out) if asked.out else train_resume.home(checkpoint) if checkpoint else _default_out(asked, resolved)
    )
    with Stop() as stop, RunFolder(out) as run:
        stop.last_words = lambda: train_ending.last_words(run)
        try:
            train_resume.check_folder(out, checkpoint)
            session = _prepare(asked, resolved, checkpoint, replayed, run, stop, say, quiet)
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
    checkpoint: Checkpoint | None,
    replayed: Length | None,
    run: RunFolder,
    stop: Stop,
    say: Say,
    quiet: bool,
) -> Session:
    """Everything that a run needs, made, checked and told."""
    from pylm.cli import train_ending, train_init, train_resume, train_watch
    from pylm.config.shape import complete, count_parameters
    from pylm.data.identity import identify
    from pylm.runs import View
    from pylm.train import plan
    from pylm.train.loop import Progress, Session
    from pylm.train.schedule import Schedule

    config = resolved.config
    data = config.data.mix or config.data.path
    assert data is not None
    if checkpoint is not None and isinstance(data, str) and not Path(data).exists():
        raise DataError(
            f"{data}, which the run was started with, is not there", "--data DIR names where it is now, seen from here"
        )
    identity = identify(data, config.data.val)
    shape = complete(config.model, _vocab_size(config, identity))
    if checkpoint is not None:
        train_resume.check_bound(checkpoint, identity, str(data))
    parameters = count_parameters(shape)
    plan.check_disk(run.path, parameters, config.train.keep_last)
    first = _loader(config, 1)
    sequences = plan.sequences_of_step(config.train, shape.context_length, parameters)

    def run_seconds(step: float) -> float:
        whole = plan.resolve_batches(config.train, shape.context_length, parameters, sequences or 1)
        return plan.resolve_length(config.train, whole, first.windows, step).steps * step

    backend = _backend(asked, config, shape, checkpoint, say, stop, run_seconds)

    def rows(count: int) -> MicroBatch:
        from pylm.train.backend import cut

        batch = _loader(config, count).batch(0)
        return cut(batch.inputs, batch.targets, batch.cu_seqlens, count)[0]

    choices = backend.probe(rows, sequences)
    batches = plan.resolve_batches(config.train, shape.context_length, parameters, choices["micro_batch"])
    length = replayed or plan.resolve_length(
        config.train, batches, first.windows, choices["seconds_per_step"], _done(checkpoint)
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
    loader = _loader(config, batches.sequences, backend)
    text = resolved.to_yaml()
    run.environment(
        {"choices": choices, "sequences": batches.sequences, "argv": sys.argv[1:], "python": sys.version.split()[0]}
    )
    run.write("config.yaml", text)
    for line in _header(shape, parameters, identity, first, backend, choices, batches, length, schedule, run):
        say(line)
    tokenizer = _tokenizer(identity, data) if config.train.sample_every else None
    return Session(
        config=config,
        run=run,
        backend=backend,
        loader=loader,
        saver=_saver(run, config, text, identity),
        batches=batches,
        length=length,
        schedule=schedule,
        view=View(length.steps, quiet=quiet),
        stop=stop,
        resume_line=train_ending.line(run.path),
        bound={
            "version": 1,
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
        flops_per_token=plan.flops_per_token(shape, parameters),
        matmul_flops=choices["matmul_flops"],
        progress=progress,
        saved=None
        if checkpoint is None or train_resume.home(checkpoint).resolve() != run.path.resolve()
        else progress.step,
    )


def _train(session: Session) -> dict[str, Any]:
    """Train, and say how it ended."""
    from pylm.cli.train_ending import result
    from pylm.train.loop import train

    try:
        outcome = train(session)
    finally:
        session.loader.close()
        session.saver.finish()
    return result(session.run.path, dataclasses.asdict(session.progress), outcome.why, session.parameters)


def _done(checkpoint: Checkpoint | None) -> tuple[int, float]:
    """Steps and seconds that lie behind."""
    return (0, 0.0) if checkpoint is None else (checkpoint.step, checkpoint.state["progress"]["seconds"])


def _refuse_contradictions(asked: Asked) -> None:
    """What cannot be asked together."""
    if asked.file is not None and asked.data is not None:
        raise UsageError(f"{asked.file} is text to tokenize, and --data {asked.data} is tokens", "give one of the two")
    if asked.resume is not None and asked.init_from is not None:
        raise UsageError("--resume goes on with a run, --init-from starts a new one", "give one of the two")
    if asked.depth is not None and asked.given.preset is not None:
        raise UsageError(f"--depth and --preset {asked.given.preset} both give the shape", "give one of the two")
    if asked.file is not None and not Path(asked.file).exists() and asked.file != "-":
        raise DataError(
            f"{asked.file}: no such file", "name a text to train on, or --data DIR that pylm tokenize wrote"
        )


def _refuse_another(asked: Asked, stored: Config) -> None:
    """What would be another run than the one that is to go on."""
    from pylm.data.prepare import default_folder

    if asked.file is not None and str(folder := default_folder([asked.file])) != stored.data.path:
        raise UsageError(
            f"{asked.file} is tokenized to {folder}, and the run was started with {stored.data.path or 'a mix'}",
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


def _configuration(asked: Asked, say: Say, quiet: bool) -> Resolved:
    """The configuration of a new run; text is tokenized on the way, for its amount decides the size."""
    from pylm.cli import train_init, train_resume

    given = train_resume.lengthened(_given(asked), 0.0)
    begun = Path(asked.out, "config.yaml") if asked.out else None
    if asked.resume == "auto" and begun and begun.is_file() and given.preset is None and not given.files:
        given = dataclasses.replace(given, files=(str(begun),))  # it was killed before its first checkpoint
    if asked.file is not None:
        given = given.with_default("data.path", _tokenized(asked.file, say, quiet), asked.file)
    resolved = given.resolve()
    if resolved.config.data.path is None and resolved.config.data.mix is None:
        raise UsageError(
            "nothing to train on was named",
            "pylm train my.txt, or pylm train --data DIR with a folder that pylm tokenize wrote",
        )
    if asked.init_from is not None and asked.depth is None and resolved.config.model.n_layers is None:
        given = train_init.with_shape(given, asked.init_from)
        resolved = given.resolve()
    model = resolved.config.model
    if asked.depth is not None or (model.n_layers is None and model.n_heads is None and model.d_model is None):
        resolved = _sized(given, resolved, asked.depth, say)
    return resolved


def _sized(given: Given, resolved: Resolved, depth: int | None, say: Say) -> Resolved:
    """Derive what nobody gave from a depth, or from what this machine trains in minutes; and say what it is."""
    from pylm.cli.train_backend import measured_flops
    from pylm.config import depth as dial
    from pylm.data.identity import identify

    config = resolved.config
    data = config.data.mix or config.data.path
    assert data is not None
    text = _loader(config, 1).tokens
    if depth is not None:
        values, origin = dial.derive(depth, text), f"--depth {depth}"
    else:
        flops = measured_flops(config, say)
        seconds = config.train.max_time or 60 * MINUTES
        choice = dial.for_machine(seconds, flops, text, identify(data).vocab_size or LARGE_VOCABULARY)
        values, origin = choice.values, "the size of this machine"
        say(f"no preset, so {choice.why}")
    found = dial.still_open(values, resolved)
    listed = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in found.items())
    say(f"{origin} gives {listed}")
    for key, value in found.items():
        given = given.with_default(key, value, origin)
    return given.resolve()


def _tokenized(file: str, say: Say, quiet: bool) -> str:
    """The folder of a text's tokens, which `pylm tokenize` would have written: what is there already is kept."""
    from pylm.cli.progress import Progress
    from pylm.data.prepare import default_folder, prepare

    try:
        with Progress("tokenize", unit="bytes", quiet=quiet) as progress:
            done = prepare([file], progress=progress, say=say)
    except PylmError as error:
        folder = default_folder([file])
        if not (folder / "manifest.json").is_file():
            raise
        again = f"pylm tokenize {shlex.quote(file)} --force makes them anew"
        raise DataError(error.message, f"pylm train --data {folder} trains on what is there; {again}") from None
    if not done.found:
        say(f"{file} is tokenized: {done.folder}")
    return str(done.folder)


def _vocab_size(config: Config, identity: Identity) -> int:
    found = identity.vocab_size or config.model.vocab_size
    if found is None:
        raise ConfigError(
            f"{config.data.path} does not say how many tokens its vocabulary has",
            "put its tokenizer.json beside it, or give --vocab-size",
        )
    return found


def _loader(config: Config, batch_size: int, backend: Backend | None = None) -> Loader:
    from pylm.data import Loader

    data = config.data
    source = data.mix or data.path
    assert source is not None
    return Loader(
        source,
        config.model.context_length,
        batch_size,
        seed=config.train.seed,
        window=data.window,
        stride=data.stride,
        allocate=None if backend is None else backend.allocate,
    )


def _backend(
    asked: Asked,
    config: Config,
    shape: Shape,
    checkpoint: Checkpoint | None,
    say: Say,
    stop: Stop,
    run_seconds: Callable[[float], float],
) -> Backend:
    """The backend that computes."""
    from pylm.cli import train_backend

    choices = train_backend.replayed_choices(config, checkpoint)
    make = train_backend.backend_module(config).make
    backend: Backend = make(shape, config.train, choices=choices, say=say, stopping=stop, run_seconds=run_seconds)
    return backend


def _saver(run: RunFolder, config: Config, text: str, identity: Identity) -> Any:
    from pylm.checkpoint import Saver

    return Saver(run.path, config.train.keep_last, text, identity.texts)


def _tokenizer(identity: Identity, data: Any) -> Any:
    from pylm.tokenizer import Tokenizer

    if "tokenizer.json" not in identity.texts:
        raise UsageError(f"{data} has no tokenizer.json to write samples with", "leave --sample-every out")
    name = next(iter(data)) if isinstance(data, dict) else data
    folder = Path(name)
    return Tokenizer.load(str(folder if folder.is_dir() else folder.parent))


def _default_out(asked: Asked, resolved: Resolved) -> Path:
    """`runs/<preset>-<date>-<time>`."""
    name = asked.given.preset
    if name is None:
        files = asked.given.files
        name = Path(files[-1]).stem if files else f"depth-{resolved.config.model.n_layers}"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _header(
    shape: Shape,
    parameters: int,
    identity: Identity,
    loader: Loader,
    backend: Backend,
    choices: dict[str, Any],
    batches: Batches,
    length: Any,
    schedule: Any,
    run: RunFolder,
) -> list[str]:
    """What the run will do, before it does it."""
    from pylm.cli.train_backend import place
    from pylm.config.units import format_count

    kernels = sorted({backend for backend in choices.get("kernels", {}).values()} - {"reference"})
    compiled = "compiled" if choices["compile"] else f"not compiled: {choices['compile_why']}"
    peak = choices["matmul_flops"]
    rows = [
        (
            "model",
            f"{format_count(parameters)} parameters: {shape.n_layers} layers, {shape.d_model} wide, "
            f"{shape.n_heads} heads, context {shape.context_length:,}, vocabulary {shape.vocab_size:,}",
        ),
        ("data", f"{format_count(loader.tokens)} tokens, {loader.windows:,} windows an epoch"),
        (
            "machine",
            f"{place(backend, choices)}, {choices['precision']}, "
            f"kernels: {', '.join(kernels) or 'reference'}, {peak / 1e12:.2g} Tflop/s at most",
        ),
        ("compile", compiled),
        ("batch", str(batches)),
        ("length", f"{length.steps:,} steps, {format_count(length.steps * batches.tokens)} tokens: {length.why}"),
        ("rate", str(schedule)),
        ("run", str(run.path)),
    ]
    if identity.validation is None:
        rows.append(("note", "there is no validation split, so nothing is evaluated and no checkpoint is the best"))
    return [f"{name:<8} {text}" for name, text in rows]
