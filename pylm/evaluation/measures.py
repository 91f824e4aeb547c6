"""What the scores of a question's choices come to.

acc takes the likeliest choice; acc_norm, acc_bytes and acc_token the one that is likeliest for each of its characters,
bytes and tokens; acc_core too, of the tokens in which the choices differ, as DCLM's CORE does. Ties go to the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pylm.evaluation.questions import Question
from pylm.evaluation.scoring import Score

__all__ = ["CHOICE_METRICS", "measured", "standard_error"]

CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_token", "acc_core")


def measured(question: Question, scores: Sequence[Score], own: Sequence[int]) -> dict[str, float]:
    """Return what an item is worth, by metric: 1 or 0 for accuracies, and the bits per byte of the right answer.

    Args:
        question: what is asked.
        scores: of its pairs.
        own: how many of the tokens that were scored are each continuation's; CORE takes those before as well that all
            contexts of a schema end with.
    """
    gold, nats = question.gold, [math.fsum(score.token_nats[-n:]) for score, n in zip(scores, own, strict=True)]
    continuation = question.pairs[gold][1]
    moved = question.pairs[gold][0][len(question.pairs[gold][0].rstrip()) :]  # it was scored with these spaces
    worth = {"bpb": nats[gold] / math.log(2) / len((moved + continuation).encode())}
    if question.kind == "continuation":
        return {"acc": float(scores[0].is_greedy), **worth}
    lengths = {
        "acc": [1.0] * len(scores),
        "acc_norm": [float(len(_without_space(choice))) for choice in question.choices],
        "acc_bytes": [float(len(_without_space(choice).encode())) for choice in question.choices],
        "acc_token": [float(score.tokens) for score in scores],
    }
    if question.kind == "schema":  # one continuation: nothing to divide by
        lengths = {"acc": lengths["acc"]}
    for metric, divisors in lengths.items():
        worth[metric] = float(_first_least([n / d for n, d in zip(nats, divisors, strict=True)]) == gold)
    alike = 0 if question.kind == "schema" else _alike(scores)
    worth["acc_core"] = float(_first_least([_mean(score.token_nats[alike:]) for score in scores]) == gold)
    return worth


def standard_error(values: Sequence[float], metric: str) -> float:
    """Return the standard error of a mean: √(p(1−p)/n) for shares, from the sample's variance for others."""
    count, mean = len(values), math.fsum(values) / len(values)
    if metric.startswith("acc"):
        return math.sqrt(mean * (1 - mean) / count)
    if count < 2:
        return math.nan
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)


def _without_space(choice: str) -> str:
    """Return a choice without the spaces before it; of one that is spaces and no more only the first goes."""
    return choice.lstrip() or choice[1:] or choice


def _first_least(values: Sequence[float]) -> int:
    return values.index(min(values))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _alike(scores: Sequence[Score]) -> int:
    """Return how many tokens all choices begin with, short of the last token of the shortest."""
    least = min(score.tokens for score in scores) - 1
    first = scores[0].ids
    return next((n for n in range(least) if any(score.ids[n] != first[n] for score in scores)), least)
