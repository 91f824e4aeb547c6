"""What a second stage takes over of the training of the first: the rate where its schedule stood, the optimizer's ways.

The weights come from init_from.py. Here is what else is asked for: `optimizer_state: keep` takes the
moments, and `learning_rate: inherit` begins at the rate of the last step that was taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.cascade import BATCH_KEYS, DEFAULT, Resolved
from pylm.errors import CheckpointError, ConfigError
from pylm.training.continued import stored_configuration
from pylm.training.decisions import Decisions
from pylm.training.schedule import Schedule
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.schema import Config, Train
    from pylm.training.request import Request

__all__ = ["with_training"]

OF_MOMENTS = ("betas", "weight_decay", "grad_clip")  # with which they were gathered
OF_GROUPS = ("embed_lr", "head_lr", "scalar_lr")


def with_training(resolved: Resolved, request: Request) -> Resolved:
    """Return the configuration with what is inherited of the checkpoint that a run begins with, where that was asked.

    What was given wins: the rates of groups, the optimizer's ways and the batch are the checkpoint's where nobody did.
    """
    train = resolved.config.train
    inherits, keeps = train.learning_rate == "inherit", train.optimizer_state == "keep"
    if not inherits and not keeps:
        return resolved
    if request.init_from is None:
        key, value = ("learning_rate", "inherit") if inherits else ("optimizer_state", "keep")
        raise ConfigError(
            f"{param(key, value)} is for a run that begins with a checkpoint, and none is named",
            f"{param('init_from', 'CHECKPOINT')} names it",
        )
    from pylm.checkpoint import find

    path = find(request.init_from)
    checkpoint = _of_ours(path, inherits)
    theirs = stored_configuration(checkpoint).config
    values = _batch(resolved, checkpoint, theirs)
    origins = dict(resolved.origins)
    if keeps:
        values |= _optimizer(resolved, checkpoint, theirs.train)
    if inherits:
        values |= _rates(checkpoint, theirs)
        del origins["train.learning_rate"]
    return Resolved(resolved.config, origins).completed(values, param("init_from", path))


def _of_ours(path: Path, inherits: bool) -> Checkpoint:
    """Return the checkpoint, of which weights alone are not enough."""
    from pylm.checkpoint import read

    if (path / "manifest.json").exists():
        return read(path)
    raise _unknown_rate(path) if inherits else _no_moments(path)


def _optimizer(resolved: Resolved, checkpoint: Checkpoint, theirs: Train) -> dict[str, Any]:
    """Return what the moments were gathered with; refuse another optimizer, and a checkpoint that has none."""
    if not checkpoint.optimizer():
        raise _no_moments(checkpoint.path)
    ours = resolved.config.train.optimizer
    if resolved.origin("train.optimizer") != DEFAULT and ours != theirs.optimizer:
        raise ConfigError(
            f"the moments of {checkpoint.path} are of another optimizer: {ours} is {theirs.optimizer} there",
            f"leave {param('optimizer')} out, and it is the checkpoint's, or {param('optimizer_state', 'fresh')}",
        )
    return {f"train.{key}": getattr(theirs, key) for key in ("optimizer", *OF_MOMENTS)}


def _batch(resolved: Resolved, checkpoint: Checkpoint, theirs: Config) -> dict[str, Any]:
    """Return the tokens of a step, which a rate is for; nothing where somebody gives the batch."""
    loader = checkpoint.state.get("loader", {})
    if "batch_size" not in loader or any(resolved.origin(f"train.{key}") != DEFAULT for key in BATCH_KEYS):
        return {}
    return {"train.batch_tokens": loader["batch_size"] * theirs.model.context_length}


def _rates(checkpoint: Checkpoint, theirs: Config) -> dict[str, Any]:
    """Return the rates of the last step that was taken, from which a run goes on without another warmup."""
    try:
        rate = _last_rate(checkpoint, theirs.train)
    except LookupError:
        raise _unknown_rate(checkpoint.path) from None
    if rate == 0:
        again = call("train", data=theirs.data.path or "DIR", schedule="constant")
        raise CheckpointError(
            f"{checkpoint.path} was annealed to the end: its learning rate stood at 0, and none begins there",
            f"{again} trains one that can be continued; of a wsd run name a checkpoint from before its decay",
        )
    share = rate / theirs.train.peak
    groups = {f"train.{key}": share * given for key in OF_GROUPS if (given := getattr(theirs.train, key)) is not None}
    return {"train.learning_rate": rate, **groups, "train.warmup_steps": 0}


def _last_rate(checkpoint: Checkpoint, train: Train) -> float:
    """Return the rate of a checkpoint's last step, as metrics.jsonl has it; LookupError where its state says no length.

    One that was saved before its first step has that step's.
    """
    state, step = checkpoint.state, max(checkpoint.step - 1, 0)
    steps, decisions = state["length"]["steps"], state.get("decisions")
    schedule = Schedule.of(train, steps, by_clock=decisions is not None)
    if decisions is None:
        return schedule(step)
    return schedule.by_progress(step, Decisions.restored(decisions, checkpoint.step, []).progress)


def _unknown_rate(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} does not say where its learning rate stood", f"give it as a number: {param('learning_rate', 3e-4)}"
    )


def _no_moments(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} holds no state of an optimizer to keep",
        f"{param('optimizer_state', 'fresh')} begins with its weights alone",
    )
