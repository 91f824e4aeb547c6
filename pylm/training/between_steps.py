"""What is done between steps: the model is evaluated, sampled, and saved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pylm.training.events import Doing, Evaluated, Evaluation, Sampled, Saved

if TYPE_CHECKING:
    from pylm.training.average import Averaging
    from pylm.training.loop import Session

__all__ = ["evaluate", "sample", "save", "tell_saved"]


def evaluate(session: Session) -> tuple[Evaluation | None, bool]:
    """Evaluate, write it down, and say whether it is the best so far."""
    progress, hooks = session.progress, session.hooks
    assert hooks.evaluate is not None
    hooks.on_event(Doing("evaluating"))
    evaluation, average = hooks.evaluate(session.backend, hooks.stop), {}
    if evaluation is not None and _average_of(session) is not None:
        with session.backend.averaged():
            of_average = hooks.evaluate(session.backend, hooks.stop)
        evaluation, average = (None, {}) if of_average is None else (evaluation, {"average_val_loss": of_average.loss})
    if evaluation is None:
        return None, False
    progress.last_evaluated_step = progress.step
    best = math.isfinite(evaluation.loss) and (progress.best_loss is None or evaluation.loss < progress.best_loss)
    if best:
        progress.best_loss, progress.best_step, progress.evaluations_since_best = evaluation.loss, progress.step, 0
    else:
        progress.evaluations_since_best += 1
    scores = evaluation._asdict()
    if scores["margin"] is None:
        del scores["margin"]
    session.files.folder.metrics.append(
        {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "val_loss": scores.pop("loss"),
            **scores,
            **average,
        }
    )
    hooks.on_event(Evaluated(progress.step, *evaluation[:-1], best=best, margin=evaluation.margin, **average))
    return evaluation, best


def sample(session: Session) -> None:
    """Go on from the fixed prompts, and write down what came."""
    progress, hooks = session.progress, session.hooks
    assert hooks.sample is not None
    hooks.on_event(Doing("sampling"))
    samples = hooks.sample(session.backend, progress.step, hooks.stop)
    if hooks.stop():
        return
    progress.last_sampled_step = progress.step
    for sample in samples:
        session.files.folder.samples.append({"step": progress.step, **sample})
    hooks.on_event(Sampled(progress.step, tuple(samples)))


def save(session: Session, best: bool) -> None:
    """Hand a checkpoint to the thread that writes it: copies of tensors, so that training goes on meanwhile."""
    progress, backend, files = session.progress, session.backend, session.files
    files.folder.check()
    state = {
        **files.bound,
        "step": progress.step,
        "progress": progress.stored(),
        "loader": {**session.loader.state(), "step": progress.step},
        "rng": backend.rng(),
    }
    if session.plan.length.seconds is not None:
        state["decisions"] = session.decisions.stored()
    averaged = None
    if (average := _average_of(session)) is not None:
        averaged, state["average"] = backend.average_weights(), average.stored(progress.step)
    files.saver.save(backend.weights(), backend.optimizer_state(), state, best, averaged)
    files.folder.flush()
    files.last_saved = progress.step


def _average_of(session: Session) -> Averaging | None:
    """Return the average of the weights that is there by now."""
    average = session.plan.average
    return average if average is not None and average.count(session.progress.step) else None


def tell_saved(session: Session) -> None:
    """Tell which checkpoints have been written since: each is whole, and `last` names it."""
    files = session.files
    for step, best in files.saver.take_written():
        session.hooks.on_event(Saved(step, files.folder.path / "checkpoints" / f"step_{step}", best))
