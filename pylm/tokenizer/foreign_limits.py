"""What a tokenizer.json may ask of the `tokenizers` package: files that would end the process are refused before."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from pylm.errors import TokenizerError

__all__ = ["refuse_bombs"]

Json = Mapping[str, Any]

# Gemma 3 has 6,415; `tokenizers` takes 20 s for a million. rust/src/bpe/vocab/tokenizer_json.rs has the same bound.
MOST_ADDED = 100_000
# how many times as long replacing may make a text: a space of one byte becomes SentencePiece's of three
MOST_GROWTH = 64
HINT = "a tokenizer.json that asks for this serves no model: fetch it again, from whoever made the model"


def refuse_bombs(value: Json, where: str) -> None:
    """Raise for a tokenizer.json that `tokenizers` would load and then end the process with, or not come to an end."""
    added = value.get("added_tokens") or []
    if len(added) > MOST_ADDED:
        raise TokenizerError(f"{where} has {len(added):,} added tokens; {MOST_ADDED:,} is the most", HINT)
    for part, inner in (("normalizer", "normalizers"), ("decoder", "decoders")):
        growth = 1.0
        for step in _steps(value.get(part), inner):
            growth *= _growth(step)
            if step.get("type") == "Precompiled":
                _check_precompiled(step, where)
        if growth > MOST_GROWTH:
            said = f"{growth:,.0f}" if growth < 1e6 else "over a million"
            raise TokenizerError(
                f"the {part} of {where} may make a text {said} times as long; {MOST_GROWTH} times is the most", HINT
            )


def _steps(part: Any, inner: str, depth: int = 0) -> Iterator[Json]:
    if not isinstance(part, Mapping) or depth > 100:
        return
    if isinstance(part.get(inner), list):
        for step in part[inner]:
            yield from _steps(step, inner, depth + 1)
    else:
        yield part


def _growth(step: Json) -> float:
    content = step.get("content")
    if step.get("type") == "Prepend" and isinstance(step.get("prepend"), str):
        return max(1.0, len(step["prepend"].encode()) / 4)  # a short text is a few bytes
    if step.get("type") != "Replace" or not isinstance(content, str):
        return 1.0
    pattern = step.get("pattern")
    old = pattern.get("String") if isinstance(pattern, Mapping) else None
    new = len(content.encode("utf-8", "replace"))
    if isinstance(old, str) and old:
        return max(1.0, new / len(old.encode("utf-8", "replace")))
    return max(1.0, new)  # a regex may match one byte


def _check_precompiled(step: Json, where: str) -> None:
    """Follow SentencePiece's table of normalised text from its root: what it leads to must be there."""
    import numpy as np

    def damaged(what: str) -> TokenizerError:
        return TokenizerError(f"the Precompiled normalizer of {where} is damaged: {what}", "fetch the file again")

    try:
        data = base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
    except (ValueError, TypeError):
        raise damaged("it is no base64") from None
    if not data:
        return
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size % 4 or not 1024 <= size <= len(data) - 4:
        raise damaged("its table does not fit into it")
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
    texts = data[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise damaged("its texts are no UTF-8") from None
    if max(map(len, texts.split(b"\0")), default=0) > MOST_GROWTH * 16:
        raise damaged("one of its texts is longer than any character's")
    labels = np.arange(1, 256)
    reached = np.zeros(len(units), dtype=bool)
    nodes = np.array([0])
    while len(nodes):
        reached[nodes] = True
        unit = units[nodes]
        base = nodes ^ (unit >> 10 << ((unit & 0x200) >> 6))
        if (base | 0xFF >= len(units)).any():
            raise damaged("its table leads out of it")
        leaves = units[base[unit >> 8 & 1 == 1]] & 0x7FFFFFFF
        inside = leaves < max(len(texts), 1)
        starts = leaves[inside]
        if not inside.all() or any(texts[start] & 0xC0 == 0x80 for start in starts.tolist() if texts):
            raise damaged("it leads to a text that is not there")
        children = (base[:, None] ^ labels).ravel()
        fits = units[children] & 0x800000FF == np.tile(labels, len(nodes))
        nodes = np.unique(children[fits])
        nodes = nodes[~reached[nodes]]
