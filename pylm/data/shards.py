"""Looking into finished token shards: counts, single documents, soundness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.errors import DataError

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["document", "statistics", "tokenizer_of", "verify"]

COMMONEST = 10


def tokenizer_of(folder: str | Path, manifest: dict[str, Any]) -> Tokenizer:
    """The tokenizer that lies beside the shards; a DataError where it is not the one that wrote them."""
    from pylm.tokenizer import Tokenizer

    tok = Tokenizer.load(folder)
    if tok.identity != manifest["tokenizer"]:
        raise DataError(
            f"{folder}/tokenizer.json is not the tokenizer of the shards beside it",
            "put back the one that wrote them, or tokenize again with --force",
        )
    return tok


def _shown(tok: Tokenizer, token_id: int) -> str:
    """A token as a person can read it, with its spaces and line ends."""
    raw = tok.token_bytes(token_id)
    text = tok.decode([token_id]) if raw is None else raw.decode("utf-8", "backslashreplace")
    return repr(text)


def statistics(folder: str | Path) -> dict[str, Any]:
    """Tokens, documents and their lengths, and the commonest tokens, of each split."""
    manifest = _rust.shards_manifest(folder)
    tok = tokenizer_of(folder, manifest)
    splits = {}
    for name, split in manifest["splits"].items():
        entry: dict[str, Any] = {
            "tokens": split["tokens"],
            "documents": split["documents"],
            "text_bytes": split["text_bytes"],
            "shards": len(split["shards"]),
        }
        if split["tokens"]:
            counted = _rust.shards_statistics(folder, name)
            counts = counted.pop("counts")
            top = sorted(range(len(counts)), key=lambda token: (-counts[token], token))[:COMMONEST]
            entry["bytes_per_token"] = split["text_bytes"] / split["tokens"]
            entry["lengths"] = {key: counted[key] for key in ("shortest", "median", "ninetieth", "longest")}
            entry["used"] = sum(1 for count in counts if count)
            entry["commonest"] = [
                {"id": token, "text": _shown(tok, token), "share": counts[token] / split["tokens"]}
                for token in top
                if counts[token]
            ]
        splits[name] = entry
    kept = {key: manifest[key] for key in ("dtype", "vocab_size", "tokenizer", "sources")}
    return {**kept, "splits": splits}


def document(folder: str | Path, split: str, number: int, most: int) -> dict[str, Any]:
    """Document `number` of a split, its first `most` tokens with their text."""
    tok = tokenizer_of(folder, _rust.shards_manifest(folder))
    found = _rust.shards_document(folder, split, number, most)
    ids = found.pop("ids")
    return {**found, "shown": [{"id": token, "text": _shown(tok, token)} for token in ids], "text": tok.decode(ids)}


def verify(folder: str | Path, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """Read every byte and say what is wrong: `problems` names file, offset and fault."""
    return _rust.shards_verify(folder, progress)
