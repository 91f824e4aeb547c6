"""What is done between steps: the model is evaluated, sampled, asked, and saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pylm.training.events import Answers, Asked, Doing, Evaluated, Evaluation, Sampled, Saved

if TYPE_CHECKING:
    from pylm.training.average import Averaging
    from pylm.training.loop import Session

__all__ = ["ask", "evaluate", "sample", "save", "tell_saved"]


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
    _write(session, {"val_loss": scores.pop("loss"), **scores, **average})
    hooks.on_event(Evaluated(progress.step, *evaluation[:-1], best=best, margin=evaluation.margin, **average))
    return evaluation, best


def sample(session: Session, measured: bool = False) -> None:
    """Go on from the fixed prompts, and write down what came; where it is measured, what it is like too."""
    progress, hooks = session.progress, session.hooks
    assert hooks.sample is not None
    hooks.on_event(Doing("sampling"))
    samples = hooks.sample(session.backend, progress.step, hooks.stop)
    figures = None
    if measured and hooks.measure is not None and not hooks.stop():
        figures = hooks.measure(samples, hooks.stop)
    if hooks.stop():
        return
    progress.last_sampled_step = progress.step
    if figures is not None:
        _write(session, {"samples": len(samples), **figures})
    written = tuple({key: text for key, text in sample.items() if key != "ids"} for sample in samples)
    for sample in written:
        session.files.folder.samples.append({"step": progress.step, **sample})
    hooks.on_event(Sampled(progress.step, written))


def ask(session: Session) -> None:
    """Ask the suite, and write down what the model answers; where an average of its weights is kept, that too."""
    progress, hooks = session.progress, session.hooks
    assert hooks.ask is not None
    hooks.on_event(Doing("asking the suite"))
    answers, average = hooks.ask(session.backend, hooks.stop), None
    if answers is not None and _average_of(session) is not None:
        with session.backend.averaged():
            average = hooks.ask(session.backend, hooks.stop)
        answers = None if average is None else answers
    if answers is None:
        return
    progress.last_asked_step = progress.step
    beside = {} if average is None else {"average": _figures(average)}
    _write(session, {"suite": answers.suite, "metrics": answers.metrics, **_figures(answers), **beside})
    hooks.on_event(Asked(progress.step, answers, average))


def save(session: Session, *, best: bool, by_a_stop: bool) -> None:
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
    if by_a_stop:
        state["stopped"] = True
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


def _figures(answers: Answers) -> dict[str, Any]:
    """Return the numbers of answers by the names of metrics.jsonl."""
    score = {"score": answers.score} if answers.score else {}
    return {"tasks": answers.tasks, "means": answers.means, **score}


def _write(session: Session, figures: Mapping[str, Any]) -> None:
    """Write a line of metrics.jsonl that is no step's."""
    progress = session.progress
    where = {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds, 3)}
    session.files.folder.metrics.append({**where, **figures})


def tell_saved(session: Session) -> None:
    """Tell which checkpoints have been written since: each is whole, and `last` names it."""
    files = session.files
    for step, best in files.saver.take_written():
        session.hooks.on_event(Saved(step, files.folder.path / "checkpoints" / f"step_{step}", best))
