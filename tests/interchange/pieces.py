"""A SentencePiece vocabulary of byte-pair merges, small enough to be read."""

from __future__ import annotations

import json
from typing import Any

import pylm
from pylm.tokenizer.spm_convert import to_tokenizer_json
from pylm.tokenizer.spm_model import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, Piece, SpmModel
from tests.generation.small import END

JOINED = (
    *("▁t", "he", "▁the", "in", "er", "▁▁", "at", "an", "ana", "12", "ж'", "▁that", "th", "hat", "▁▁▁▁", "ban", "s."),
    *("ab", "ba", "aba"),
)


def spm(more: tuple[str, ...] = (), letters: str = "abcdefghijklmnopqrstuvwxyz.,'", **changes: Any) -> SpmModel:
    """A vocabulary of letters, bytes and these pieces, the earlier the likelier, as sentencepiece lays them out."""
    pieces = [Piece("<unk>", 0.0, UNKNOWN, None), Piece(END, 0.0, CONTROL, None)]
    pieces += [Piece(f"<0x{byte:02X}>", 0.0, BYTE, None) for byte in range(256)]
    pieces += [Piece(text, -0.5 * rank, NORMAL, None) for rank, text in enumerate(JOINED + more)]
    alone = sorted(set("".join(JOINED) + letters))
    pieces += [Piece(text, -100.0 - rank, NORMAL, None) for rank, text in enumerate(alone)]
    fields = {"byte_fallback": True, "add_dummy_prefix": False, "remove_extra_whitespaces": False, **changes}
    return SpmModel(pieces, fields.pop("model_type", BPE), **fields)


def tokenizer(**changes: Any) -> pylm.Tokenizer:
    return pylm.Tokenizer.from_tokenizer_json(json.dumps(to_tokenizer_json(spm(**changes), "x")), {"eos_token": END})
