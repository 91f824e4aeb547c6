"""Byte-level BPE run by the Rust encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pylm._rust import Bpe
from pylm.errors import DataError, PylmError, TokenizerError
from pylm.tokenizer.patterns import checked, read_elsewhere
from pylm.wording import options_marked

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Ids, Lengths


@contextmanager
def parameters_named() -> Iterator[None]:
    """Let the errors of `pylm._rust`, which speaks of the command line's options, name parameters as a room's do."""
    try:
        yield
    except PylmError as error:
        message, hint = error.marked
        raise type(error)(options_marked(message), None if hint is None else options_marked(hint)) from None


class NativeBackend:
    """`pylm._rust.Bpe` behind the interface that all tokenizers share."""

    native = True
    kind = "BPE"
    unknown = None
    strips_space = False

    def __init__(self, bpe: Bpe) -> None:
        """Wrap the binding's object, which the data pipeline takes as it is."""
        self.bpe = bpe
        self.vocab_size: int = bpe.vocab_size
        self.specials: dict[str, int] = dict(sorted(bpe.specials, key=lambda item: item[1]))
        self.added: dict[str, int] = dict(sorted([*bpe.specials, *bpe.added], key=lambda item: item[1]))
        self._every = frozenset(self.specials)
        self.identity: str = bpe.identity
        self.pattern: str | None = bpe.pattern

    def read_elsewhere(self) -> str | None:
        """Return what of it other programs read in another way. Only files that an earlier pylm wrote hold such."""
        if part := read_elsewhere(self.pattern):
            return f"a pattern that other programs read in another way, for {part}"
        if twice := self.bpe.spelled_twice:
            return f"the special token {twice[0]!r}, which other programs take for another token that is written so"
        return None

    @classmethod
    def from_tokenizer_json(cls, data: bytes) -> NativeBackend:
        """Return the byte-level BPE of a tokenizer.json's contents; a TokenizerError says what else it holds."""
        return cls(Bpe.from_tokenizer_json(data))

    @classmethod
    def from_ranks(cls, data: bytes, pattern: str, specials: Mapping[str, int]) -> NativeBackend:
        """Return the byte-level BPE of tiktoken ranks."""
        return cls(Bpe.from_ranks(data, checked(pattern), list(specials.items())))

    def encode(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        """Return the ids of one text; any bytes are accepted."""
        return self.bpe.encode(text, self._named(allowed))

    def encode_batch(self, texts: Sequence[str | bytes], allowed: frozenset[str], threads: int) -> list[Ids]:
        """Return the ids of each text."""
        with parameters_named():
            return self.bpe.encode_batch(list(texts), threads, self._named(allowed))

    def _named(self, allowed: frozenset[str]) -> str | list[str]:
        # a word for all of them: what takes thousands of names for each short text takes longer than to encode it
        return "all" if allowed == self._every else sorted(allowed)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one id."""
        try:
            return self.bpe.token_bytes(token_id)
        except DataError as error:
            raise TokenizerError(*error.marked) from None

    def byte_lengths(self) -> Lengths:
        """Return how many bytes each id stands for; 0 for ids that are no token."""
        import numpy as np

        return np.array([self._byte_length(token_id) for token_id in range(self.vocab_size)], np.int32)

    def _byte_length(self, token_id: int) -> int:
        try:
            return len(self.bpe.token_bytes(token_id))
        except DataError:  # a hole in the numbering
            return 0

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of a sequence."""
        try:
            return self.bpe.decode_bytes(ids)
        except DataError as error:
            raise TokenizerError(*error.marked) from None

    def to_tokenizer_json(self) -> bytes:
        """Return the vocabulary as a tokenizer.json."""
        return self.bpe.to_tokenizer_json().encode()

    def to_ranks(self) -> bytes:
        """Return the vocabulary as tiktoken ranks."""
        return self.bpe.to_ranks()


def blank_json(pattern: str) -> str:
    """Return a tokenizer.json of the bytes alone, cut by a pattern's name or a regex."""
    return Bpe.from_merges([], checked(pattern), []).to_tokenizer_json()
