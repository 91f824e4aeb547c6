"""The settings of `pylm.generate` as keywords that editors complete: the keys of the configuration's `sample`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

__all__ = ["SampleKeywords"]


class SampleKeywords(TypedDict, total=False):
    """The keywords of sampling, each a key as `pylm config schema` describes it."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    max_tokens: int
    stop: Sequence[str]
    seed: int | None
    n: int
