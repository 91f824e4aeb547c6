"""What stands behind a Tokenizer: the native BPE, or the `tokenizers` package for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids: TypeAlias = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    Lengths: TypeAlias = npt.NDArray[np.int32]

__all__ = ["Backend"]


class Backend(Protocol):
    """A vocabulary and its rules. The Tokenizer adds policy (which special tokens may stand in text) on top."""

    @property
    def native(self) -> bool:
        """Say whether the Rust encoder runs it."""
        ...

    @property
    def kind(self) -> str:
        """Name the algorithm, such as BPE or Unigram."""
        ...

    @property
    def pattern(self) -> str | None:
        """Return the pre-tokenizer's name or regex, where there is one."""
        ...

    @property
    def vocab_size(self) -> int:
        """Return one more than the highest id."""
        ...

    @property
    def specials(self) -> dict[str, int]:
        """Special tokens and their ids, by id."""
        ...

    @property
    def added(self) -> dict[str, int]:
        """Return all added tokens and their ids, by id: the special ones, and those that are tokens in every text."""
        ...

    @property
    def identity(self) -> str:
        """The hex SHA-256 of vocabulary, merges, pattern and specials."""
        ...

    def encode(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        """Return the ids of a text in which the `allowed` special tokens are found, and all others are plain text."""
        ...

    def encode_batch(self, texts: Sequence[str | bytes], allowed: frozenset[str], threads: int) -> list[Ids]:
        """Return the ids of each text; 0 threads means as many as there are cores."""
        ...

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes that an id stands for, None where only whole sequences can be decoded."""
        ...

    def byte_lengths(self) -> Lengths | None:
        """Return how many bytes each id stands for, the names of special tokens counted; None as for `token_bytes`."""
        ...

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of a sequence."""
        ...

    def to_tokenizer_json(self) -> bytes:
        """Return the tokenizer as a tokenizer.json."""
        ...

    def to_ranks(self) -> bytes:
        """Return the tokenizer as tiktoken ranks, or an error that says why it cannot be."""
        ...
