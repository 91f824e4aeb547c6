"""Looking into finished token shards: counts, single documents, soundness."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.data import masks
from pylm.data.folder import TOKENIZER_FILES, read_text
from pylm.errors import DataError, PylmError, PylmWarning
from pylm.tokenizer.native import parameters_named
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["document", "statistics", "verify"]

COMMONEST = 10


def _writer(folder: str | Path, manifest: dict[str, Any]) -> Tokenizer:
    """Load the tokenizer that lies beside the shards; a DataError where it is not the one that wrote them."""
    from pylm.tokenizer import Tokenizer

    for name in TOKENIZER_FILES:
        if (path := Path(folder, name)).is_file():
            read_text(path)
    tok = Tokenizer.load(folder)
    if tok.identity != manifest["tokenizer"] or tok.vocab_size != manifest["vocab_size"]:
        raise DataError(
            f"{folder}/tokenizer.json is not the tokenizer of the shards beside it",
            f"put back the one that wrote them, or tokenize again with {param('force', True)}",
        )
    return tok


def _shown(tok: Tokenizer, token_id: int) -> str:
    """Return a token as a person can read it, with its spaces and line ends."""
    raw = tok.token_bytes(token_id)
    text = tok.decode([token_id]) if raw is None else raw.decode("utf-8", "backslashreplace")
    return repr(text)


@parameters_named()
def statistics(folder: str | Path) -> dict[str, Any]:
    """Count the tokens, the documents and their lengths, and name the commonest tokens, of each split."""
    manifest = _rust.shards_manifest(folder)
    tok = _writer(folder, manifest)
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
            if (targets := masks.counted(Path(folder), manifest, name)) is not None:
                entry["counted"] = targets
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


@parameters_named()
def document(folder: str | Path, split: str, number: int, most: int) -> dict[str, Any]:
    """Return document `number` of a split, its first `most` tokens with their text."""
    manifest = _rust.shards_manifest(folder)
    tok = _writer(folder, manifest)
    found = _rust.shards_document(folder, split, number, most)
    ids = found.pop("ids")
    shown: list[dict[str, Any]] = [{"id": token, "text": _shown(tok, token)} for token in ids]
    counts = masks.counts_of(Path(folder), manifest, found["file"], found["start"], len(ids))
    for token, is_target in zip(shown, counts or (), strict=False):
        token["counts"] = is_target
    return {**found, "shown": shown, "text": tok.decode(ids)}


@parameters_named()
def verify(folder: str | Path, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """Read every byte and say what is wrong: `problems` names file, offset and fault."""
    problems: list[dict[str, Any]] = []
    tok: Tokenizer | None = None
    manifest = _sound_manifest(folder)
    if manifest is not None:
        tok = _tokenizer_beside(Path(folder), manifest, problems)
    report = _rust.shards_verify(folder, progress, getattr(tok.backend, "bpe", None) if tok is not None else None)
    # of a file whose hash differs that is enough to say
    named = {problem["file"] for problem in report["problems"]}
    report["problems"] += [one for one in problems if one["file"] not in named or one["file"] == "manifest.json"]
    if manifest is not None:
        report["problems"] += masks.problems(Path(folder), manifest)
    return report


def _sound_manifest(folder: str | Path) -> dict[str, Any] | None:
    """Return the manifest; None where it is for the rest of the check to say what is wrong."""
    try:
        return _rust.shards_manifest(folder)
    except DataError:
        return None


def _tokenizer_beside(folder: Path, manifest: dict[str, Any], problems: list[dict[str, Any]]) -> Tokenizer | None:
    """Return the tokenizer that wrote the shards, where it lies beside them; else what is wrong joins `problems`."""
    from pylm.tokenizer import Tokenizer

    def report(file: str, what: str) -> None:
        problems.append({"file": file, "offset": 0, "what": what})

    if not (folder / "tokenizer.json").is_file():
        report("tokenizer.json", "the file is missing")
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PylmWarning)  # what others make of its pattern is no fault of the folder
            tok = Tokenizer.load(folder)
    except UnicodeError as error:
        report("tokenizer.json", f"it or the file of its settings is not UTF-8: {error}")
        return None
    except PylmError as error:
        report("tokenizer.json", f"it cannot be loaded: {error.message}")
        return None
    if tok.identity != manifest["tokenizer"]:
        report("tokenizer.json", "it is not the tokenizer that the manifest names")
        return None
    for key, of_tokenizer in (("vocab_size", tok.vocab_size), ("eot", tok.eot)):
        if manifest[key] != of_tokenizer:
            report("manifest.json", f"its {key!r} is {manifest[key]}, and {of_tokenizer} in the tokenizer's files")
    return tok
