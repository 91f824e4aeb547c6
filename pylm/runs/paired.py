"""Runs that were judged by the same documents, compared by pairs: what differs between documents is in neither side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pylm.runs.documents import Documents

__all__ = ["Paired", "paired"]


class Paired(NamedTuple):
    """How far a run is from the first on the same documents: the mean, its interval of 95 %, and the chance of it."""

    run: Path
    data: str
    metric: str
    documents: int
    difference: float
    low: float
    high: float
    p: float


def paired(runs: Sequence[tuple[Path, Sequence[Documents]]]) -> list[Paired]:
    """Return how far each run is from the first, by the newest evaluations of both that had the same documents."""
    (_, first), *others = runs
    pairs = (_pair(path, first, documents) for path, documents in others)
    return [pair for pair in pairs if pair is not None]


def _pair(run: Path, first: Sequence[Documents], other: Sequence[Documents]) -> Paired | None:
    """Return two runs by loss, or by bits per byte where their tokens differ; None where nothing is a pair."""
    from pylm.statistics import paired_bootstrap

    for one in first:
        for two in other:
            if one.data != two.data or len(one.keys) < 2 or not np.array_equal(one.keys, two.keys):
                continue
            if np.array_equal(one.tokens, two.tokens):
                apart = paired_bootstrap(one.nats, two.nats, one.tokens)
                return Paired(run, one.name, "loss", len(one.keys), *apart)
            if one.bytes.any() and np.array_equal(one.bytes, two.bytes):
                apart = paired_bootstrap(one.text_nats / math.log(2), two.text_nats / math.log(2), one.bytes)
                return Paired(run, one.name, "bits_per_byte", len(one.keys), *apart)
    return None
