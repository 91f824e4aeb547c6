"""Checkpoints side by side: how far apart they are on the same documents, and whether that is more than chance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pylm.errors import UsageError
from pylm.evaluation.results import Evaluation
from pylm.statistics import Difference, paired_bootstrap

__all__ = ["Compared", "compare"]


class Compared(NamedTuple):
    """A checkpoint against the first one, by one measure."""

    metric: str
    difference: Difference  # the other less the first
    documents: int

    @property
    def verdict(self) -> str:
        """Say which is better, or that nobody can tell."""
        if not self.difference.is_distinguishable:
            return "not distinguishable"
        return "better" if (self.difference.value < 0) == (self.metric != "accuracy") else "worse"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        return {
            "metric": self.metric,
            **self.difference._asdict(),
            "documents": self.documents,
            "verdict": self.verdict,
        }


def compare(first: Evaluation, other: Evaluation) -> list[Compared]:
    """Return how two evaluations on the same data differ, paired by document.

    Models of one tokenizer are compared by loss and accuracy; those of two, whose tokens are not the same, by bits per
    byte alone.
    """
    one, two = first.units, other.units
    if one is None or two is None or first.settings["data"] != other.settings["data"]:
        raise UsageError(
            f"{first.checkpoint} and {other.checkpoint} were judged by different data", "judge both by one"
        )
    if not np.array_equal(one.keys, two.keys):
        raise UsageError(
            f"{first.checkpoint} and {other.checkpoint} read {first.data} in different windows, which are no pairs",
            "judge both document by document",
        )
    if len(one.keys) < 2:
        return []
    if np.array_equal(one.tokens, two.tokens):
        return [
            Compared("loss", paired_bootstrap(one.nats, two.nats, one.tokens), len(one.keys)),
            Compared("accuracy", paired_bootstrap(one.correct, two.correct, one.tokens), len(one.keys)),
        ]
    if not one.bytes.any() or not np.array_equal(one.bytes, two.bytes):
        return []
    unit = math.log(2)
    bits = paired_bootstrap(one.text_nats / unit, two.text_nats / unit, one.bytes)
    return [Compared("bits_per_byte", bits, len(one.keys))]
