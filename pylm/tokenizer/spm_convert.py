"""Turns a SentencePiece model into a tokenizer.json that gives the same ids.

Two ends of the encoding differ between sentencepiece and `tokenizers`, and each choice below closes one:

* sentencepiece never finds control, unknown or byte pieces in text; `tokenizers` matches every entry of a Unigram
  vocabulary. Such pieces get a score so low that spelling them out always wins, where every character can be spelled.
* sentencepiece's BPE joins any two neighbours whose concatenation is a piece; `tokenizers` follows a list of pairs. So
  every split of every piece into two pieces is listed.
* text is cut before each run of spaces only if no piece runs across such a cut; otherwise it stays whole.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from pylm.errors import TokenizerError
from pylm.tokenizer.spm_model import BPE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED, SpmModel

SPACE = "\u2581"
NEVER = -1e6  # the score of a Unigram piece that must not be found in text
_ACROSS_WORDS = re.compile(f"[^{SPACE}]{SPACE}")

Json = dict[str, Any]


def to_tokenizer_json(model: SpmModel, where: str) -> Json:
    """Return the tokenizer.json of `model` as an object; `where` names its file in errors."""
    _refuse_what_cannot_be_said(model, where)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(model),
        "normalizer": _normalizer(model),
        "pre_tokenizer": _pre_tokenizer(model),
        "post_processor": None,
        "decoder": _decoder(model),
        "model": _unigram(model) if model.model_type == UNIGRAM else _bpe(model),
    }


def _refuse_what_cannot_be_said(model: SpmModel, where: str) -> None:
    if model.model_type not in (UNIGRAM, BPE):
        raise TokenizerError(
            f"{where} is a SentencePiece model of the word or char kind", "unigram and bpe models can be loaded"
        )
    if model.treat_whitespace_as_suffix:
        raise TokenizerError(
            f"{where} marks spaces at the ends of words (treat_whitespace_as_suffix)",
            "no tokenizer.json can say that; train the model without it",
        )
    if not model.escape_whitespaces:
        raise TokenizerError(f"{where} keeps spaces unescaped", "train the model with escape_whitespaces")
    if any(piece.kind == UNUSED for piece in model.pieces):
        raise TokenizerError(f"{where} holds unused pieces", "load the model as it was trained")
    unknown = [piece for piece in model.pieces if piece.kind == UNKNOWN]
    if len(unknown) != 1:
        raise TokenizerError(
            f"{where} has {len(unknown)} unknown pieces where one is needed", "fetch or train it again"
        )
    seen: set[str] = set()
    for piece in model.pieces:
        if piece.text in seen or not piece.text:
            raise TokenizerError(f"{where} holds the piece {piece.text!r} twice", "fetch or train it again")
        seen.add(piece.text)
    if model.byte_fallback and not {f"<0x{byte:02X}>" for byte in range(256)} <= seen:
        raise TokenizerError(f"{where} promises a piece for each byte and lacks some", "fetch or train it again")


def _unknown_id(model: SpmModel) -> int:
    return next(index for index, piece in enumerate(model.pieces) if piece.kind == UNKNOWN)


def _added_tokens(model: SpmModel) -> list[Json]:
    return [
        {
            "id": index,
            "content": piece.text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece.kind != USER_DEFINED,
        }
        for index, piece in enumerate(model.pieces)
        if piece.kind in (CONTROL, UNKNOWN, USER_DEFINED)
    ]


def _normalizer(model: SpmModel) -> Json:
    steps: list[Json] = []
    if model.charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()})
    if model.remove_extra_whitespaces:
        # \A and \z: in this regex dialect ^ and $ hold at every line
        steps.append(_replace({"Regex": r"\A +"}, ""))
        steps.append(_replace({"Regex": f"[ {SPACE}]+\\z"}, ""))
        steps.append(_replace({"Regex": " {2,}"}, " "))
    if model.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(_replace({"String": " "}, SPACE))
    return {"type": "Sequence", "normalizers": steps}


def _replace(pattern: Json, content: str) -> Json:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _pre_tokenizer(model: SpmModel) -> Json | None:
    steps = []
    if not any(piece.kind == NORMAL and _ACROSS_WORDS.search(piece.text) for piece in model.pieces):
        steps.append(_split(f"{SPACE}*[^{SPACE}]+|{SPACE}+"))
    if alone := _never_in_pieces(model):
        steps.append(_split("[" + "".join(f"\\x{ord(char):02x}" for char in alone) + "]"))
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def _never_in_pieces(model: SpmModel) -> list[str]:
    """Return characters of the names of bytes and control pieces that no piece holds: each becomes bytes by itself.

    Set apart, they keep a name such as <0x41> in text from being found whole. Where unknown characters do not become
    bytes, neighbours among them are one token, and nothing may come between.
    """
    if model.model_type != UNIGRAM or not model.byte_fallback:
        return []
    in_pieces = {char for piece in model.pieces if piece.kind == NORMAL for char in piece.text}
    in_names = {char for piece in model.pieces if piece.kind != NORMAL for char in piece.text}
    return sorted(char for char in in_names - in_pieces if char.isascii())


def _split(regex: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _decoder(model: SpmModel) -> Json:
    steps: list[Json] = [_replace({"String": SPACE}, " ")]
    if model.byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def _unigram(model: SpmModel) -> Json:
    normal = {piece.text for piece in model.pieces if piece.kind == NORMAL}
    # an unknown character costs ten less than the lowest score, so a very low one may be used only where unknown
    # characters never compete with a piece: where each character of a piece is a piece itself, as training leaves it
    spelled = all(char in normal for text in normal for char in text)
    never = NEVER if spelled else min((piece.score for piece in model.pieces if piece.kind == NORMAL), default=0.0)
    vocab = [[piece.text, piece.score if piece.kind == NORMAL else never] for piece in model.pieces]
    return {
        "type": "Unigram",
        "unk_id": _unknown_id(model),
        "vocab": vocab,
        "byte_fallback": model.byte_fallback,
    }


def _bpe(model: SpmModel) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[_unknown_id(model)].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": {piece.text: index for index, piece in enumerate(model.pieces)},
        "merges": _merges(model),
    }


def _merges(model: SpmModel) -> list[list[str]]:
    ranks = {piece.text: index for index, piece in enumerate(model.pieces) if piece.kind in (NORMAL, USER_DEFINED)}
    order = sorted(
        (piece for piece in model.pieces if piece.kind == NORMAL and len(piece.text) > 1),
        key=lambda piece: (-piece.score, ranks[piece.text]),
    )
    merges = []
    for piece in order:
        splits = [(piece.text[:cut], piece.text[cut:]) for cut in range(1, len(piece.text))]
        merges += [[left, right] for left, right in splits if left in ranks and right in ranks]
    return merges
