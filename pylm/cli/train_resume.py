"""Going on with a run: from which checkpoint, with which configuration, and whether the result can be the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import CheckpointError, ConfigError, PylmError

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given
    from pylm.config.schema import Config
    from pylm.data.identity import Identity
    from pylm.runs import RunFolder
    from pylm.training.backend import Backend
    from pylm.training.loop import Progress
    from pylm.training.plan import Length

Say = Callable[[str], None]
LENGTHS = ("max_steps", "max_epochs", "max_tokens", "max_time")
# What a resumed run may have otherwise than it was started with; everything else would make it another run
ADJUSTABLE = {
    *(f"train.{key}" for key in LENGTHS),
    "train.learning_rate",
    "train.min_lr_ratio",
    "train.warmup_steps",
    "train.schedule",
    "train.eval_every",
    "train.eval_batches",
    "train.save_every",
    "train.keep_last",
    "train.sample_every",
    "train.early_stop",
    "train.device",
    "train.backend",
    "train.precision",
    "train.compile",
    "metrics.log_every",
    "data.path",
    "data.val",
    "data.mix",
}
SAMPLES = "sample."
# What a run writes to its folder, and what makes another's of it: shards have a job
WRITTEN = ("config.yaml", "metrics.jsonl", "incidents.jsonl", "samples.jsonl", "job.json")
# What decides the bits of the result, by its name among the choices
DECIDING = (
    *("backend", "torch", "mlx", "device", "device_name", "threads", "kernels"),
    *("cpu_variant", "precision", "micro_batch", "compile"),
)


def find_checkpoint(asked: str | None, out: str | None, say: Say) -> Checkpoint | None:
    """The checkpoint that --resume means, hashed; None where there is none yet, or nothing was asked."""
    from pylm.checkpoint import find, newest_run, newest_sound, read, steps, verify

    if asked is None:
        return None
    if asked == "auto":
        try:
            run = Path(out) if out is not None else newest_run()
        except CheckpointError:
            say("nothing to resume: there is no run with a checkpoint yet, starting at step 0")
            return None
        sound = newest_sound(run)
        if sound is None:
            if damaged := steps(run):
                raise CheckpointError(
                    f"{run} has no sound checkpoint: {', '.join(f'step_{step}' for step in damaged)} "
                    f"{'is' if len(damaged) == 1 else 'are'} damaged",
                    f"pylm verify {run} names the damage; without --resume and with another --out, it starts anew",
                )
            say(f"nothing to resume: {run} has no checkpoint yet, starting at step 0")
            return None
        newest = steps(run)[-1]
        if sound.name != f"step_{newest}":
            say(f"{run}: step_{newest} is damaged, going on from {sound.name}")
        return _resumable(read(sound))
    path = find(asked)
    try:
        found = verify(path)
    except CheckpointError as error:
        sound = newest_sound(path.parent.parent)
        hint = (
            f"{sound} is sound: --resume {sound}" if sound is not None else "no other checkpoint of this run is sound"
        )
        raise CheckpointError(error.message, hint) from None
    return _resumable(found)


def _resumable(checkpoint: Checkpoint) -> Checkpoint:
    checkpoint.check_resumable()
    return checkpoint


def home(checkpoint: Checkpoint) -> Path:
    """The run that a checkpoint belongs to."""
    return checkpoint.path.parent.parent


def check_folder(out: Path, checkpoint: Checkpoint | None) -> None:
    """Refuse to write into a folder that would lose something by it."""
    from pylm.checkpoint import steps

    have = steps(out)
    if not have and not (out / "environment.json").exists():  # which a run writes first
        if (there := next((name for name in WRITTEN if (out / name).exists()), None)) is not None:
            raise PylmError(f"{out} holds {there}, and is no run of pylm's", "name a new folder with --out")
    if checkpoint is None:
        if have:
            raise PylmError(
                f"{out} holds a run already, at step {have[-1]:,}", "--resume auto goes on with it; or another --out"
            )
        return
    if home(checkpoint).resolve() != out.resolve():
        if have:
            raise PylmError(f"{out} holds another run, at step {have[-1]:,}", "name a new folder with --out")
        return
    newer = [step for step in have if step > checkpoint.step and _is_sound(out, step)]
    if newer:
        raise PylmError(
            f"{out} goes on to step {newer[-1]:,}, which going on from step {checkpoint.step:,} would overwrite",
            f"--resume {out}/step_{newer[-1]}, or give the branch a folder of its own with --out",
        )


def _is_sound(run: Path, step: int) -> bool:
    from pylm.checkpoint import verify

    try:
        verify(run / "checkpoints" / f"step_{step}")
    except CheckpointError:
        return False
    return True


def stored_configuration(checkpoint: Checkpoint) -> Resolved:
    """What the run was started with."""
    from pylm.config.cascade import resolve

    return resolve(files=[checkpoint.path / "config.yaml"], environ={})


def configuration(checkpoint: Checkpoint, stored: Resolved, given: Given) -> Resolved:
    """The run's own configuration, with what was given now where that may change."""
    from pylm.config.cascade import Resolved

    given = lengthened(given, checkpoint.state["progress"]["seconds"])
    # pylm.yaml beside us starts runs; this one has its configuration already
    explicit = given.resolve() if given.preset or given.files else _typed(given)
    values = {section: getattr(stored.config, section).model_dump() for section in type(stored.config).model_fields}
    origins = dict(stored.origins)
    for key, origin in explicit.origins.items():
        section, _, name = key.partition(".")
        new, old = getattr(getattr(explicit.config, section), name), getattr(getattr(stored.config, section), name)
        if new == old:
            continue
        if key not in ADJUSTABLE and not key.startswith(SAMPLES):
            raise ConfigError(
                f"{key} {new} ({origin}) is not what the run was started with, which is {old}",
                f"leave it out to go on; --init-from {checkpoint.path} starts a new run from its weights",
            )
        values[section][name] = new
        origins[key] = origin
    if "data.mix" in explicit.origins:
        values["data"]["path"] = explicit.config.data.path
    elif "data.path" in explicit.origins:
        values["data"]["mix"] = explicit.config.data.mix
    return Resolved(type(stored.config).model_validate(values), origins)


def lengthened(given: Given, seconds: float) -> Given:
    """The command line with `--max-time +1h` as the time that it makes, so many seconds lying behind."""
    from pylm.config.units import parse_duration

    settings = []
    for key, value, origin in given.settings:
        if key == "train.max_time" and isinstance(value, str) and value.strip().startswith("+"):
            try:
                value = str(seconds + parse_duration(value.strip()[1:]))
            except ValueError as error:
                raise ConfigError(f"{key} ({origin}): {error}", "such as --max-time +1h") from None
        settings.append((key, value, origin))
    return replace(given, settings=tuple(settings))


def _typed(given: Given) -> Resolved:
    from pylm.config.cascade import Setting, resolve

    return resolve(given.section, None, (), [Setting(*setting) for setting in given.settings])


def finished(checkpoint: Checkpoint, stored: Config, config: Config, length: Length | None) -> str | None:
    """Why there is nothing left to do, None where there is; `length` is the one replayed."""
    from pylm.config.units import format_duration, typed_duration

    progress, patience, limit = checkpoint.state["progress"], config.train.early_stop, config.train.max_time
    spent = progress["seconds"]
    if patience is not None and progress["since_best"] >= patience:
        worse = progress["since_best"]
        return f"no new best in {worse} evaluations; --early-stop with a larger number, or null, goes on"
    if length is None:
        most = config.train.max_steps
        if most is not None and checkpoint.step >= most:
            return f"it has taken {checkpoint.step:,} steps, and --max-steps is {most:,}"
        if limit is not None and spent >= limit:
            return (
                f"it has trained for {format_duration(spent)}, and --max-time {typed_duration(limit)} counts from the "
                f"run's start; --max-time +{typed_duration(limit)}, or --max-time {typed_duration(spent + limit)}, "
                "goes on"
            )
        return None
    # stopped within its last evaluation, a run has taken its steps and is not finished
    if checkpoint.step >= length.steps and progress.get("finished") is not None:
        more = "--max-steps with a larger number"
        if limit is not None and length.why.startswith("max_time"):
            more = f"--max-time +{typed_duration(limit)}"
        return f"it has taken its {length.steps:,} {'step' if length.steps == 1 else 'steps'}; {more} goes on"
    why = progress.get("finished")
    if why is None or progress["bad_steps"] or patience != stored.train.early_stop:
        return None
    if limit is not None and spent >= limit:
        return f"{why}; --max-time +{typed_duration(limit)} goes on"
    return f"{why}; a length such as --max-steps goes on"


def replayed_length(checkpoint: Checkpoint, stored: Config, config: Config) -> Length | None:
    """The length that was resolved when the run began, None where it was given anew."""
    from pylm.training.plan import Length

    if any(getattr(stored.train, key) != getattr(config.train, key) for key in LENGTHS):
        return None
    length = checkpoint.state["length"]
    return Length(length["steps"], length["why"], length.get("seconds"))


def check_bound(checkpoint: Checkpoint, identity: Identity, data: str) -> None:
    """Refuse data or a tokenizer that the run was not trained with."""
    state = checkpoint.state
    if state.get("tokenizer") != identity.tokenizer:
        raise CheckpointError(
            f"{checkpoint.path} was trained with the tokenizer {_short(state.get('tokenizer'))}, "
            f"{data} is of {_short(identity.tokenizer)}",
            "name the data that the run was started with",
        )
    if state.get("data") != identity.fingerprint:
        raise CheckpointError(
            f"{checkpoint.path} was trained on the data {_short(state.get('data'))}, "
            f"{data} is {_short(identity.fingerprint)}",
            "name the data that the run was started with; --init-from starts a new run on other data",
        )


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) else "unknown"


def changed_choices(checkpoint: Checkpoint, choices: dict[str, Any]) -> list[str]:
    """What decides the bits of the result, and the pace, and is another than when the checkpoint was written."""
    then = checkpoint.state["choices"]
    return [key for key in DECIDING if then.get(key) != choices.get(key)]


def check_choices(checkpoint: Checkpoint, choices: dict[str, Any], allow_inexact: bool, say: Say) -> None:
    """Refuse a machine on which the result cannot be the same to the bit, unless that is allowed."""
    then, changed = checkpoint.state["choices"], changed_choices(checkpoint, choices)
    if not changed:
        return
    what = "; ".join(f"{key} was {then.get(key)}, is {choices.get(key)}" for key in changed)
    if not allow_inexact:
        raise CheckpointError(
            f"the result would not be the same to the bit as an uninterrupted run's: {what}",
            "--allow-inexact goes on all the same",
        )
    say(f"going on, not the same to the bit: {what}")


def restore(backend: Backend, checkpoint: Checkpoint) -> Progress:
    """Put model, optimizer and generators where they were, and return the progress."""
    from pylm.checkpoint import damaged
    from pylm.training.loop import BAD_STEPS, Progress

    state = checkpoint.path / "state.json"
    if unknown := sorted(set(checkpoint.state["progress"]) - {field.name for field in fields(Progress)}):
        raise CheckpointError(f"{state}: this pylm does not know progress.{ascii(unknown[0])[1:-1]}", "upgrade pylm")
    try:
        backend.load(checkpoint.weights(), checkpoint.optimizer())
    except KeyError as error:
        raise damaged(checkpoint.path / "optimizer.safetensors", f"it holds no {error}") from None
    try:
        backend.set_rng(checkpoint.state["rng"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise damaged(state, f"rng holds no state of a generator ({error})") from None
    progress = Progress(**checkpoint.state["progress"])
    progress.finished = None
    if progress.bad_steps >= BAD_STEPS:
        progress.bad_steps = 0
    return progress


def cut_back(run: RunFolder, checkpoint: Checkpoint, say: Say) -> None:
    """Make the folder one that stands at the checkpoint: later lines go, and checkpoints that are damaged."""
    import secrets
    import shutil

    from pylm.checkpoint import steps

    if home(checkpoint).resolve() != run.path.resolve():
        say(f"a branch of {checkpoint.path}")
        return
    progress = checkpoint.state["progress"]
    gone = run.cut_back(checkpoint.step, progress["evaluated"], progress["sampled"])
    for step in steps(run.path):
        if step > checkpoint.step:
            folder = run.path / "checkpoints" / f"step_{step}"
            aside = folder.with_name(f".partial-damaged-{step}-{secrets.token_hex(4)}")
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    again = f", {gone} lines of metrics past it are made again" if gone else ""
    say(f"going on from step {checkpoint.step:,}{again}")
