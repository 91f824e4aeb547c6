"""Byte-level BPE run by the Rust encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pylm._rust import Bpe
from pylm.errors import DataError, TokenizerError
from pylm.tokenizer.patterns import checked, read_elsewhere

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Ids


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
        """What of it other programs read in another way; only files that an earlier pylm wrote hold such."""
        if part := read_elsewhere(self.pattern):
            return f"a pattern that other programs read in another way, for {part}"
        if twice := self.bpe.spelled_twice:
            return f"the special token {twice[0]!r}, which other programs take for another token that is written so"
        return None

    @classmethod
    def from_tokenizer_json(cls, data: bytes) -> NativeBackend:
        """Load the contents of a tokenizer.json that holds byte-level BPE; a TokenizerError says what else it holds."""
        return cls(Bpe.from_tokenizer_json(data))

    @classmethod
    def from_ranks(cls, data: bytes, pattern: str, specials: Mapping[str, int]) -> NativeBackend:
        """Load tiktoken ranks."""
        return cls(Bpe.from_ranks(data, checked(pattern), list(specials.items())))

    def encode(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        """Ids of one text; any bytes are accepted."""
        return self.bpe.encode(text, self._named(allowed))

    def encode_batch(self, texts: Sequence[str | bytes], allowed: frozenset[str], threads: int) -> list[Ids]:
        """Ids of each text."""
        return self.bpe.encode_batch(list(texts), threads, self._named(allowed))

    def _named(self, allowed: frozenset[str]) -> str | list[str]:
        # a word for all of them: what takes thousands of names for each short text takes longer than to encode it
        return "all" if allowed == self._every else sorted(allowed)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one id."""
        try:
            return self.bpe.token_bytes(token_id)
        except DataError as error:
            raise TokenizerError(error.message, error.hint) from None

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of a sequence."""
        try:
            return self.bpe.decode_bytes(ids)
        except DataError as error:
            raise TokenizerError(error.message, error.hint) from None

    def to_tokenizer_json(self) -> bytes:
        """The vocabulary as a tokenizer.json."""
        return self.bpe.to_tokenizer_json().encode()

    def to_ranks(self) -> bytes:
        """The vocabulary as tiktoken ranks."""
        return self.bpe.to_ranks()
