"""The loop: due → evaluate, sample, ask, save → batch → step → record, until the length is reached or somebody stops.

It imports neither torch nor MLX: a backend computes, hooks evaluate and sample, and everything that a resumed run needs
is in `Progress`, the backend's tensors and generators, and the step. Whoever brings a Backend of their own makes a
Session and calls `train`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pylm.checkpoint import Saver
from pylm.config.schema import Config
from pylm.data import Loader
from pylm.errors import Interrupted, PylmError
from pylm.runs import RunFolder, Stop
from pylm.training import between_steps, record
from pylm.training.average import Averaging
from pylm.training.backend import Backend, cut
from pylm.training.decisions import Decisions
from pylm.training.due import BAD_STEPS, TIME_IS_UP, Due, Rules
from pylm.training.events import Answers, Evaluation, Event
from pylm.training.plan import Batches, Length
from pylm.training.progress import Progress
from pylm.training.record import Recorder
from pylm.training.schedule import Schedule
from pylm.training.timekeeper import Cadence, Timekeeper
from pylm.wording import call

__all__ = ["BAD_STEPS", "TIME_IS_UP", "Evaluation", "Files", "Hooks", "Outcome", "Plan", "Progress", "Session", "train"]

FORWARD_SHARE = 0.4  # of a step's time: what evaluating a token takes
SAMPLED = 10_000  # tokens that two samples of 64 read, each anew for the next
STATE_BYTES, AVERAGE_BYTES = 12, 4  # of a parameter with its two moments, and in the average
WRITTEN_A_SECOND = 4e8  # hashed and written


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
    step_seconds: float | None = None  # measured before the first step
    average: Averaging | None = None  # of the weights, where it is kept


@dataclass
class Files:
    """Where the run is written, and what its checkpoints are bound to: tokenizer, data, choices, length."""

    folder: RunFolder
    saver: Saver
    bound: Mapping[str, Any]
    last_saved: int | None = None  # the last step with a checkpoint in this folder


@dataclass
class Hooks:
    """What is done beside the steps, and who hears of them; `evaluate`, `ask` and `measure` give None after a stop."""

    evaluate: Callable[[Backend, Callable[[], bool]], Evaluation | None] | None = None
    sample: Callable[[Backend, int, Callable[[], bool]], list[dict[str, Any]]] | None = None
    ask: Callable[[Backend, Callable[[], bool]], Answers | None] | None = None
    measure: Callable[[Sequence[dict[str, Any]], Callable[[], bool]], dict[str, float | None] | None] | None = None
    stop: Stop = field(default_factory=Stop)
    on_event: Callable[[Event], None] = lambda event: None
    wants_step: Callable[[], bool] = lambda: False  # whether a step is heard now: its figures cost a little
    evaluation_tokens: int = 0  # that `evaluate` counts
    suite_tokens: int = 0  # that `ask` reads
    reference: Callable[[int], Any] | None = None  # of pairs: the reference of a step's batch, see MicroBatch
    agree: Callable[[Decisions], None] = lambda decisions: None  # of several processes, with what one's clock decided


@dataclass
class Session:
    """All that the loop drives."""

    backend: Backend
    loader: Loader
    files: Files
    plan: Plan
    hooks: Hooks
    progress: Progress = field(default_factory=Progress)
    decisions: Decisions = field(default_factory=Decisions)  # of its clock, where it has a time
    now: Callable[[], float] = time.perf_counter

    @property
    def steps(self) -> int:
        """How many steps the run has, as far as anybody can tell by now."""
        segments = self.decisions.segments
        return segments[-1].end if segments else self.plan.length.steps


class Outcome(NamedTuple):
    """How a run ended."""

    step: int
    why: str
    evaluation: Evaluation | None


def train(session: Session) -> Outcome:
    """Train to the end; raise Interrupted once the state is saved where somebody asked to stop."""
    backend, progress, plan, files, hooks = (session.backend, session.progress, session.plan, session.files,
                                             session.hooks)  # fmt: skip
    decisions, keeper = session.decisions, _timekeeper(session)
    rules = Rules(plan.config.train, plan.length, hooks.evaluate is not None, hooks.sample is not None,
                  decisions, hooks.ask is not None, plan.config.eval.suite_every)  # fmt: skip
    recorder = Recorder(session)
    session.loader.seek(progress.step)  # any step is as near as the next: its batch depends on seed and step alone
    files.saver.mend()
    evaluation: Evaluation | None = None

    while True:
        recorder.update_seconds()
        keeper.consult(progress.step, progress.seconds)
        if plan.length.seconds is not None:
            hooks.agree(decisions)
        due, new_best = rules.before(progress), False
        if due.evaluation:
            with recorder.apart("eval"), keeper.spends("evaluation"):
                evaluation, new_best = between_steps.evaluate(session)
        if due.samples:
            with recorder.apart("eval"), keeper.spends("samples"):
                between_steps.sample(session, measured=due.suite)
        if due.suite:
            with recorder.apart("eval"), keeper.spends("suite"):
                between_steps.ask(session)
        due = rules.after(due, progress, new_best=new_best, last_saved=files.last_saved, stopped=hooks.stop())
        if new_best and files.last_saved == progress.step:
            files.saver.point_best(progress.step)
        if due.checkpoint:
            recorder.update_seconds()
            with recorder.apart("save"), keeper.spends("save"):
                progress.finish_reason = due.end
                between_steps.save(session, best=new_best, by_a_stop=due.by_a_stop)
        files.saver.check()  # a run that cannot save does not go on for hours
        keeper.wrote(files.saver.seconds)
        between_steps.tell_saved(session)
        if due.leaves:
            break

        with recorder.phase("data"):
            batch = next(session.loader)
            reference = None if hooks.reference is None else hooks.reference(progress.step)
            micro_batches = cut(batch.inputs, batch.targets, batch.cu_seqlens, reference, plan.batches.micro_batch)
        # Gradients of the micro-batches add up, each weighted by its share of the tokens that count, so that the step
        # is the one that the global batch would give. They are clipped once, over the sum. A step whose loss or
        # gradient is not finite changes nothing: the model, the moments and the masters stay what they were.
        if plan.length.seconds is None:
            lr = plan.schedule(progress.step)
        else:
            lr = plan.schedule.by_progress(progress.step, decisions.progress)
        result = backend.step(micro_batches, lr)
        progress.step += 1
        progress.tokens += plan.batches.tokens
        if plan.average is not None and (share := plan.average.share(progress.step)) is not None:
            with recorder.phase("average"):
                backend.average(share)
        record.watch(session, result)
        recorder.step(result, lr)

    files.saver.wait()
    between_steps.tell_saved(session)
    files.folder.flush()
    return _outcome(session, due, evaluation)


def _timekeeper(session: Session) -> Timekeeper:
    """Return what keeps the run's time; until it has measured an evaluation and a save, by what they have to do."""
    plan, hooks, train = session.plan, session.hooks, session.plan.config.train
    every = None if train.sample_every == "auto" else train.sample_every
    asked = plan.config.eval.suite_every if hooks.ask is not None else None
    asked = train.eval_every if asked == "auto" else asked
    cadence = Cadence(None if train.eval_every == "auto" else train.eval_every, train.eval_every == "auto",
                      train.save_every, every, None if asked == "auto" else asked, asked == "auto")  # fmt: skip
    expected = {
        "evaluation": FORWARD_SHARE * hooks.evaluation_tokens / plan.batches.tokens,
        "suite": FORWARD_SHARE * hooks.suite_tokens / plan.batches.tokens,
        "samples": 0.0 if hooks.sample is None else FORWARD_SHARE * SAMPLED / plan.batches.tokens,
    }
    written = (STATE_BYTES + (0 if plan.average is None else AVERAGE_BYTES)) * plan.parameters
    return Timekeeper(plan.length, session.decisions, cadence, session.progress.seconds, now=session.now,
                      step_seconds=plan.step_seconds, expected=expected,
                      writing=written / WRITTEN_A_SECOND)  # fmt: skip


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
