"""A tree of tokens that is read in one pass and not kept: what follows one beginning in several ways.

Contexts are read once, however many continuations are scored after them, and a pass is as large as a processor likes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Branches", "Scored", "places", "seen"]


class Branches(NamedTuple):
    """Token i follows `parents[i]`, an earlier one, or (-1) what a cache holds; targets come after tokens."""

    ids: list[int]
    parents: list[int]
    after: list[int]  # the token before each target, which never falls
    targets: list[int]


class Scored(NamedTuple):
    """What an engine says of the targets."""

    nats: npt.NDArray[np.float32]  # how unlikely each is
    likeliest: npt.NDArray[np.bool_]  # whether no other token is likelier, nor one of a lower id as likely


def places(parents: list[int], held: int) -> npt.NDArray[np.int64]:
    """Return where each token stands in its sequence, after so many that a cache holds."""
    found = np.empty(len(parents), np.int64)
    for token, parent in enumerate(parents):
        found[token] = held if parent < 0 else found[parent] + 1
    return found


def seen(parents: list[int], held: int, window: int | None) -> npt.NDArray[np.bool_]:
    """Return what each token sees: [tokens, held + tokens], what a cache holds and its ancestors."""
    count = len(parents)
    mask = np.zeros((count, held + count), bool)
    at = places(parents, held)
    mask[:, :held] = True
    for token, parent in enumerate(parents):
        if parent >= 0:
            mask[token, held:] = mask[parent, held:]
        mask[token, held + token] = True
    if window is not None:
        mask &= np.concatenate([np.arange(held), at]) > at[:, None] - window
    return mask
