"""The configuration of a run that goes on: its own, with what was given now where that may change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pylm.config.cascade import Resolved, resolve
from pylm.config.units import format_duration, typed_duration
from pylm.errors import ConfigError, DataError, UsageError
from pylm.runs.trackers import check as check_trackers
from pylm.training.due import TIME_IS_UP
from pylm.training.hooks import SAMPLE_TOKENS, check_questions
from pylm.training.plan import Length
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.schema import Config
    from pylm.training.request import Request

__all__ = ["configuration", "finished", "refuse_moved", "replayed_length", "stored_configuration"]

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
    "metrics.trackers",
    "metrics.tracker_finish",
    "eval.tasks",
    "eval.suite",
    "eval.suite_every",
    "eval.limit",
    "eval.prefix",
    "data.path",
    "data.val",
    "data.mix",
}
SAMPLES = "sample."


def stored_configuration(checkpoint: Checkpoint) -> Resolved:
    """Return what the run was started with."""
    return resolve(files=[checkpoint.path / "config.yaml"], environ={})


def configuration(checkpoint: Checkpoint, stored: Resolved, request: Request) -> Resolved:
    """Return the run's own configuration, with what was given now where that may change."""
    _refuse_another(request, stored.config)
    given = request.configuration(checkpoint.state["progress"]["seconds"])
    # pylm.yaml beside us starts runs; this one has its configuration already
    explicit = given.resolve(project_file=False)
    if explicit.config.train.learning_rate == "inherit":
        raise ConfigError(
            f"{param('learning_rate', 'inherit')} is for a run that begins with a checkpoint, and this one goes on",
            "leave it out: the rate follows the run's own schedule",
        )
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
                f"leave it out to go on; {param('init_from', checkpoint.path)} starts a new run from its weights",
            )
        values[section][name] = new
        origins[key] = origin
    becomes_linear = explicit.config.train.schedule == "linear" != stored.config.train.schedule
    if becomes_linear and "train.min_lr_ratio" not in explicit.origins:
        values["train"]["min_lr_ratio"] = explicit.config.train.min_lr_ratio
    if "data.mix" in explicit.origins:
        values["data"]["path"] = explicit.config.data.path
    elif "data.path" in explicit.origins:
        values["data"]["mix"] = explicit.config.data.mix
    resolved = Resolved(type(stored.config).model_validate(values), origins)
    check_trackers(resolved.config.metrics.trackers)
    if {"eval.suite_every", "eval.limit", "eval.prefix"} & explicit.origins.keys():
        check_questions(resolved.config.eval)
    return _as_it_sampled(checkpoint, stored, resolved)


def finished(checkpoint: Checkpoint, stored: Config, config: Config, length: Length | None) -> str | None:
    """Say why there is nothing left to do, None where there is; `length` is the one replayed."""
    progress, patience, limit = checkpoint.state["progress"], config.train.early_stop, config.train.max_time
    spent = progress["seconds"]
    longer = None if limit is None else param("max_time", f"+{typed_duration(limit)}")
    if patience is not None and progress["since_best"] >= patience:
        worse = progress["since_best"]
        return f"no new best in {worse} evaluations; {param('early_stop')} with a larger number, or null, goes on"
    if length is None:
        most = config.train.max_steps
        if most is not None and checkpoint.step >= most:
            return f"it has taken {checkpoint.step:,} steps, and {param('max_steps')} is {most:,}"
        if limit is not None and spent >= limit:
            return (
                f"it has trained for {format_duration(spent)}, and {param('max_time', typed_duration(limit))} counts "
                f"from the run's start; {longer}, or {param('max_time', typed_duration(spent + limit))}, goes on"
            )
        return None
    # stopped within its last evaluation, a run has taken its steps and is not finished
    most = length.most
    if most is not None and checkpoint.step >= most and progress.get("finished") is not None:
        more = f"{param('max_steps')} with a larger number"
        return f"it has taken its {most:,} {'step' if most == 1 else 'steps'}; {more} goes on"
    why: str | None = progress.get("finished")
    if why is None or progress["bad_steps"] or patience != stored.train.early_stop:
        return None
    if why == TIME_IS_UP:
        return f"{why}; {longer} goes on"
    return f"{why}; a length such as {param('max_steps')} goes on"


def replayed_length(checkpoint: Checkpoint, stored: Config, config: Config) -> Length | None:
    """Return the length that was resolved when the run began; None where another is to be resolved."""
    if any(getattr(stored.train, key) != getattr(config.train, key) for key in LENGTHS):
        return None
    length = checkpoint.state["length"]
    if length.get("seconds") is not None and "decisions" not in checkpoint.state:
        return None  # of a run whose rate fell over steps that were planned: from here on, its clock decides
    return Length(length["steps"], length["why"], length.get("seconds"), length.get("limit"))


def refuse_moved(config: Config) -> None:
    """Refuse to go on where the data is not to be seen."""
    path = config.data.path
    if path is not None and config.data.mix is None and not Path(path).exists():
        raise DataError(
            f"{path}, which the run was started with, is not there",
            f"{param('data', 'DIR')} names where it is now, seen from here",
        )


def _refuse_another(request: Request, stored: Config) -> None:
    """Refuse what would be another run than the one that is to go on."""
    from pylm.data.sources import default_folder

    another = f"leave it out to go on; without {param('resume')} and with another {param('out')}, a new run starts"
    if request.text and str(folder := default_folder(request.text)) != stored.data.path:
        raise UsageError(
            f"{request.named} is tokenized to {folder}, and the run was started with {stored.data.path or 'a mix'}",
            another,
        )
    if request.depth is not None and request.depth != stored.model.n_layers:
        raise UsageError(
            f"{param('depth', request.depth)} is not what the run was started with, "
            f"which has {stored.model.n_layers} layers",
            another,
        )


def _as_it_sampled(checkpoint: Checkpoint, stored: Resolved, resolved: Resolved) -> Resolved:
    """Return the configuration of one from before samples obeyed `sample.max_tokens`: it had 64 at most."""
    then, now = stored.config.sample.max_tokens, resolved.config.sample
    if "samples" in checkpoint.state or now.max_tokens != then or then <= SAMPLE_TOKENS:
        return resolved
    short = now.model_copy(update={"max_tokens": SAMPLE_TOKENS})
    return Resolved(resolved.config.model_copy(update={"sample": short}), resolved.origins)
