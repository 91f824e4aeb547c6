"""What tokenizers make of a user's own text: how many tokens, of which languages, and at what speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError
from pylm.tokenizer.scripts import script_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pylm.tokenizer.tokenizer import Tokenizer

__all__ = ["Comparison", "Tally", "compare"]

# text encoded at a time
BATCH = 4 << 20


@dataclass
class Tally:
    """The counts of what one tokenizer made of the text."""

    tokenizer: Tokenizer
    used: npt.NDArray[np.int64]  # how often each id came
    tokens: dict[str, int] = field(default_factory=dict)  # by group
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many tokens there are in all."""
        return sum(self.tokens.values())

    def never_used(self) -> list[int]:
        """Return the ids that stand for something and never came, the lowest first."""
        specials = set(self.tokenizer.specials.values())
        return [int(token_id) for token_id in (self.used == 0).nonzero()[0] if int(token_id) not in specials]

    def longest(self, count: int) -> list[tuple[bytes, int]]:
        """Return the longest tokens that came, and how often; none where the bytes of a token are not known."""
        found = [(self.tokenizer.token_bytes(int(token_id)), int(token_id)) for token_id in self.used.nonzero()[0]]
        known = [(data, token_id) for data, token_id in found if data is not None]
        known.sort(key=lambda entry: (-len(entry[0]), entry[1]))
        return [(data, int(self.used[token_id])) for data, token_id in known[:count]]


@dataclass
class Comparison:
    """Tallies by the tokenizers' names, and the text that they were made of."""

    tallies: dict[str, Tally]
    bytes: dict[str, int]  # by group
    documents: int

    @property
    def total_bytes(self) -> int:
        """How many bytes of text there are in all."""
        return sum(self.bytes.values())

    def groups(self) -> list[str]:
        """Return the groups, the largest first."""
        return sorted(self.bytes, key=lambda group: (-self.bytes[group], group))

    def as_json(self, examples: int) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "bytes": self.total_bytes,
            "documents": self.documents,
            "groups": {group: self.bytes[group] for group in self.groups()},
            "tokenizers": [self._entry(name, tally, examples) for name, tally in self.tallies.items()],
        }

    def _entry(self, name: str, tally: Tally, examples: int) -> dict[str, Any]:
        never = tally.never_used()
        return {
            "name": name,
            "identity": tally.tokenizer.identity,
            "vocab_size": tally.tokenizer.vocab_size,
            "tokens": tally.total,
            "tokens_per_byte": tally.total / self.total_bytes,
            "bytes_per_token": self.total_bytes / tally.total,
            "megabytes_per_second": self.total_bytes / tally.seconds / 1e6 if tally.seconds else None,
            "bytes_per_token_by_group": {
                group: self.bytes[group] / tally.tokens[group] for group in self.groups() if tally.tokens.get(group)
            },
            "longest": [
                {"token": _readable(data), "bytes": len(data), "count": count}
                for data, count in tally.longest(examples)
            ],
            "never_used": len(never),
            "never_used_examples": [_shown(tally.tokenizer, token_id) for token_id in never[-examples:]],
        }


def _shown(tokenizer: Tokenizer, token_id: int) -> str:
    data = tokenizer.token_bytes(token_id)
    return tokenizer.decode([token_id]) if data is None else _readable(data)


def _readable(data: bytes) -> str:
    """Return a token's text, or the codes of its bytes where it is a part of a character."""
    return data.decode("utf-8", "backslashreplace")


def compare(
    tokenizers: Mapping[str, Tokenizer],
    documents: Iterable[tuple[str, str]],
    *,
    by: str = "language",
    threads: int = 1,
    tell: Callable[[int], None] | None = None,
) -> Comparison:
    """Return the tallies of the documents, encoded with each tokenizer.

    Args:
        tokenizers: By the names under which they are shown.
        documents: Pairs of source and text.
        by: What tokens are counted by: `language` (the writing system of each document) or `file`.
        threads: For the encoding.
        tell: Called with the bytes done.
    """
    import numpy as np

    tallies = {
        name: Tally(tokenizer, np.zeros(tokenizer.vocab_size, dtype=np.int64)) for name, tokenizer in tokenizers.items()
    }
    for tally in tallies.values():
        # the first call pays for threads and tables, which are not the encoder's speed
        tally.tokenizer.encode_batch(["a first text"] * 2, threads)
    comparison = Comparison(tallies, {}, 0)
    batch: list[tuple[str, str]] = []
    size = done = 0
    for source, text in documents:
        length = len(text.encode())
        if length == 0:
            continue
        group = source if by == "file" else script_of(text)
        comparison.bytes[group] = comparison.bytes.get(group, 0) + length
        comparison.documents += 1
        batch.append((group, text))
        size += length
        if size >= BATCH:
            _count(comparison, batch, threads)
            done, size, batch = done + size, 0, []
            if tell is not None:
                tell(done)
    _count(comparison, batch, threads)
    if comparison.documents == 0:
        raise DataError("there is no text to compare tokenizers on", "name files that hold text")
    return comparison


def _count(made: Comparison, batch: Sequence[tuple[str, str]], threads: int) -> None:
    import numpy as np

    if not batch:
        return
    texts = [text for _, text in batch]
    for tally in made.tallies.values():
        start = time.perf_counter()
        encoded = tally.tokenizer.encode_batch(texts, threads)
        tally.seconds += time.perf_counter() - start
        for (group, _), ids in zip(batch, encoded, strict=True):
            tally.tokens[group] = tally.tokens.get(group, 0) + len(ids)
        tally.used += np.bincount(np.concatenate(encoded), minlength=len(tally.used))
