"""What a folder of token shards says of itself, and which of somebody else's files are for which split."""

from __future__ import annotations

import codecs
import json
import re
import shlex
from pathlib import Path
from typing import Any

from pylm.errors import DataError
from pylm.wording import param

__all__ = [
    "TOKENIZER_FILES",
    "TOKEN_FILES",
    "WIDTHS",
    "damage",
    "files_of_split",
    "is_plain",
    "masks_of",
    "read_manifest",
    "read_text",
    "refuse_text",
]

WIDTHS = {"uint16": 2, "uint32": 4}
TOKEN_FILES = (".bin", ".npy")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# what pylm tokenize reads, whatever its first bytes are
TEXT_FILES = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".parquet")
PACKED = {".gz": "gunzip -k", ".zst": "zstd -d", ".zstd": "zstd -d"}
HEAD = 1 << 16
AGAIN = f"pylm data verify DIR says more; pylm tokenize with {param('force', True)} makes the folder anew"
# words that say what a file is for; training is never on what may be for anything else
HELD_OUT = ("val", "valid", "validation", "test", "eval", "dev")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, None where there is none.

    Its names are of files in the folder, its sizes are whole numbers.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["dtype"] not in WIDTHS:
            raise ValueError(f"'dtype' is {manifest['dtype']!r}, not {' or '.join(WIDTHS)}")
        _count(manifest, "vocab_size", 2**32)
        for split in manifest["splits"].values():
            for shard in split["shards"]:
                _count(shard, "tokens", 2**56)
                if not is_plain(shard["file"]):
                    raise ValueError(f"{shard['file']!r} is not the name of a file in the folder")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: damaged: {damage(error)}", AGAIN.replace("DIR", str(folder))) from None
    return dict(manifest)


def masks_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the masks beside shards of examples by name, with their `bytes` and `blake2b`; text has none."""
    made = manifest.get("made")
    masks = made.get("masks") if isinstance(made, dict) else None
    return masks if isinstance(masks, dict) else {}


def damage(error: Exception) -> str:
    """Return what is wrong with a manifest, from the error that reading it gave."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error}"
    if isinstance(error, ValueError):
        return str(error)
    return "it holds another kind of value where a list, an object or a number belongs"


def is_plain(name: object) -> bool:
    """Say whether a name stays in its folder, and any system can have a file of it."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(char in name for char in "/\\\0"):
        return False
    return not any("\ud800" <= char <= "\udfff" for char in name)


def _count(entry: dict[str, Any], key: str, bound: int) -> None:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key!r} is {value!r}, not a whole number")
    if not 0 <= value < bound:
        raise ValueError(f"{key!r} is {value}")


def read_text(path: Path) -> str:
    """Return a file beside the shards as text; a DataError where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is damaged: byte {error.start} is not UTF-8", AGAIN.replace("DIR", str(path.parent))
        ) from None


def refuse_text(file: Path) -> None:
    """Refuse a file that is named as tokens and holds text: its bytes would pass for ids."""
    suffix, word = file.suffix.lower(), shlex.quote(str(file))
    if suffix in PACKED and file.with_suffix("").suffix.lower() in TOKEN_FILES:
        unpacked = shlex.quote(str(file.with_suffix("")))
        raise DataError(
            f"{file} is packed, and token ids are read in place", f"{PACKED[suffix]} {word}, then name {unpacked}"
        )
    if suffix in TEXT_FILES or suffix in PACKED or (suffix not in TOKEN_FILES and _begins_as_text(file)):
        raise DataError(f"{file} is text, not token ids", f"pylm tokenize {word} makes a folder of token ids")


def _begins_as_text(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return bool(head) and b"\0" not in head


def files_of_split(folder: Path, split: str) -> list[Path]:
    """Say which files of tokens, in a folder that nobody describes, are for a split: by the words of their names.

    A file that has the word itself goes before one that merely holds it (`pretrain_0.bin`), and what has a word for
    held out text (`pretrain_val_0.bin`) is never training data.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix in TOKEN_FILES and file.is_file())
    wanted = SPLITS.get(split, (split,))
    others = HELD_OUT if split == "train" else SPLITS["train"]
    exact = [file for file in files if _words(file) & set(wanted) and not (split == "train" and _held_out(file))]
    if exact:
        return exact
    return [file for file in files if split in file.stem.lower() and not _words(file) & set(others)]


def _words(file: Path) -> set[str]:
    return {word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", file.stem.lower())}


def _held_out(file: Path) -> bool:
    return bool(_words(file) & set(HELD_OUT))
