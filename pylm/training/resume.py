"""Going on with a run: from which checkpoint, in which folder, and whether the result can be the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import CheckpointError, PylmError
from pylm.training.decisions import Decisions
from pylm.training.due import BAD_STEPS
from pylm.training.events import Branched, Event, Inexact, NothingToResume, Resumed, StartedOver, Superseded
from pylm.training.progress import Progress
from pylm.training.ranks import ALIKE
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.data.identity import Identity
    from pylm.runs import RunFolder
    from pylm.training.average import Averaging
    from pylm.training.backend import Backend, Choices
    from pylm.training.ranks import Ranks

__all__ = ["begun_with", "changed_choices", "check_bound", "check_choices", "check_folder", "cut_back", "decisions",
           "find_checkpoint", "home", "refuse_mixed", "restore"]  # fmt: skip

OnEvent = Callable[[Event], None]
# What a run writes to its folder, and what makes another's of it: shards have a job
WRITTEN = ("config.yaml", "metrics.jsonl", "incidents.jsonl", "samples.jsonl", "job.json")
# What decides the bits of the result, by its name among the choices
DECIDING = (
    *("backend", "torch", "mlx", "device", "device_name", "threads", "kernels"),
    *("cpu_variant", "precision", "micro_batch", "compile"),
)


def find_checkpoint(asked: str | None, out: Path | None, on_event: OnEvent) -> Checkpoint | None:
    """Return the checkpoint to go on from, hashed; None where there is none yet, or nothing was asked."""
    from pylm.checkpoint import find, newest_run, newest_sound, read, steps, verify

    if asked is None:
        return None
    if asked == "auto":
        try:
            run = newest_run() if out is None else out
        except CheckpointError:
            on_event(NothingToResume(None))
            return None
        sound = newest_sound(run)
        if sound is None:
            if damaged := steps(run):
                raise CheckpointError(
                    f"{run} has no sound checkpoint: {', '.join(f'step_{step}' for step in damaged)} "
                    f"{'is' if len(damaged) == 1 else 'are'} damaged",
                    f"{call('verify', run)} names the damage; "
                    f"without {param('resume')} and with another {param('out')}, it starts anew",
                )
            on_event(NothingToResume(run))
            return None
        newest = steps(run)[-1]
        if sound.name != f"step_{newest}":
            on_event(Superseded(run, f"step_{newest}", sound.name))
        return _resumable(read(sound))
    path = find(asked)
    if path.name == "average":
        raise CheckpointError(
            f"{path} is an average of weights, from which no run goes on",
            f"{param('init_from', path)} begins a new one",
        )
    try:
        checkpoint = verify(path)
    except CheckpointError as error:
        sound = newest_sound(path.parent.parent)
        hint = "no other checkpoint of this run is sound"
        if sound is not None:
            hint = f"{sound} is sound: {param('resume', sound)}"
        raise CheckpointError(error.marked[0], hint) from None
    return _resumable(checkpoint)


def _resumable(checkpoint: Checkpoint) -> Checkpoint:
    checkpoint.check_resumable()
    return checkpoint


def home(checkpoint: Checkpoint) -> Path:
    """Return the run that a checkpoint belongs to."""
    return checkpoint.path.parent.parent


def check_folder(out: Path, checkpoint: Checkpoint | None) -> None:
    """Refuse to write into a folder that would lose something by it."""
    from pylm.checkpoint import steps

    have = steps(out)
    if not have and not (out / "environment.json").exists():  # which a run writes first
        if (there := next((name for name in WRITTEN if (out / name).exists()), None)) is not None:
            raise PylmError(f"{out} holds {there}, and is no run of pylm's", f"name a new folder with {param('out')}")
    if checkpoint is None:
        if have:
            raise PylmError(
                f"{out} holds a run already, at step {have[-1]:,}",
                f"{param('resume', 'auto')} goes on with it; or another {param('out')}",
            )
        return
    if home(checkpoint).resolve() != out.resolve():
        if have:
            raise PylmError(f"{out} holds another run, at step {have[-1]:,}", f"name a new folder with {param('out')}")
        return
    newer = [step for step in have if step > checkpoint.step and _is_sound(out, step)]
    if newer:
        raise PylmError(
            f"{out} goes on to step {newer[-1]:,}, which going on from step {checkpoint.step:,} would overwrite",
            f"{param('resume', f'{out}/step_{newer[-1]}')}, or give the branch a folder of its own with {param('out')}",
        )


def _is_sound(run: Path, step: int) -> bool:
    from pylm.checkpoint import verify

    try:
        verify(run / "checkpoints" / f"step_{step}")
    except CheckpointError:
        return False
    return True


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
            f"name the data that the run was started with; {param('init_from')} starts a new run on other data",
        )


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) else "unknown"


def changed_choices(checkpoint: Checkpoint, choices: dict[str, Any]) -> list[str]:
    """Return what decides the bits of the result, and the pace, and is another than when the checkpoint was written."""
    then = checkpoint.state["choices"]
    return [key for key in DECIDING if then.get(key) != choices.get(key)]


def check_choices(checkpoint: Checkpoint, choices: dict[str, Any], allow_inexact: bool, on_event: OnEvent) -> None:
    """Refuse a machine on which the result cannot be the same to the bit, unless that is allowed."""
    then, changed = checkpoint.state["choices"], changed_choices(checkpoint, choices)
    if not changed:
        return
    differences = tuple((key, then.get(key), choices.get(key)) for key in changed)
    if not allow_inexact:
        what = "; ".join(f"{key} was {before}, is {now}" for key, before, now in differences)
        raise CheckpointError(
            f"the result would not be the same to the bit as an uninterrupted run's: {what}",
            f"{param('allow_inexact', True)} goes on all the same",
        )
    on_event(Inexact(differences))


def refuse_mixed(ranks: Ranks, choices: Choices) -> None:
    """Refuse processes on machines that compute differently: what one of them rounds, the others would not."""
    for key in DECIDING:
        ranks.same(choices.get(key), f"{key} {choices.get(key)}", ALIKE)


def begun_with(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint says of the weights that its run began with."""
    return {name: checkpoint.state[name] for name in ("init_from", "adapter") if name in checkpoint.state}


def restore(backend: Backend, checkpoint: Checkpoint, averaging: Averaging | None) -> Progress:
    """Put model, average, optimizer and generators where they were, and return the progress."""
    from pylm.checkpoint import damaged

    state = checkpoint.path / "state.json"
    try:
        progress = Progress.restored(checkpoint.state["progress"])
    except KeyError as unknown:
        name = ascii(unknown.args[0])[1:-1]
        raise CheckpointError(f"{state}: this pylm does not know progress.{name}", "upgrade pylm") from None
    if "adapter" in checkpoint.state:
        backend.load_base(_base_of(checkpoint))
    try:
        backend.load(checkpoint.weights(), checkpoint.optimizer())
    except KeyError as error:
        raise damaged(checkpoint.path / "optimizer.safetensors", f"it holds no {error}") from None
    if averaging is not None and averaging.count(checkpoint.step):
        if (average := checkpoint.average()) is None:
            raise damaged(state, "it names no average")
        backend.load_average(average.weights())
    try:
        backend.set_rng(checkpoint.state["rng"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise damaged(state, f"rng holds no state of a generator ({error})") from None
    progress.finish_reason = None
    if progress.bad_steps_in_a_row >= BAD_STEPS:
        progress.bad_steps_in_a_row = 0
    return progress


def _base_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the weights that an adapter is for, with as many rows as the run's vocabulary has."""
    from pylm.checkpoint.based import base_of
    from pylm.model.adapted import base_for
    from pylm.model.names import read

    _, weights = read(base_of(checkpoint.path))
    return base_for(weights, checkpoint.state["adapter"])


def decisions(run: RunFolder, checkpoint: Checkpoint) -> Decisions:
    """Return what the clock has decided by a checkpoint, and past it as far as the run's metrics hold it."""
    from pylm.runs import read_lines

    state = checkpoint.state.get("decisions")
    if state is None:
        return Decisions()
    here = home(checkpoint).resolve() == run.path.resolve()
    return Decisions.restored(state, checkpoint.step, read_lines(run.path / "metrics.jsonl") if here else [])


def cut_back(run: RunFolder, checkpoint: Checkpoint | None, on_event: OnEvent) -> None:
    """Make the folder one that stands at the checkpoint: later lines go, and checkpoints that are damaged."""
    import secrets
    import shutil

    from pylm.checkpoint import steps

    if checkpoint is None:
        if removed := run.cut_back(0):  # of a run that was killed before its first checkpoint
            on_event(StartedOver(removed))
        return
    if home(checkpoint).resolve() != run.path.resolve():
        on_event(Branched(checkpoint.path))
        return
    progress = checkpoint.state["progress"]
    removed = run.cut_back(checkpoint.step, progress["evaluated"], progress["sampled"], progress.get("asked"))
    for step in steps(run.path):
        if step > checkpoint.step:
            folder = run.path / "checkpoints" / f"step_{step}"
            aside = folder.with_name(f".partial-damaged-{step}-{secrets.token_hex(4)}")
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    on_event(Resumed(checkpoint.step, removed))
