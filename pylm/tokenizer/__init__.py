"""Tokenizers: one interface over the native byte-level BPE, `tokenizers` and SentencePiece models."""

from pylm.tokenizer.stream import DecodeStream
from pylm.tokenizer.tokenizer import Tokenizer

__all__ = ["DecodeStream", "Tokenizer"]
