"""What a run asks its model on the way: questions read before the first step, answered by the weights as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pylm.errors import CheckpointError, ConfigError, UsageError
from pylm.evaluation.questions import file_of
from pylm.evaluation.scoring import Pair, Scorer
from pylm.evaluation.scoring.encoding import encode
from pylm.evaluation.suites import PreparedSuite, SuiteResult, find_suite, load, prepare_suite
from pylm.evaluation.tasks import Prepared, answered, prepare
from pylm.generation.engine import common_prefix
from pylm.training.events import Answers, Event, Note
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Eval
    from pylm.generation.engine import Engine
    from pylm.tokenizer import Tokenizer
    from pylm.training.backend import Backend

__all__ = ["Asker", "asker", "check"]

Questions = tuple[list[Prepared], "PreparedSuite | None"]


class Stopped(Exception):
    """Somebody asked to stop while questions were answered."""


def check(config: Eval) -> None:
    """Refuse questions that cannot be found, before anything costs time; none of them is read."""
    if not config.tasks and config.suite is None:
        unused = {"suite_every": config.suite_every, "limit": config.limit}
        named = next((name for name, value in unused.items() if value is not None), None)
        named = named or ("prefix" if config.prefix != "eot" else None)
        if named is not None:
            raise ConfigError(f"{param(named)} is for questions, and none are named", param("suite", "quick"))
    for task in config.tasks:
        file_of(task)
    if config.suite is not None:
        find_suite(load(config.suite))


def _questions_of(config: Eval) -> Questions:
    """Return the tasks and the suite that a run asks, all questions read."""
    tasks = prepare(config.tasks, config.limit)
    suite = None if config.suite is None else prepare_suite(load(config.suite), config.limit)
    names = [one.task.name for one in (*tasks, *(suite.tasks if suite is not None else ()))]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{twice} is asked twice", f"leave it out of {param('tasks')}")
    return tasks, suite


def asker(config: Eval, tokenizer: Tokenizer | None, on_event: Callable[[Event], None]) -> Asker:
    """Return what asks a backend's model, all questions read. What is missing of a suite is told."""
    questions = _questions_of(config)
    if tokenizer is None:
        raise UsageError(
            "questions are asked in words, and the data has no tokenizer.json beside it",
            f"leave {param('suite')} and {param('tasks')} out",
        )
    for name, why in ({} if questions[1] is None else questions[1].missing).items():
        on_event(Note(f"not asked: {name}: {why}"))
    return Asker(questions, tokenizer, config.prefix)


class Asker:
    """Asks a backend's model the same questions each time."""

    def __init__(self, questions: Questions, tokenizer: Tokenizer, prefix: str) -> None:
        """Take what was read; what the tokenizer cannot encode is said here."""
        self._tasks, self._suite = questions
        self._all = [*self._tasks, *(self._suite.tasks if self._suite is not None else ())]
        self._tokenizer, self._prefix = tokenizer, prefix
        self._name = "tasks" if self._suite is None else self._suite.suite.name
        self.tokens = sum(self._tokens(one) for one in self._all)  # that asking all of them reads

    def __call__(self, backend: Backend, stopping: Callable[[], bool]) -> Answers | None:
        """Return the answers; None where somebody asked to stop."""

        def told(task: str, done: int, all_of_them: int) -> None:
            if stopping():
                raise Stopped

        metrics = {one.task.name: one.task.primary or "" for one in self._all}
        values: dict[str, float | None] = dict.fromkeys(metrics)
        score: dict[str, float] = {}
        try:
            with backend.reading() as model:
                scorer = Scorer(_engine_of(backend.name, model), self._tokenizer)
                results = answered(scorer, self._all, prefix=self._prefix, told=told)
        except Stopped:
            return None
        except CheckpointError:  # weights of which nothing is finite: that is a result, and no reason to stop
            return Answers(self._name, values, metrics, {}, score)
        for one in results:
            values[one.task], metrics[one.task] = one.metrics[one.primary], one.primary
        if self._suite is not None:
            of_suite: SuiteResult = self._suite.answered(results[len(self._tasks) :])
            score = {} if of_suite.score is None else dict([of_suite.score])
        return Answers(self._name, values, metrics, _means(values, metrics), score)

    def _tokens(self, one: Prepared) -> int:
        """Return how many tokens a task has, of which those that neighbours begin with alike are read once."""
        pairs = [Pair(*pair) for question in one.questions for pair in question.pairs]
        encoded = encode(pairs, self._tokenizer, one.task.prefix or self._prefix)
        sequences = sorted([*pair.context, *pair.continuation] for pair in encoded)
        alike = (common_prefix(*two) for two in zip(sequences, sequences[1:], strict=False))
        return sum(map(len, sequences)) - sum(alike)


def _engine_of(backend: str, model: Any) -> Engine:
    """Return the engine over a backend's model, in what that computes in."""
    if backend == "mlx":
        from pylm.generation.mlx_engine import MlxEngine

        return MlxEngine(model)
    from pylm.generation.torch_engine import TorchEngine

    return TorchEngine(model)


def _means(values: dict[str, float | None], metrics: dict[str, str]) -> dict[str, float]:
    """Return the mean over the tasks of each metric."""
    by_metric: dict[str, list[float]] = {}
    for task, value in values.items():
        if value is not None:
            by_metric.setdefault(metrics[task], []).append(value)
    return {metric: math.fsum(held) / len(held) for metric, held in by_metric.items()}
