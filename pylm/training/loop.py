"""The loop: data → step → metrics → evaluation → checkpoint, until the length is reached or somebody asks to stop.

It imports neither torch nor MLX. A backend computes; what evaluates and samples is handed in; everything that a resumed
run needs is in `Progress`, the backend's tensors and generators, and the step.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pylm.checkpoint import Saver
from pylm.config.schema import Config
from pylm.data import Batch, Loader
from pylm.errors import Interrupted, PylmError
from pylm.runs import RunFolder, Stop, View
from pylm.training.backend import Backend, Phases, StepResult, cut
from pylm.training.plan import Batches, Length
from pylm.training.schedule import Schedule

__all__ = ["Evaluation", "Outcome", "Progress", "Session", "train"]

TIME_IS_UP = "its time is up"
BAD_STEPS = 5  # steps in a row that are not finite before the run gives up
EXCERPT = 300  # characters of a document in incidents.jsonl
SHOWN = 200  # characters of a sample on the terminal
DOCUMENTS = 64  # documents of a batch there
SPIKE = 6.0  # deviations above the running mean of the loss that make a spike
MEMORY = 0.98  # of the running mean and deviation, a step
SETTLED = 50  # steps before which nothing is a spike


class Evaluation(NamedTuple):
    """What the validation split says."""

    loss: float
    perplexity: float
    accuracy: float
    bits_per_byte: float | None


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluated: int = 0  # the last step that was
    sampled: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    since_best: int = 0  # evaluations
    bad_steps: int = 0  # in a row
    mean: float = 0.0  # of the loss, running
    deviation: float = 0.0
    finished: str | None = None  # why, where it is


@dataclass
class Session:
    """What the loop drives, made by the command."""

    config: Config
    run: RunFolder
    backend: Backend
    loader: Loader
    saver: Saver
    batches: Batches
    length: Length
    schedule: Schedule
    view: View
    stop: Stop
    resume_line: str  # what goes on from here, to be typed
    bound: Mapping[str, Any]  # what a checkpoint is bound to: tokenizer, data, choices, length
    evaluate: Callable[[Backend, Callable[[], bool]], Evaluation | None] | None = None  # None: it was stopped
    sample: Callable[[Backend, int, Callable[[], bool]], list[dict[str, str]]] | None = None
    parameters: int = 0
    flops_per_token: float = 0.0
    matmul_flops: float = 0.0
    progress: Progress = dataclasses.field(default_factory=Progress)
    saved: int | None = None  # the last step with a checkpoint in this run's folder


class Outcome(NamedTuple):
    """How a run ended."""

    step: int
    why: str
    evaluation: Evaluation | None


def train(session: Session) -> Outcome:
    """Train to the end; raises Interrupted once the state is saved where somebody asked to stop."""
    backend, progress, train = session.backend, session.progress, session.config.train
    clock = _Clock(progress.seconds)
    phases = Phases()
    window = _Window(progress)
    session.loader.seek(progress.step)
    session.saver.mend()
    session.view.begin(progress.step, compiling=bool(session.bound["choices"].get("compile")))
    evaluation: Evaluation | None = None

    while True:
        progress.seconds = clock.total()
        why = _over(session)
        new_best = False
        if _due(train.eval_every, progress.step, progress.evaluated, why):
            with phases("eval"), window.apart():
                evaluation, new_best = _evaluate(session)
        if _samples_due(session, why):
            with phases("eval"), window.apart():
                _sample(session)
        why = why or _given_up(session)
        stopped = session.stop()
        if stopped and _left_out(session, why):
            why = None  # the last evaluation or its samples were stopped: they are made when the run goes on
        if new_best and session.saved == progress.step:
            session.saver.point_best(progress.step)
        if session.saved != progress.step and (
            stopped or why or new_best or _due(train.save_every, progress.step, session.saved or 0, None)
        ):
            with phases("save"), window.apart():
                progress.finished = None if stopped and not why else why
                _save(session, best=new_best)
        session.saver.check()
        if why or stopped:
            break

        with phases("data"):
            batch = next(session.loader)
            micro_batches = cut(batch.inputs, batch.targets, batch.cu_seqlens, session.batches.micro_batch)
        lr = session.schedule(progress.step)
        result = backend.step(micro_batches, lr)
        progress.step += 1
        progress.tokens += session.batches.tokens
        _watch(session, result, batch)
        log = progress.step % session.config.metrics.log_every == 0 or progress.step == session.length.steps
        if log or session.view.wants():
            progress.seconds = clock.total()
            record = _record(session, result, lr, window)
            if log:
                session.run.check()
                timings = {**phases.take(), **backend.timings()}
                session.run.metrics.append({**record, "phase": {name: round(s, 6) for name, s in timings.items()}})
            if session.view.wants():
                session.view.step(record, window.seconds_left(session))

    session.saver.wait()
    session.run.flush()
    session.view.close()
    if progress.bad_steps >= BAD_STEPS:
        raise PylmError(
            f"{BAD_STEPS} steps in a row were not finite, the last of them step {progress.step}: nothing of them was "
            f"taken over, and the state is saved in {session.run.path}",
            f"lower train.learning_rate, and see pylm why {session.run.path} {progress.step}",
        )
    if not why:
        stopped_here = Interrupted(f"stopped after step {progress.step:,}, saved", session.resume_line)
        stopped_here.exit_code = session.stop.exit_code
        raise stopped_here
    return Outcome(progress.step, why, evaluation)


def _over(session: Session) -> str | None:
    """Why the run is over, None where it is not."""
    progress, length = session.progress, session.length
    if progress.step >= length.steps:
        return f"{length.steps:,} steps"
    if length.seconds is not None and progress.seconds >= length.seconds:
        return TIME_IS_UP
    return None


def _given_up(session: Session) -> str | None:
    """Why there is no point in going on."""
    patience = session.config.train.early_stop
    if session.progress.bad_steps >= BAD_STEPS:
        return "steps that were not finite"
    if patience is not None and session.progress.since_best >= patience:
        return f"no new best in {patience} evaluations"
    return None


def _due(every: int | None, step: int, last: int, over: str | None) -> bool:
    """Whether what happens every so many steps, and at the end, is to happen now and has not yet."""
    return step > 0 and last != step and (over is not None or (every is not None and step % every == 0))


def _left_out(session: Session, why: str | None) -> bool:
    """Whether an evaluation or samples that are due here were not made."""
    train, progress = session.config.train, session.progress
    if session.evaluate and _due(train.eval_every, progress.step, progress.evaluated, why):
        return True
    return _samples_due(session, why)


def _samples_due(session: Session, over: str | None) -> bool:
    """Whether prompts are to be gone on from now: every so many steps, or whenever it is time to evaluate."""
    train, progress = session.config.train, session.progress
    if session.sample is None or train.sample_every is None:
        return False
    if train.sample_every == "auto":
        return _due(train.eval_every, progress.step, progress.sampled, over)
    return _due(train.sample_every, progress.step, progress.sampled, None)


def _evaluate(session: Session) -> tuple[Evaluation | None, bool]:
    """Evaluate, write it down, and say whether it is the best so far."""
    progress = session.progress
    if session.evaluate is None:
        return None, False
    session.view.doing("evaluating")
    found = session.evaluate(session.backend, session.stop)
    if found is None:
        return None, False
    progress.evaluated = progress.step
    best = math.isfinite(found.loss) and (progress.best_loss is None or found.loss < progress.best_loss)
    if best:
        progress.best_loss, progress.best_step, progress.since_best = found.loss, progress.step, 0
    else:
        progress.since_best += 1
    session.run.metrics.append(
        {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "val_loss": found.loss,
            "perplexity": found.perplexity,
            "accuracy": found.accuracy,
            "bits_per_byte": found.bits_per_byte,
        }
    )
    bits = "" if found.bits_per_byte is None else f", {found.bits_per_byte:.4f} bits a byte"
    session.view.remark(
        f"step {progress.step:,}: validation loss {found.loss:.4f}, perplexity {found.perplexity:.2f}, "
        f"accuracy {100 * found.accuracy:.1f} %{bits}{', the best so far' if best else ''}"
    )
    return found, best


def _sample(session: Session) -> None:
    """Sample the fixed prompts, write them down, and show the first of each."""
    progress = session.progress
    if session.sample is None:
        return
    session.view.doing("sampling")
    made = session.sample(session.backend, progress.step, session.stop)
    if session.stop():
        return
    progress.sampled = progress.step
    for sample in made:
        session.run.samples.append({"step": progress.step, **sample})
    shown: set[str] = set()
    for sample in made:
        prompt = " ".join(sample["prompt"].split())
        if prompt not in shown:
            shown.add(prompt)
            after = f"after {prompt!r}" if prompt else "from nothing"
            session.view.remark(f"step {progress.step:,} {after}: {' '.join(sample['text'].split())[:SHOWN]}")


def _save(session: Session, best: bool) -> None:
    """Hand a checkpoint to the thread that writes it."""
    progress, backend = session.progress, session.backend
    session.run.check()
    state = {
        **session.bound,
        "step": progress.step,
        "progress": dataclasses.asdict(progress),
        "loader": {**session.loader.state(), "step": progress.step},
        "rng": backend.rng(),
    }
    session.saver.save(backend.weights(), backend.optimizer_state(), state, best)
    session.run.flush()
    session.saved = progress.step


def _watch(session: Session, result: StepResult, batch: Batch) -> None:
    """Write down steps that were skipped and losses that jumped, with the documents that they saw."""
    progress = session.progress
    if not result.finite:
        progress.bad_steps += 1
        _incident(session, "not finite", result)
        session.view.remark(f"step {progress.step:,}: loss or gradient is not finite, the step was skipped")
        return
    progress.bad_steps = 0
    away = result.loss - progress.mean
    if progress.step > SETTLED and away > SPIKE * max(progress.deviation, 1e-3 * abs(progress.mean)):
        _incident(session, "spike", result)
        session.view.remark(
            f"step {progress.step:,}: the loss jumped to {result.loss:.3f}: pylm why {session.run.path} {progress.step}"
        )
    # a mean that forgets; from the first steps it is the plain mean, so that a cold start is no spike
    keep = min(MEMORY, (progress.step - 1) / progress.step)
    progress.mean += (1 - keep) * away
    progress.deviation = keep * progress.deviation + (1 - keep) * abs(away)


def _incident(session: Session, kind: str, result: StepResult) -> None:
    step = session.progress.step
    documents = session.loader.why(step - 1)
    session.run.incidents.append(
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


def _record(session: Session, result: StepResult, lr: float, window: _Window) -> dict[str, Any]:
    """A step in figures, by the names of metrics.jsonl."""
    progress = session.progress
    speed = window.tokens_per_second()
    if session.matmul_flops:
        # a peak that is exceeded was measured while somebody else had the machine
        session.matmul_flops = max(session.matmul_flops, session.flops_per_token * speed)
    return {
        "step": progress.step,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds, 3),
        "loss": result.loss,
        "lr": lr,
        "grad_norm": result.grad_norm,
        "tokens_per_second": round(speed, 1),
        "mfu": round(session.flops_per_token * speed / session.matmul_flops, 4) if session.matmul_flops else None,
        "memory": session.backend.memory(),
    }


class _Clock:
    """The time that a run has taken, over all its resumes."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._started = time.perf_counter()

    def total(self) -> float:
        return self._before + time.perf_counter() - self._started


class _Window:
    """The speed of the steps since the last look, without the time that evaluation and saving take."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tokens, self._step = progress.tokens, progress.step
        self._started = time.perf_counter()
        self._speed = 0.0
        self._step_seconds = 0.0

    def apart(self) -> _Apart:
        return _Apart(self)

    def leave_out(self, seconds: float) -> None:
        self._started += seconds

    def tokens_per_second(self) -> float:
        now = time.perf_counter()
        steps = self._progress.step - self._step
        if steps:
            self._step_seconds = (now - self._started) / steps
            self._speed = (self._progress.tokens - self._tokens) / (now - self._started)
            self._tokens, self._step, self._started = self._progress.tokens, self._progress.step, now
        return self._speed

    def seconds_left(self, session: Session) -> float:
        left = (session.length.steps - self._progress.step) * self._step_seconds
        limit = session.length.seconds
        return left if limit is None else min(left, limit - self._progress.seconds)


class _Apart:
    """A block whose time is no training time."""

    def __init__(self, window: _Window) -> None:
        self._window = window

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._window.leave_out(time.perf_counter() - self._started)
