"""What a tuned model is worth: the loss of what counts, and the answers that it writes as they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.evaluation.evaluate import Path_, evaluate

if TYPE_CHECKING:
    from pylm.evaluation.results import Evaluation

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """What a model is worth by examples; a number that nobody can tell is None."""

    checkpoint: Path
    data: str  # what it was judged by
    loss: float  # the mean nats of a target that counts
    tokens: int  # those targets
    n: int = 0  # answers that were written
    exact_match: float | None = None  # the share of them that are those of the examples, to the last token
    ended: float | None = None  # the share that the model ended by itself

    @classmethod
    def of(cls, found: Evaluation) -> Judged:
        """Return what an evaluation by examples says."""
        assert found.data is not None and found.loss is not None
        answers = next((each for each in found.tasks if each.task == "answers"), None)
        metrics = {} if answers is None else answers.metrics
        return cls(
            checkpoint=found.checkpoint,
            data=found.data,
            loss=found.loss,
            tokens=found.tokens,
            n=0 if answers is None else answers.n,
            exact_match=metrics.get("exact_match"),
            ended=metrics.get("ended"),
        )


def judge(
    checkpoint: Path_ | None = None,
    examples: Any = None,
    *,
    limit: int | None = None,
    out: Path_ | None = None,
    told: Callable[[str, int, int], None] = lambda task, done, all_of_them: None,
    **engine: Any,
) -> Judged:
    """Return what a model is worth by examples, and append it to its run's evaluations.jsonl.

    Args:
        checkpoint: a run or any other CHECKPOINT; None for the newest run's best.
        examples: a folder of shards with masks, or a dataset of examples; None for those that the run held out.
        limit: how many examples and answers at most; all examples and 200 answers if not given.
        out: the file that results are appended to, in place of the run's evaluations.jsonl.
        told: called with a word, how many answers are written, and how many there are.
        engine: backend, device, dtype, quantize, threads, tokenizer and verify, as `pylm.evaluate` takes them.
    """
    from pylm.evaluation.judged import is_shards

    asked = {"data": examples} if examples is None or is_shards(examples) else {"examples": examples}
    return Judged.of(evaluate(checkpoint, **asked, limit=limit, out=out, told=told, **engine))
