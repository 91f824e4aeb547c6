"""A SentencePiece vocabulary of byte-pair merges as GGUF holds it: pieces with scores, under the model `llama`.

llama.cpp joins the two neighbours whose piece has the highest score, as sentencepiece does; a tokenizer.json has a list
of merges in that order. What comes back is made of the pieces by the code that reads a SentencePiece model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pylm.errors import TokenizerError
from pylm.tokenizer.spm_convert import to_tokenizer_json
from pylm.tokenizer.spm_model import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece, SpmModel
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["MODEL", "json_of", "pieces_of", "spm_fields"]

MODEL = "llama"
Json = dict[str, Any]
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def pieces_of(tokenizer: Tokenizer) -> SpmModel:
    """Return the pieces of a tokenizer whose ids llama.cpp gives too; a refusal says what it has no twin of."""
    value: Json = json.loads(tokenizer.backend.to_tokenizer_json())
    kind, model = tokenizer.backend.kind, value["model"]
    if kind != "BPE":
        raise _refused(f"a {kind} vocabulary")
    if not model.get("byte_fallback") or not model.get("unk_token"):
        raise _refused("merges of characters without a piece for each byte")
    made = SpmModel(_pieces(value), BPE, byte_fallback=True, remove_extra_whitespaces=False)
    steps = (value.get("normalizer") or {}).get("normalizers") or []
    made.add_dummy_prefix = any(step.get("type") == "Prepend" for step in steps)
    wanted = to_tokenizer_json(made, "the tokenizer")
    if value.get("normalizer") != wanted["normalizer"]:
        raise _refused("SentencePiece that normalizes text")
    _refuse_other_joins(made)
    if value.get("pre_tokenizer") not in (None, wanted["pre_tokenizer"]) or not _same_merges(model, wanted["model"]):
        raise _refused("merges that are not those of pieces by their scores")
    return made


def _refuse_other_joins(model: SpmModel) -> None:
    """Refuse what llama.cpp joins and a list of merges does not: parts that are no pieces, names of bytes and such."""
    normal = {piece.text for piece in model.pieces if piece.kind == NORMAL}
    for piece in model.pieces:
        if piece.kind == NORMAL and not all(char in normal for char in piece.text):
            raise _refused(f"a piece {piece.text!r} whose characters are not all pieces")
        cuts = range(1, len(piece.text)) if piece.kind in (BYTE, CONTROL, UNKNOWN) else ()
        if any(piece.text[:cut] in normal and piece.text[cut:] in normal for cut in cuts):
            raise _refused(f"plain pieces that join to {piece.text}")


def _refused(what: str) -> TokenizerError:
    return TokenizerError(
        f"llama.cpp has no twin of {what}: its ids would be others",
        f"train one that it has ({param('model', 'bpe')} or {param('model', 'sp-bpe')}), or export {param('to', 'hf')}",
    )


def _pieces(value: Json) -> list[Piece]:
    """Return every id's piece: its score is how late it is merged, 0 for the first."""
    model, added = value["model"], value.get("added_tokens") or []
    scores: dict[str, float] = {}
    for merge in model["merges"]:
        scores.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ", 1)), -float(len(scores)))
    kinds = {token["content"]: CONTROL if token["special"] else USER_DEFINED for token in added}
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    if sorted(ids.values()) != list(range(len(ids))):
        raise _refused("a vocabulary with gaps between its ids")
    kinds[model["unk_token"]] = UNKNOWN
    return [
        Piece(text, scores.get(text, 0.0), kinds.get(text, BYTE if _BYTE.fullmatch(text) else NORMAL), None)
        for text in sorted(ids, key=ids.__getitem__)
    ]


def _same_merges(model: Json, wanted: Json) -> bool:
    """Say whether two models merge the same pairs, those of one piece after those of another in the same order."""
    mine, theirs = ([tuple(each.split(" ", 1) if isinstance(each, str) else each) for each in one["merges"]]
                    for one in (model, wanted))  # fmt: skip
    blocks = [list(dict.fromkeys(map("".join, merges))) for merges in (mine, theirs)]
    changes = sum(one != other for one, other in zip(map("".join, mine), map("".join, mine[1:]), strict=False))
    return set(mine) == set(theirs) and blocks[0] == blocks[1] and changes + 1 == max(len(blocks[0]), 1)


def spm_fields(model: SpmModel, pre: str, rows: int) -> Json:
    """Return the fields that such a vocabulary has beside texts and kinds of its tokens."""
    scores = [piece.score for piece in model.pieces]
    return {
        "ggml.model": MODEL,
        "ggml.pre": pre,
        "ggml.scores": scores + [0.0] * (rows - len(scores)),
        "ggml.unknown_token_id": next(number for number, piece in enumerate(model.pieces) if piece.kind == UNKNOWN),
        "ggml.add_space_prefix": model.add_dummy_prefix,
    }


def json_of(fields: Mapping[str, Any], where: str) -> Json:
    """Return the tokenizer.json of a file's fields behind `tokenizer.`; rows of padding are no pieces."""
    columns = [fields[f"ggml.{name}"] for name in ("tokens", "scores", "token_type")]
    pieces = [Piece(text, float(score), kind, None) for text, score, kind in zip(*columns, strict=True)]
    while pieces and pieces[-1].kind == UNUSED:
        pieces.pop()
    model = SpmModel(pieces, BPE, remove_extra_whitespaces=False)
    model.byte_fallback = any(piece.kind == BYTE for piece in pieces)
    model.add_dummy_prefix = bool(fields.get("ggml.add_space_prefix", True))  # llama.cpp's default
    return to_tokenizer_json(model, where)
