"""What a tuned model is worth: the loss of what counts, and the answers that it writes as they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.units import counted
from pylm.errors import Interrupted
from pylm.evaluation.evaluate import Path_, evaluate
from pylm.evaluation.results import EVALUATIONS
from pylm.runs import Run, read_lines
from pylm.training.events import Doing, Event, Note
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.evaluation.results import Evaluation

__all__ = ["Judged", "judge", "judge_once"]


@dataclass(frozen=True)
class Judged(Note):
    """What a model is worth by examples; a number that nobody can tell is None."""

    checkpoint: Path
    data: str  # what it was judged by
    loss: float  # the mean nats of a target that counts
    tokens: int  # those targets
    n: int  # answers that were written
    exact_match: float | None  # the share of them that are those of the examples, to the last token
    ended: float | None  # the share that the model ended by itself
    accuracy: float | None  # of labels, by log-likelihood
    macro_f1: float | None

    @classmethod
    def of(cls, found: Evaluation) -> Judged:
        """Return what an evaluation by examples says."""
        assert found.data is not None and found.loss is not None
        results = {one.task: one for one in found.tasks}
        answers, labels = results.get("answers"), results.get("labels")
        said = [f"{found.data}: loss {found.loss:.4f} of {counted(found.tokens, 'token')} that count"]
        if labels is not None:
            metrics = labels.metrics
            said.append(f"accuracy {metrics['acc']:.1%}, macro-F1 {metrics['macro_f1']:.3f} of {labels.n:,} labels")
        if answers is not None:
            right, ended = (round(answers.metrics[name] * answers.n) for name in ("exact_match", "ended"))
            said.append(
                f"{right:,} of {counted(answers.n, 'answer')} right to the last token, {ended:,} end by themselves"
            )
        return cls(
            "; ".join(said),
            checkpoint=found.checkpoint,
            data=found.data,
            loss=found.loss,
            tokens=found.tokens,
            n=0 if answers is None else answers.n,
            exact_match=None if answers is None else answers.metrics["exact_match"],
            ended=None if answers is None else answers.metrics["ended"],
            accuracy=None if labels is None else labels.metrics["acc"],
            macro_f1=None if labels is None else labels.metrics["macro_f1"],
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


def judge_once(
    run: Path, on_event: Callable[[Event], None], stopping: Callable[[], bool] = lambda: False
) -> Judged | None:
    """Judge a tuned run's best checkpoint by the examples that it held out, and tell it.

    None where it was judged before, so a run that was killed meanwhile has its figures once; or where it held none out.
    """
    from pylm.checkpoint import find
    from pylm.data.folder import read_manifest

    config = Run(run).config
    data, best = config.data.path, find(str(run)).name
    manifest = None if data is None else read_manifest(Path(data))
    if manifest is None or not manifest["splits"].get("val", {}).get("documents"):
        return None
    file = run / EVALUATIONS
    known = read_lines(file) if file.is_file() else []
    if any((one.get("task"), one.get("checkpoint"), one.get("metric")) == (data, best, "loss") for one in known):
        return None

    def told(task: str, done: int, all_of_them: int) -> None:
        on_event(Doing(f"judging by held-out examples: {done:,} of {all_of_them:,} {task}"))
        if stopping():
            raise Interrupted("stopped while it was judged; it is trained", call("eval", str(run)))

    on_event(Doing("judging by held-out examples"))
    judged = judge(run, told=told, device=config.train.device)
    on_event(judged)
    return judged
