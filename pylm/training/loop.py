"""The loop: due → evaluate, sample, save → batch → step → record, until the length is reached or somebody stops.

It imports neither torch nor MLX: a backend computes, hooks evaluate and sample, and everything that a resumed run needs
is in `Progress`, the backend's tensors and generators, and the step. Whoever brings a Backend of their own makes a
Session and calls `train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pylm.checkpoint import Saver
from pylm.config.schema import Config
from pylm.data import Batch, Loader
from pylm.errors import Interrupted, PylmError
from pylm.runs import RunFolder, Stop
from pylm.training.backend import Backend, Phases, StepResult, cut
from pylm.training.due import BAD_STEPS, TIME_IS_UP, Due
from pylm.training.events import Doing, Evaluated, Evaluation, Event, Incident, Sampled, Saved, Stepped
from pylm.training.pace import Clock, Pace
from pylm.training.plan import Batches, Length
from pylm.training.progress import Progress
from pylm.training.schedule import Schedule
from pylm.wording import call

__all__ = ["BAD_STEPS", "TIME_IS_UP", "Evaluation", "Files", "Hooks", "Outcome", "Plan", "Progress", "Session", "train"]

EXCERPT = 300  # characters of a document in incidents.jsonl
DOCUMENTS = 64  # of a batch there
# A loss is a spike where it is this many mean deviations above the running mean. Both forget with 0.98 a step, about
# 50 steps, and nothing is a spike before they have seen as many: the first losses fall too fast to have a mean.
SPIKE, MEMORY, SETTLED = 6.0, 0.98, 50


@dataclass(frozen=True)
class Plan:
    """What the run is to do, settled before its first step."""

    config: Config
    batches: Batches
    length: Length
    schedule: Schedule
    parameters: int = 0
    flops_per_token: float = 0.0
    matmul_flops: float = 0.0  # that this machine reaches; 0 where nobody measured it


@dataclass
class Files:
    """Where the run is written, and what its checkpoints are bound to: tokenizer, data, choices, length."""

    folder: RunFolder
    saver: Saver
    bound: Mapping[str, Any]
    last_saved: int | None = None  # the last step with a checkpoint in this folder


@dataclass
class Hooks:
    """What is done beside the steps, and who hears of them; each of the first two gives None where a stop came."""

    evaluate: Callable[[Backend, Callable[[], bool]], Evaluation | None] | None = None
    sample: Callable[[Backend, int, Callable[[], bool]], list[dict[str, str]]] | None = None
    stop: Stop = field(default_factory=Stop)
    on_event: Callable[[Event], None] = lambda event: None
    wants_step: Callable[[], bool] = lambda: False  # whether a step is heard now: its figures cost a little


@dataclass
class Session:
    """All that the loop drives."""

    backend: Backend
    loader: Loader
    files: Files
    plan: Plan
    hooks: Hooks
    progress: Progress = field(default_factory=Progress)


class Outcome(NamedTuple):
    """How a run ended."""

    step: int
    why: str
    evaluation: Evaluation | None


def train(session: Session) -> Outcome:
    """Train to the end; raise Interrupted once the state is saved where somebody asked to stop."""
    backend, progress, plan, files, hooks = (
        session.backend,
        session.progress,
        session.plan,
        session.files,
        session.hooks,
    )
    train, log_every = plan.config.train, plan.config.metrics.log_every
    can = {"evaluates": hooks.evaluate is not None, "samples": hooks.sample is not None}
    clock, phases, pace = Clock(progress.seconds), Phases(), Pace(progress)
    peak = _Peak(plan)
    session.loader.seek(progress.step)
    files.saver.mend()
    evaluation: Evaluation | None = None

    while True:
        progress.seconds = clock.total()
        due, new_best = Due.before(train, plan.length, progress, **can), False
        if due.evaluation:
            with phases("eval"), pace.apart():
                evaluation, new_best = _evaluate(session)
        if due.samples:
            with phases("eval"), pace.apart():
                _sample(session)
        due = due.after(train, progress, new_best=new_best, last_saved=files.last_saved, stopped=hooks.stop(), **can)
        if new_best and files.last_saved == progress.step:
            files.saver.point_best(progress.step)
        if due.checkpoint:
            with phases("save"), pace.apart():
                progress.finish_reason = due.end
                _save(session, best=new_best)
        files.saver.check()  # a run that cannot save does not go on for hours
        if due.leaves:
            break

        with phases("data"):
            batch = next(session.loader)
            micro_batches = cut(batch.inputs, batch.targets, batch.cu_seqlens, plan.batches.micro_batch)
        # Gradients of the micro-batches add up, each weighted by its share of the tokens that count, so that the step
        # is the one that the whole batch would give; it is clipped once, over the sum.
        lr = plan.schedule(progress.step)
        result = backend.step(micro_batches, lr)
        progress.step += 1
        progress.tokens += plan.batches.tokens
        _watch(session, result, batch)

        logs, heard = progress.step % log_every == 0 or progress.step == plan.length.steps, hooks.wants_step()
        if logs or heard:
            progress.seconds = clock.total()
        if logs:
            files.folder.check()
            record = _record(session, result, lr, pace.logged.look(), peak)
            timings = {**phases.take(), **backend.timings()}
            files.folder.metrics.append({**record, "phase": {name: round(s, 6) for name, s in timings.items()}})
        if heard:
            record = _record(session, result, lr, pace.shown.look(), peak)
            left = plan.length.seconds_left(progress, pace.shown.seconds_per_step)
            hooks.on_event(Stepped(steps=plan.length.steps, seconds_left=left, **record))

    files.saver.wait()
    files.folder.flush()
    return _outcome(session, due, evaluation)


def _outcome(session: Session, due: Due, evaluation: Evaluation | None) -> Outcome:
    """Say how it ended, by an error where it did not end well."""
    progress, run = session.progress, session.files.folder.path
    if progress.bad_steps_in_a_row >= BAD_STEPS:
        raise PylmError(
            f"{BAD_STEPS} steps in a row were not finite, the last of them step {progress.step}: nothing of them was "
            f"taken over, and the state is saved in {run}",
            f"lower train.learning_rate, and see {call('why', run, progress.step)}",
        )
    if due.end is None:
        interrupted = Interrupted(
            f"stopped after step {progress.step:,}, saved", call("train", resume="auto", out=str(run))
        )
        interrupted.exit_code = session.hooks.stop.exit_code
        raise interrupted
    return Outcome(progress.step, due.end, evaluation)


def _evaluate(session: Session) -> tuple[Evaluation | None, bool]:
    """Evaluate, write it down, and say whether it is the best so far."""
    progress, hooks = session.progress, session.hooks
    assert hooks.evaluate is not None
    hooks.on_event(Doing("evaluating"))
    evaluation = hooks.evaluate(session.backend, hooks.stop)
    if evaluation is None:
        return None, False
    progress.last_evaluated_step = progress.step
    best = math.isfinite(evaluation.loss) and (progress.best_loss is None or evaluation.loss < progress.best_loss)
    if best:
        progress.best_loss, progress.best_step, progress.evaluations_since_best = evaluation.loss, progress.step, 0
    else:
        progress.evaluations_since_best += 1
    scores = evaluation._asdict()
    session.files.folder.metrics.append(
        {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "val_loss": scores.pop("loss"),
            **scores,
        }
    )
    hooks.on_event(Evaluated(progress.step, *evaluation, best=best))
    return evaluation, best


def _sample(session: Session) -> None:
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


def _save(session: Session, best: bool) -> None:
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
    files.saver.save(backend.weights(), backend.optimizer_state(), state, best)
    files.folder.flush()
    files.last_saved = progress.step
    folder = files.folder.path / "checkpoints" / f"step_{progress.step}"
    session.hooks.on_event(Saved(progress.step, folder, best))


def _watch(session: Session, result: StepResult, batch: Batch) -> None:
    """Write down steps that were skipped and losses that jumped, with the documents that they saw."""
    progress = session.progress
    if not result.finite:
        progress.bad_steps_in_a_row += 1
        _incident(session, "not finite", result)
        return
    progress.bad_steps_in_a_row = 0
    away = result.loss - progress.loss_mean
    if progress.step > SETTLED and away > SPIKE * max(progress.loss_deviation, 1e-3 * abs(progress.loss_mean)):
        _incident(session, "spike", result)
    # a mean that forgets; from the first steps it is the plain mean, so that a cold start is no spike
    keep = min(MEMORY, (progress.step - 1) / progress.step)
    progress.loss_mean += (1 - keep) * away
    progress.loss_deviation = keep * progress.loss_deviation + (1 - keep) * abs(away)


def _incident(session: Session, kind: str, result: StepResult) -> None:
    step, folder = session.progress.step, session.files.folder
    documents = session.loader.why(step - 1)
    folder.incidents.append(
        {
            "step": step,
            "kind": kind,
            "loss": result.loss,
            "grad_norm": result.grad_norm,
            "documents": [
                {"shard": one.shard, "index": one.index, "start": one.start, "text": (one.text or "")[:EXCERPT]}
                for one in documents[:DOCUMENTS]
            ],
            "of": len(documents),
        }
    )
    session.hooks.on_event(Incident(step, kind, result.loss, folder.path))


class _Peak:
    """The share of the machine's peak that a speed is; a peak that is exceeded was measured while others computed."""

    def __init__(self, plan: Plan) -> None:
        self._each, self._peak = plan.flops_per_token, plan.matmul_flops

    def share(self, tokens_per_second: float) -> float | None:
        if not self._peak:
            return None
        self._peak = max(self._peak, self._each * tokens_per_second)
        return round(self._each * tokens_per_second / self._peak, 4)


def _record(session: Session, result: StepResult, lr: float, speed: float, peak: _Peak) -> dict[str, Any]:
    """Return a step in figures, by the names of metrics.jsonl."""
    progress = session.progress
    return {
        "step": progress.step,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 3),
        "loss": result.loss,
        "lr": lr,
        "grad_norm": result.grad_norm,
        "tokens_per_second": round(speed, 1),
        "mfu": peak.share(speed),
        "memory": session.backend.memory(),
    }
