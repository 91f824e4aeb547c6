"""Bytes of single pieces, for the decoders of `tokenizers` that turn one piece after the other into text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pylm.tokenizer.byte_alphabet import unspell

__all__ = ["Pieces", "piecewise"]

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Pieces(NamedTuple):
    """How pieces become bytes one by one, and what is different for the first."""

    bytes_of: Callable[[str], bytes]
    first_bytes_of: Callable[[str], bytes]
    strips_space: bool


def piecewise(decoder: Mapping[str, Any] | None) -> Pieces | None:
    """Return what a decoder does with a piece; None for those that look at several, which only they can run.

    Added tokens go through the decoder like all others: Gemma's runs of `▁` are runs of spaces.
    """
    if decoder is None:  # pieces with spaces between them
        return None
    steps = list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return Pieces(_byte_level, _byte_level, False)
    if kinds == ["Metaspace"]:
        mark = steps[0]["replacement"]
        leads = steps[0].get("prepend_scheme", "always") != "never"
        later = _replacing([(mark, " ")], False)
        return Pieces(later, _replacing([(mark, "")], False) if leads else later, False)
    replaced = [step for step in steps if step["type"] == "Replace"]
    rest = kinds[len(replaced) :]
    strips = rest == ["ByteFallback", "Fuse", "Strip"] or rest == ["Fuse", "Strip"]
    if kinds[: len(replaced)] != ["Replace"] * len(replaced) or not (
        strips or rest in (["ByteFallback", "Fuse"], ["ByteFallback"], ["Fuse"]) or (replaced and not rest)
    ):
        return None
    if strips and (steps[-1].get("content"), steps[-1].get("start"), steps[-1].get("stop")) != (" ", 1, 0):
        return None
    pairs = [(step["pattern"].get("String"), step["content"]) for step in replaced]
    if not all(old for old, _ in pairs):  # a regex, or nothing
        return None
    bytes_of = _replacing(pairs, "ByteFallback" in kinds)
    return Pieces(bytes_of, bytes_of, strips)


def _byte_level(piece: str) -> bytes:
    data = unspell(piece)
    return piece.encode() if data is None else data


def _replacing(pairs: list[tuple[str, str]], falls_back: bool) -> Callable[[str], bytes]:
    def bytes_of(piece: str) -> bytes:
        for old, new in pairs:
            piece = piece.replace(old, new)
        if falls_back and piece[:1] == "<" and (byte := _BYTE.fullmatch(piece)):
            return bytes([int(byte[1], 16)])
        return piece.encode()

    return bytes_of
