"""What is written down of a step: its figures, and what went wrong; whoever listens hears both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pylm.training.backend import Phases, StepResult
from pylm.training.events import Incident, Stepped
from pylm.training.pace import Clock, Pace

if TYPE_CHECKING:
    from pylm.training.loop import Plan, Session

__all__ = ["Recorder", "watch"]

EXCERPT = 300  # characters of a document in incidents.jsonl
DOCUMENTS = 64  # of a batch there
# A loss is a spike where it is this many mean deviations above the running mean. Both forget with 0.98 a step, about
# 50 steps, and nothing is a spike before they have seen as many: the first losses fall too fast to have a mean.
SPIKE, MEMORY, SETTLED = 6.0, 0.98, 50


class Recorder:
    """Keeps the clocks of a run, and writes down its steps."""

    def __init__(self, session: Session) -> None:
        """Start the clocks where the run stands."""
        self._session = session
        self._clock, self._pace = Clock(session.progress.seconds, session.now), Pace(session.progress)
        self._peak = _Peak(session.plan)
        self.phase = Phases()

    def update_seconds(self) -> None:
        """Bring `progress.seconds` up to now."""
        self._session.progress.seconds = self._clock.total()

    @contextmanager
    def apart(self, phase: str) -> Iterator[None]:
        """Count the time of a block as a phase of its own, and as no time of training."""
        with self.phase(phase), self._pace.apart():
            yield

    def step(self, result: StepResult, lr: float) -> None:
        """Write down a step, every `log_every` and the last, and tell it where somebody wants to hear."""
        session, hooks, plan = self._session, self._session.hooks, self._session.plan
        step, steps = session.progress.step, session.steps
        self._pace.count()
        logs, heard = step % plan.config.metrics.log_every == 0 or step >= steps, hooks.wants_step()
        if logs or heard:
            self.update_seconds()
        if logs:
            session.files.folder.check()
            timings = {**self.phase.take(), **session.backend.timings()}
            phases = {name: round(seconds, 6) for name, seconds in timings.items()}
            session.files.folder.metrics.append({**self._figures(result, lr), "phase": phases, **self._decided(step)})
        if heard:
            left = self._seconds_left(self._pace.seconds_per_step)
            hooks.on_event(Stepped(steps=steps, seconds_left=left, **self._figures(result, lr)))

    def _decided(self, step: int) -> dict[str, Any]:
        """Return what the clock had to say of a step, and what it has decided since the line before."""
        decisions = self._session.decisions
        if self._session.plan.length.seconds is None:
            return {}
        new = [list(segment) for segment in decisions.unlogged(step)]
        return {"progress": decisions.progress(step - 1), **({"clock": new} if new else {})}

    def _seconds_left(self, seconds_per_step: float) -> float:
        """Return how long the run still takes: to the end of its time, or to the last of its steps."""
        progress, length = self._session.progress, self._session.plan.length
        by_time = math.inf if length.seconds is None else length.seconds - progress.seconds
        by_steps = math.inf if length.most is None else (length.most - progress.step) * seconds_per_step
        return min(by_time, by_steps)

    def _figures(self, result: StepResult, lr: float) -> dict[str, Any]:
        """Return a step in figures, by the names of metrics.jsonl."""
        progress, speed = self._session.progress, self._pace.tokens_per_second
        return {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "loss": result.loss,
            "lr": lr,
            "grad_norm": result.grad_norm,
            "tokens_per_second": round(speed, 1),
            "mfu": self._peak.share(speed),
            "memory": self._session.backend.memory(),
            **({} if result.margins is None else {
                "pair_accuracy": float((result.margins > 0).mean()), "pair_margin": float(result.margins.mean()),
            }),
        }  # fmt: skip


def watch(session: Session, result: StepResult) -> None:
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
    documents = session.loader.of_all().why(step - 1)
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
        self._each, self._peak = plan.flops_per_token, plan.matmul_flops * plan.batches.world

    def share(self, tokens_per_second: float) -> float | None:
        if not self._peak:
            return None
        self._peak = max(self._peak, self._each * tokens_per_second)
        return round(self._each * tokens_per_second / self._peak, 4)
