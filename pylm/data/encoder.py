"""What turns text into ids inside the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["encoder_of"]


def encoder_of(tokenizer: Tokenizer, allow_special: Sequence[str]) -> Any:
    """Return the Rust encoder itself, else a function of batches, for which each thread waits for the interpreter."""
    bpe = getattr(tokenizer.backend, "bpe", None)
    if bpe is not None:
        return bpe
    allowed = set(allow_special)
    return lambda texts: tokenizer.encode_batch(texts, allowed_special=allowed)
