"""Reads a SentencePiece `.model` without running any foreign code over it.

The file is a protocol-buffer message, and C++ readers of hostile ones have crashed (deep recursion, reads out of
bounds). Twenty lines of bounds-checked Python read the few fields that decide ids.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pylm.errors import TokenizerError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2

MAX_PIECES = 2_000_000
MAX_PIECE_BYTES = 4096  # longer ones overflowed the stack of sentencepiece's own loader


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; `score_at` is where its score lies in the file, None where it has none."""

    text: str
    score: float
    kind: int
    score_at: int | None


@dataclass
class SpmModel:
    """The contents of a `.model`, as far as ids depend on it."""

    pieces: list[Piece] = field(default_factory=list)
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    treat_whitespace_as_suffix: bool = False
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number runs past its field")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, value, start, end) of every field: `value` of a varint, the extent of everything else."""
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        value, start = 0, at
        if wire == 0:
            value, at = _varint(data, at, end)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, start = _varint(data, at, end)
            at = start + length
        elif wire == 5:
            at += 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > end:
            raise ValueError("a field runs past its message")
        yield number, value, start, at


def _piece(data: bytes, at: int, end: int) -> Piece:
    text, score, kind, score_at = "", 0.0, NORMAL, None
    for number, value, start, stop in _fields(data, at, end):
        if number == 1:
            if stop - start > MAX_PIECE_BYTES:
                raise ValueError(f"a piece of {stop - start} bytes")
            text = data[start:stop].decode("utf-8")
        elif number == 2:
            if stop - start != 4:
                raise ValueError("a score that is no 32-bit float")
            (score,) = struct.unpack_from("<f", data, start)
            score_at = start
        elif number == 3:
            kind = value
    if not score == score or score in (float("inf"), float("-inf")):
        raise ValueError(f"the piece {text!r} has no finite score")
    return Piece(text, score, kind, score_at)


def _trainer(model: SpmModel, data: bytes, at: int, end: int) -> None:
    for number, value, _, _ in _fields(data, at, end):
        if number == 3:
            model.model_type = value
        elif number == 24:
            model.treat_whitespace_as_suffix = bool(value)
        elif number == 35:
            model.byte_fallback = bool(value)


def _normalizer(model: SpmModel, data: bytes, at: int, end: int) -> None:
    for number, value, start, stop in _fields(data, at, end):
        if number == 2:
            model.charsmap = data[start:stop]
        elif number == 3:
            model.add_dummy_prefix = bool(value)
        elif number == 4:
            model.remove_extra_whitespaces = bool(value)
        elif number == 5:
            model.escape_whitespaces = bool(value)


def parse_model(data: bytes, where: str) -> SpmModel:
    """Return what the `.model` in `data` says; `where` names the file in errors."""
    model = SpmModel()
    try:
        for number, _, start, stop in _fields(data, 0, len(data)):
            if number == 1:
                if len(model.pieces) == MAX_PIECES:
                    raise ValueError(f"more than {MAX_PIECES:,} pieces")
                model.pieces.append(_piece(data, start, stop))
            elif number == 2:
                _trainer(model, data, start, stop)
            elif number == 3:
                _normalizer(model, data, start, stop)
    except (ValueError, IndexError, struct.error) as error:  # UnicodeDecodeError is a ValueError
        raise TokenizerError(f"{where} is no sound SentencePiece model: {error}", "fetch or train it again") from None
    if not model.pieces:
        raise TokenizerError(f"{where} is no SentencePiece model: it holds no pieces", "fetch or train it again")
    return model


def rounded_scores(data: bytes, step: float) -> bytes:
    """Return the model with the scores of its normal pieces rounded to multiples of `step`.

    sentencepiece adds scores in 32-bit floats and `tokenizers` in 64-bit ones. With scores that are multiples of a
    power of two both sums are exact, so that near ties fall the same way in both.
    """
    patched = bytearray(data)
    for piece in parse_model(data, "the model").pieces:
        if piece.kind == NORMAL and piece.score_at is not None:
            struct.pack_into("<f", patched, piece.score_at, round(piece.score / step) * step)
    return bytes(patched)
