"""Contexts and continuations to ids: encoded together and split at the context, as lm-evaluation-harness does.

Encoded apart, the first token of a continuation would be another one than in the text that a model was trained on:
spaces belong to the word behind them. So the spaces at a context's end move to the continuation, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pylm.errors import DataError, TokenizerError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["PREFIXES", "Encoded", "Pair", "encode", "prefix_ids"]

PREFIXES = ("eot", "none")


class Pair(NamedTuple):
    """A continuation and what it follows."""

    context: str
    continuation: str


class Encoded(NamedTuple):
    """A pair in ids."""

    context: list[int]
    continuation: list[int]
    apart: bool = False  # a merge crosses the border, or bends the context: the two were encoded one by one


def encode(pairs: Sequence[Pair], tokenizer: Tokenizer, prefix: str, begin: Sequence[int] = ()) -> list[Encoded]:
    """Return the ids of pairs, the prefix before each context: `begin`, where a model has that before every text."""
    before = prefix_ids(tokenizer, prefix, begin)
    moved = [_spaces_moved(pair, number) for number, pair in enumerate(pairs)]
    texts = {text: number for number, text in enumerate({part for c, x in moved for part in (c, c + x, x)})}
    ids = [[int(token) for token in found] for found in tokenizer.encode_batch(list(texts))]
    encoded = []
    for context, continuation in moved:
        first, both = ids[texts[context]], ids[texts[context + continuation]]
        apart = both[: len(first)] != first or len(both) == len(first)
        after = ids[texts[continuation]] if apart else both[len(first) :]
        # a first token needs something before it: where nobody asked for a prefix, an empty context has it all the same
        needed = before or ([] if first else prefix_ids(tokenizer, "eot", begin))
        encoded.append(Encoded(needed + first, after, apart))
    return encoded


def prefix_ids(tokenizer: Tokenizer, prefix: str, begin: Sequence[int] = ()) -> list[int]:
    """Return the ids before every context."""
    if prefix not in PREFIXES:
        raise UsageError(f"prefix is {prefix!r}", f"choose {' or '.join(PREFIXES)}")
    if prefix == "none":
        return []
    if begin:
        return list(begin)
    if tokenizer.eot is None:
        raise TokenizerError(
            "the tokenizer has no end of text to put before a context",
            f"{param('prefix', 'none')} puts nothing there, and then no context may be empty",
        )
    return [tokenizer.eot]


def _spaces_moved(pair: Pair, number: int) -> Pair:
    context, continuation = pair
    if not continuation:
        raise DataError(
            f"the continuation of pair {number} is empty, and nothing can be said of it", "give each choice some text"
        )
    kept = context.rstrip()
    return Pair(kept, context[len(kept) :] + continuation)
