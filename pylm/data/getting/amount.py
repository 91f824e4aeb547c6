"""How much of a dataset is wanted, and how its documents are counted: a slice's in GPT-2's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pylm.data.catalogue import Entry
from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["Amount", "Count", "counter"]

BYTES_A_TOKEN = 4.8  # of English text by GPT-2's tokens, with what JSON adds; other languages have fewer

# the texts of a batch, with the publisher's own counts where they were read; to what each counts
Count = Callable[[Sequence[str], Sequence[int | None]], list[int]]


@dataclass(frozen=True)
class Amount:
    """The first documents that together reach so many tokens, bytes of text or documents; the last one is whole."""

    unit: str
    number: int

    @classmethod
    def of(cls, one: Entry, limit: str | None) -> Amount | None:
        """Return what a name's slice or a limit asks for; None for everything."""
        if one.tokens is not None and limit is not None:
            raise UsageError(f"{one.full_name} is a slice, and {param('limit', limit)} is another", "give one of them")
        if one.tokens is not None:
            return cls("tokens", one.tokens)
        if limit is None:
            return None
        if one.kind in ("evaluation", "rules"):
            raise UsageError(f"{one.name} is no text to train on, and is got whole", f"leave out {param('limit')}")
        from pylm import _rust
        from pylm.tokenizer.native import parameters_named

        with parameters_named():
            ((unit, number),) = _rust.parse_limit(limit).items()
        if one.kind == "shards" and unit != "tokens":
            raise UsageError(f"{one.name} is tokens, and {limit} is none", f"such as {param('limit', '100Mtok')}")
        return cls(unit, number)

    @property
    def bytes(self) -> int | None:
        """How many bytes it takes on the disk, about; None where nobody can tell."""
        return {"bytes": self.number, "tokens": int(self.number * BYTES_A_TOKEN)}.get(self.unit)


def counter(
    amount: Amount, token_count: str | None, tokenizer: Tokenizer | None, offline: bool | None
) -> tuple[Count, str]:
    """Return what counts documents in the unit of an amount, and what a manifest says of how it counts.

    Args:
        amount: How much is wanted.
        token_count: The column that holds the publisher's own counts of GPT-2 tokens.
        tokenizer: Counts in place of GPT-2's vocabulary.
        offline: Whether that may be fetched.
    """
    if amount.unit == "documents":
        return (lambda texts, _: [1] * len(texts)), "documents"
    if amount.unit == "bytes":
        return (lambda texts, _: [len(text.encode()) for text in texts]), "bytes of text"
    if token_count is not None and tokenizer is None:
        return _Published(offline), f"tokens by {token_count}, and an end of text each"
    from pylm.tokenizer import Tokenizer

    tok = Tokenizer.load("gpt2", offline=offline) if tokenizer is None else tokenizer
    return _by(tok), f"tokens of {'gpt2' if tokenizer is None else tok.identity}, and an end of text each"


def _by(tok: Any) -> Count:
    return lambda texts, _: [len(ids) + 1 for ids in tok.encode_batch(texts)]


class _Published:
    """Counts by the publisher's column. Only where a row has no count are its tokens counted."""

    def __init__(self, offline: bool | None) -> None:
        self.offline = offline
        self.count: Count | None = None

    def __call__(self, texts: Sequence[str], published: Sequence[int | None]) -> list[int]:
        return [
            self._counted(text) if number is None else number + 1 for text, number in zip(texts, published, strict=True)
        ]

    def _counted(self, text: str) -> int:
        from pylm.tokenizer import Tokenizer

        self.count = self.count or _by(Tokenizer.load("gpt2", offline=self.offline))
        return self.count([text], [None])[0]
