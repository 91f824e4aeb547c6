"""Log-likelihoods of continuations: the same for any batch, order and number of threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pylm.errors import TokenizerError
from pylm.evaluation.scoring.encoding import Encoded, Pair, encode, prefix_ids
from pylm.evaluation.scoring.passes import Sequence_, passes
from pylm.generation.engine import common_prefix
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.generation.engine import Cache, Engine
    from pylm.generation.load import Opened
    from pylm.tokenizer import Tokenizer

__all__ = ["Score", "Scorer"]

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Score:
    """What a continuation is worth after its context."""

    ids: tuple[int, ...]
    token_nats: tuple[float, ...]  # how unlikely each token is
    is_greedy: bool  # whether each of its tokens is the likeliest there
    cropped: bool = False  # whether the model's context was too short for all of the pair
    apart: bool = False  # whether context and continuation had to be encoded one by one

    @property
    def nats(self) -> float:
        """Return how unlikely the continuation is: minus its log-likelihood."""
        return math.fsum(self.token_nats)

    @property
    def tokens(self) -> int:
        """Return how many tokens it has."""
        return len(self.ids)


class Scorer:
    """A model that says how likely texts are."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, name: str = "", begin: Sequence[int] = ()) -> None:
        """Take an engine, its tokenizer, and ids that it has before every text; `open` finds all for a checkpoint."""
        self.engine, self.tokenizer, self.name, self.begin = engine, tokenizer, name, begin

    @classmethod
    def open(cls, checkpoint: str | os.PathLike[str] | None = None, **options: Any) -> Scorer:
        """Return the scorer of a checkpoint; options are those of `pylm.generation.load.open_model`."""
        from pylm.generation.load import open_model

        named = os.fspath(checkpoint) if isinstance(checkpoint, os.PathLike) else checkpoint
        return cls.of(open_model(named, **{"dtype": "fp32", **options}))

    @classmethod
    def of(cls, opened: Opened) -> Scorer:
        """Return the scorer of a model that is open."""
        if opened.tokenizer is None:
            raise TokenizerError(
                f"{opened.folder} carries no tokenizer to read tasks with", f"name it: {param('tokenizer', 'T')}"
            )
        return cls(opened.engine, opened.tokenizer, str(opened.folder), opened.begin)

    def prefix_ids(self, prefix: str) -> list[int]:
        """Return the ids before every context, for eot or none."""
        return prefix_ids(self.tokenizer, prefix, self.begin)

    def encode(self, pairs: Sequence[tuple[str, str]], prefix: str = "eot") -> list[Encoded]:
        """Return the ids of pairs, as `score_ids` takes them."""
        return encode([Pair(*pair) for pair in pairs], self.tokenizer, prefix, self.begin)

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        prefix: str = "eot",
        batch: int | None = None,
        told: Told = lambda done, all_of_them: None,
    ) -> list[Score]:
        """Return the scores of (context, continuation) pairs, in their order.

        Args:
            pairs: encoded together and split at the context. A pair longer than the model's context loses its
                beginning; a continuation longer than that is scored in windows, each token once.
            prefix: eot, the end of text before each context, as the documents of training had it; or none.
            batch: how many continuations a pass has at most; None for as many as are read fastest.
            told: called with how many different continuations are done, and how many there are.
        """
        return self.score_ids(self.encode(pairs, prefix), batch=batch, told=told)

    def score_ids(
        self, pairs: Sequence[Encoded], *, batch: int | None = None, told: Told = lambda done, all_of_them: None
    ) -> list[Score]:
        """Return the scores of pairs of ids, whose contexts are not empty."""
        windows = [self._windows(pair) for pair in pairs]
        place = {one: number for number, one in enumerate(dict.fromkeys(one for cut in windows for one in cut))}
        nats, likeliest = self._run(list(place), batch, told)
        most = self.engine.context_length
        return [
            Score(
                ids=tuple(pair.continuation),
                token_nats=tuple(one_nats for one in cut for one_nats in nats[place[one]]),
                is_greedy=all(likeliest[place[one]] for one in cut),
                cropped=len(pair.context) + len(pair.continuation) > most + 1,
                apart=pair.apart,
            )
            for pair, cut in zip(pairs, windows, strict=True)
        ]

    def _windows(self, pair: Encoded) -> list[Sequence_]:
        """Return what is read for a pair: as much before each target as the model's context holds."""
        most, begin, ids = self.engine.context_length, len(pair.context), [*pair.context, *pair.continuation]
        return [
            Sequence_(tuple(ids[max(stop - 1 - most, 0) : stop - 1]), tuple(ids[start:stop]))
            for start in range(begin, len(ids), most)
            for stop in [min(start + most, len(ids))]
        ]

    def _run(self, sequences: list[Sequence_], batch: int | None, told: Told) -> tuple[list[list[float]], list[bool]]:
        """Return the nats of each sequence's targets, and whether all of them are the likeliest."""
        nats: list[list[float]] = [[] for _ in sequences]
        likeliest = [True] * len(sequences)
        cache: Cache | None = None
        done = 0
        for one in passes(sequences, batch):
            if one.root:
                cache = cache or self.engine.cache(1, self.engine.context_length)
                self._read(one.root, cache)
            scored = self.engine.score(one.branches, cache if one.root else None)
            for owner, worth, first in zip(one.owners, scored.nats.tolist(), scored.likeliest.tolist(), strict=True):
                nats[owner].append(worth)
                likeliest[owner] &= first
            done += len(set(one.owners))
            told(done, len(sequences))
        return nats, likeliest

    def _read(self, root: Sequence[int], cache: Cache) -> None:
        """Make a cache hold a root, of which it may hold the beginning."""
        held = common_prefix(cache.ids[0], root)
        cache.truncate(0, held)
        if held < len(root):
            self.engine.prefill(root[held:], cache, 0)
