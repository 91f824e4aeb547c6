"""A tokenizer.json from the pair of files that byte-level BPE had before it: merges, and ids by token."""

from __future__ import annotations

import json
from typing import Any

from pylm.errors import TokenizerError
from pylm.tokenizer.byte_alphabet import byte_to_char, unspell

# file names of the pair: GPT-2's own, and transformers'
PAIRS = (("vocab.bpe", "encoder.json"), ("merges.txt", "vocab.json"))


def pair_to_tokenizer_json(merges: bytes, vocab: bytes, where: str) -> bytes:
    """Return the tokenizer.json of a pair; tokens that no merge makes and no byte is are the special ones."""
    ids = _vocab(vocab, where)
    pairs = _merges(merges, where)
    made = set(byte_to_char().values())
    for left, right in pairs:
        if left + right not in ids or left not in ids or right not in ids:
            raise TokenizerError(
                f"{where}: the merge of {left!r} and {right!r} is not in the vocabulary", "the two files are no pair"
            )
        made.add(left + right)
    if missing := sorted(set(byte_to_char().values()) - set(ids)):
        raise TokenizerError(
            f"{where}: the vocabulary lacks the byte {unspell(missing[0])!r}", "only byte-level BPE comes in such files"
        )
    specials = sorted((token_id, token) for token, token_id in ids.items() if token not in made)
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, token in specials
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [[left, right] for left, right in pairs],
        },
    }
    return json.dumps(value, ensure_ascii=False).encode()


def _vocab(data: bytes, where: str) -> dict[str, int]:
    try:
        value: Any = json.loads(data)
        if not isinstance(value, dict) or not all(isinstance(token_id, int) for token_id in value.values()):
            raise ValueError("it does not map tokens to ids")
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{where}: the vocabulary cannot be read: {error}", "fetch the file again") from None
    ids = dict(value)
    if sorted(ids.values()) != list(range(len(ids))):
        raise TokenizerError(f"{where}: the ids do not run from 0 to {len(ids) - 1}", "fetch the file again")
    return ids


def _merges(data: bytes, where: str) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not (left and space and right) or " " in right:
            raise TokenizerError(f"{where}: line {number} of the merges is no pair", "fetch the file again")
        pairs.append((left, right))
    return pairs
