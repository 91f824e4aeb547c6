"""lm-evaluation-harness on our engines: its tasks ask, our scorer answers, in one process.

What runs is the task code of the installed package, or of a folder that is named; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pylm.errors import PylmError, UsageError, did_you_mean
from pylm.evaluation.measures import standard_error
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.scoring.encoding import Encoded
from pylm.evaluation.tasks import TaskResult

__all__ = ["Answers", "PreparedHarness", "prepare_harness", "run_harness"]

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
MOST_TOKENS = 256  # that a task may write where it does not say


class Request(Protocol):
    """What the harness asks."""

    args: tuple[Any, ...]


class Answers:
    """The three questions of the harness's LM class."""

    def __init__(self, scorer: Scorer, prefix: str = "eot", batch: int | None = None) -> None:
        """Answer with a scorer."""
        super().__init__()
        self._scorer, self._prefix, self._batch = scorer, prefix, batch

    def loglikelihood(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether it is what the model would write."""
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        scores = self._scorer.score(pairs, prefix=self._prefix, batch=self._batch)
        return [(-score.nats, score.is_greedy) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each text, in windows of the model's context that score each token once."""
        tokenizer = self._scorer.tokenizer
        before = self._scorer.prefix_ids("eot")  # a first token is scored after something, whatever the prefix
        texts = [str(request.args[0]) for request in requests]
        whole = [Encoded(before, [int(token) for token in ids]) for ids in tokenizer.encode_batch(texts)]
        return [-score.nats for score in self._scorer.score_ids(whole, batch=self._batch)]

    def generate_until(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes after each context, up to a stop string."""
        from pylm.generation.session import Session
        from pylm.generation.settings import sample_settings

        session = Session(self._scorer.engine, self._scorer.tokenizer)
        texts = []
        for request in requests:
            asked = dict(request.args[1])
            most = int(asked.get("max_gen_toks") or asked.get("max_new_tokens") or MOST_TOKENS)
            until = asked.get("until") or []
            sampled = bool(asked.get("do_sample"))
            given = {
                "temperature": float(asked.get("temperature") or 1.0) if sampled else 0.0,
                "max_tokens": most,
                "stop": [until] if isinstance(until, str) else list(until),
                "seed": 0,
            }
            room = max(self._scorer.engine.context_length - most, 1)
            before = self._scorer.prefix_ids(self._prefix)
            ids = (before + self._scorer.tokenizer.encode(str(request.args[0])))[-room:]
            texts.append("".join(piece.text for piece in session.stream([ids], sample_settings(given))))
        return texts


@dataclass(frozen=True)
class PreparedHarness:
    """Tasks of the harness that are known to be there."""

    tasks: Sequence[str]
    manager: Any

    def run(
        self, scorer: Scorer, *, shots: int | None, limit: int | None, prefix: str, batch: int | None = None
    ) -> list[TaskResult]:
        """Return their results; the arguments are those of `run_harness`."""
        with _offline():
            from lm_eval import simple_evaluate
            from lm_eval.api.model import LM

            model = type("Ours", (Answers, LM), {})(scorer, prefix, batch)
            try:
                found = simple_evaluate(
                    model,
                    tasks=list(self.tasks),
                    num_fewshot=shots,
                    limit=limit,
                    task_manager=self.manager,
                    bootstrap_iters=0,
                    log_samples=True,
                )
            except PylmError:  # of ours: it says itself what is wrong
                raise
            except Exception as error:  # its tasks raise whatever datasets and their own code raise
                why = " ".join(str(error).split())[:300] or type(error).__name__
                raise UsageError(
                    f"the harness cannot run {', '.join(self.tasks)}: {why}",
                    "its data must be on this machine: HF_HOME's cache, or files that a task of include_path names",
                ) from error
        return [_result(name, found, prefix, limit) for name in found["samples"]]


def prepare_harness(tasks: Sequence[str], include_path: str | os.PathLike[str] | None = None) -> PreparedHarness:
    """Return tasks that the harness has; refuse others. The arguments are those of `run_harness`."""
    if include_path is not None and not Path(include_path).is_dir():
        raise UsageError(f"there is no folder {include_path}", "include_path names a folder with tasks of the harness")
    with _offline():
        try:
            from lm_eval.tasks import TaskManager
        except ModuleNotFoundError as error:
            raise UsageError(f"the harness is not installed: {error}", "pip install './[eval]'") from None
        manager = TaskManager(include_path=None if include_path is None else str(include_path))
    for task in tasks:
        if not manager.match_tasks([task]):
            near = did_you_mean(task, manager.all_tasks) or "lm_eval ls tasks prints them"
            raise UsageError(f"the harness has no task {task}", near)
    return PreparedHarness(tasks, manager)


def run_harness(
    scorer: Scorer,
    tasks: Sequence[str],
    *,
    shots: int | None = None,
    limit: int | None = None,
    prefix: str = "eot",
    batch: int | None = None,
    include_path: str | os.PathLike[str] | None = None,
) -> list[TaskResult]:
    """Return the results of tasks of lm-evaluation-harness.

    Args:
        scorer: the model.
        tasks: names, groups among them, as `lm_eval ls tasks` prints them.
        shots: examples before each question; None for the task's own number.
        limit: questions of each task at most.
        prefix: what stands before each context, eot or none.
        batch: continuations a pass.
        include_path: a folder with tasks of your own, whose code may run.
    """
    prepared = prepare_harness(tasks, include_path)
    return prepared.run(scorer, shots=shots, limit=limit, prefix=prefix, batch=batch)


def _result(task: str, found: dict[str, Any], prefix: str, limit: int | None) -> TaskResult:
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    values = found["results"][task]
    metrics = {key.split(",")[0]: float(value) for key, value in values.items() if _is_metric(key, value)}
    items = {
        metric: [float(sample[metric]) for sample in samples]
        for metric in metrics
        if all(isinstance(sample.get(metric), (bool, int, float)) for sample in samples)
    }
    return TaskResult(
        task=task,
        n=len(samples),
        metrics=metrics,
        stderr={metric: standard_error(items[metric], metric) if metric in items else math.nan for metric in metrics},
        items=items,
        primary="acc_norm" if "acc_norm" in metrics else next(iter(metrics)),
        centred=None,
        cropped=0,
        apart=0,
        settings={
            "harness": True,
            "name": task,
            "shots": found["n-shot"].get(task),
            "limit": limit,
            "prefix": prefix,
        },  # fmt: skip
    )


def _is_metric(key: str, value: Any) -> bool:
    return "," in key and "_stderr" not in key and isinstance(value, (int, float))


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the packages of Hugging Face from the network, which read these when they are imported."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
