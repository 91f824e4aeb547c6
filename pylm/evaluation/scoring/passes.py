"""Sequences to passes: in the order of their ids, neighbours share what they begin with, and each token is read once.

A pass is a tree. What all of it begins with is the pass's root: where that is long it is read into a cache, which the
next pass goes on from as far as it begins alike. So few-shot headers are read once for all questions, and contexts once
for all their continuations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pylm.generation.branches import Branches
from pylm.generation.engine import common_prefix

__all__ = ["Pass", "Sequence_", "passes"]

# Of a pass: on two cores 512 tokens cost 0.26 ms each in a model of 20M parameters, 64 tokens 0.23, 16 tokens 0.5
TOKENS = 512
# A root as long as this is read into a cache; a shorter one costs less within the tree, again in each pass
LEAST_ROOT = 64
LEAST_LIKE = 8  # tokens that questions begin with alike by chance, and that are not worth a smaller pass


class Sequence_(NamedTuple):
    """Ids that are read, and the targets after the last of them."""

    ids: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def first(self) -> int:
        """Return the place of the token that the first target comes after."""
        return len(self.ids) - len(self.targets)


class Pass(NamedTuple):
    """A tree of some sequences."""

    root: tuple[int, ...]  # read into a cache first; may be empty
    branches: Branches
    owners: list[int]  # the sequence of each target, by its place in what `passes` was given


def passes(sequences: Sequence[Sequence_], batch: int | None = None) -> Iterator[Pass]:
    """Yield passes that cover the sequences, which are different, in the order that shares most.

    Args:
        sequences: in any order.
        batch: how many a pass has at most; None: as many as fit into the tokens of a pass.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    start = 0
    while start < len(order):
        stop, root = _reach(sequences, order, start, batch)
        yield _tree(sequences, order[start:stop], root)
        start = stop


def _reach(sequences: Sequence[Sequence_], order: list[int], start: int, batch: int | None) -> tuple[int, int]:
    """Return the end of the pass that begins at `start`, and how many tokens its root has."""
    before = sequences[order[start]]
    tokens, shared = len(before.ids), before.first
    roots, likes = [shared], [0]  # of the pass up to each sequence; what each begins with like the one before
    for member in order[start + 1 : None if batch is None else start + batch]:
        one = sequences[member]
        alike = common_prefix(before.ids, one.ids)
        tokens, shared = tokens + len(one.ids) - alike, min(shared, alike, one.first)
        if tokens - _worth(shared) > TOKENS:
            # what both sides of a cut begin with is read twice: the cut goes back to where a question ends
            least = min(likes[1:] + [alike])
            count = next(n for n in range(len(likes), 0, -1) if [*likes, alike][n] <= least + LEAST_LIKE)
            return start + count, _worth(roots[count - 1])
        roots.append(shared)
        likes.append(alike)
        before = one
    return start + len(roots), _worth(shared)


def _worth(root: int) -> int:
    return root if root >= LEAST_ROOT else 0


def _tree(sequences: Sequence[Sequence_], members: list[int], root: int) -> Pass:
    """Return the tree of sequences that are in order and begin with the same `root` tokens."""
    ids: list[int] = []
    parents: list[int] = []
    wanted: list[tuple[int, int, int]] = []
    path: list[int] = []  # the token of the tree at each place of the sequence before
    read: tuple[int, ...] = ()
    for member in members:
        one = sequences[member]
        del path[max(common_prefix(read, one.ids) - root, 0) :]
        for token in one.ids[root + len(path) :]:
            parents.append(path[-1] if path else -1)
            path.append(len(ids))
            ids.append(token)
        wanted += [(path[one.first - root + place], member, target) for place, target in enumerate(one.targets)]
        read = one.ids
    wanted.sort(key=lambda target: target[0])  # a sequence's own targets stay in order
    after, owners, targets = (list(column) for column in zip(*wanted, strict=True))
    return Pass(sequences[members[0]].ids[:root], Branches(ids, parents, after, targets), owners)
