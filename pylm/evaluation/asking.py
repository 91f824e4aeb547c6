"""What a model is asked beside its losses: tasks by name, a suite, tasks of lm-evaluation-harness, texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import UsageError
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.suites import PreparedSuite, Suite, load, prepare_suite
from pylm.evaluation.tasks import Prepared, Task, Told, answered, prepare
from pylm.evaluation.written import written
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.evaluation.harness import PreparedHarness
    from pylm.evaluation.results import Evaluation
    from pylm.generation.load import Opened

__all__ = ["Asked", "Questions"]


@dataclass(frozen=True)
class Asked:
    """What somebody asked for."""

    tasks: Sequence[str | Task] = ()
    suite: Suite | None = None
    harness: Sequence[str] = ()
    shots: int | None = None
    include_path: str | os.PathLike[str] | None = None
    texts: int | None = None

    @classmethod
    def of(
        cls,
        tasks: str | Task | Sequence[str | Task],
        suite: str | None,
        harness: str | Sequence[str],
        shots: int | None,
        include_path: str | os.PathLike[str] | None,
        texts: int | None,
    ) -> Asked:
        """Return what the parameters of `evaluate` name; refuse, in one sentence, what nobody would look at."""
        tasks = [tasks] if isinstance(tasks, str | Task) else list(tasks)
        harness = [harness] if isinstance(harness, str) else list(harness)
        if not all(isinstance(one, str | Task) and one for one in (*tasks, *harness)):
            raise UsageError("a task has no name", "such as arc_easy, or the path of a file")
        if shots is not None:
            if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
                raise UsageError(f"shots is {shots!r}", "give a whole number from 0 on")
            if not tasks and not harness:
                raise UsageError(
                    f"{param('shots')} is for tasks that are named, and a suite says its own", f"name {param('tasks')}"
                )
        if include_path is not None and not harness:
            raise UsageError(f"{param('include_path')} is for the harness", f"name its tasks with {param('harness')}")
        return cls(tasks, None if suite is None else load(suite), harness, shots, include_path, texts)

    def __bool__(self) -> bool:
        """Say whether there is anything."""
        return self.has_questions or self.texts is not None

    @property
    def has_questions(self) -> bool:
        """Say whether there is any task."""
        return bool(self.tasks or self.suite or self.harness)

    def prepare(self, limit: int | None) -> Questions:
        """Return the questions, all of them read; what lacks is said here, before any model is."""
        named = [Task(one, one) if isinstance(one, str) else one for one in self.tasks]
        if self.shots is not None:
            named = [replace(one, shots=self.shots) for one in named]
        harness = None
        if self.harness:
            from pylm.evaluation.harness import prepare_harness

            harness = prepare_harness(self.harness, self.include_path)
        suite = None if self.suite is None else prepare_suite(self.suite, limit)
        return Questions(self, prepare(named, limit), suite, harness, limit)


@dataclass(frozen=True)
class Questions:
    """What was asked for, with the questions of all tasks."""

    asked: Asked
    tasks: list[Prepared]
    suite: PreparedSuite | None
    harness: PreparedHarness | None
    limit: int | None

    @property
    def files(self) -> list[Path]:
        """The files that were read."""
        of_suite = [] if self.suite is None else self.suite.tasks
        return [one.path for one in (*self.tasks, *of_suite)]

    def of_model(
        self, found: Evaluation, opened: Opened, prefix: str, told: Told, say: Callable[[str], None]
    ) -> Evaluation:
        """Return an evaluation with the results of all tasks, and with what the model wrote."""
        if not self.asked:
            return found
        scorer, of_suite = Scorer.of(opened), None
        answers = answered(scorer, self.tasks, prefix=prefix, told=told)
        if self.suite is not None:
            of_suite = self.suite.answered(answered(scorer, self.suite.tasks, prefix=prefix, told=told))
            answers += of_suite.results
        if self.harness is not None:
            answers += self.harness.run(scorer, shots=self.asked.shots, limit=self.limit, prefix=prefix)
        texts = None if self.asked.texts is None else written(opened, self.asked.texts, say)
        return replace(found, tasks=answers, suite=of_suite, texts=texts)
