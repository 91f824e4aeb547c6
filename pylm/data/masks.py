"""The masks beside shards of examples: one bit a token, 1 where it counts as a target."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.data.folder import masks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["counted", "counts_of", "entry_of", "mask_name", "problems", "written"]


def mask_name(shard: str) -> str:
    """Return the name of a shard's mask."""
    return Path(shard).with_suffix(".mask").name


def written(counts: NDArray[np.bool_]) -> bytes:
    """Return the content of a mask: bit `i` of byte `k` is of token `8 k + i`."""
    return np.packbits(counts, bitorder="little").tobytes()


def entry_of(content: bytes) -> dict[str, Any]:
    """Return what a manifest says of a mask."""
    return {"bytes": len(content), "blake2b": hashlib.blake2b(content, digest_size=32).hexdigest()}


def problems(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is wrong of the masks of a folder; nothing where it has none."""
    masks = masks_of(manifest)
    if not masks:
        return []
    found = []
    shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    for shard in shards:
        name = mask_name(shard["file"])
        if (fault := _fault(folder / name, masks.get(name), shard["tokens"])) is not None:
            found.append({"file": name, "offset": 0, "what": fault})
    known = {mask_name(shard["file"]) for shard in shards}
    strangers = sorted(path.name for path in folder.glob("*.mask") if path.name not in known)
    return found + [{"file": name, "offset": 0, "what": "the manifest does not know this mask"} for name in strangers]


def _fault(path: Path, entry: dict[str, Any] | None, tokens: int) -> str | None:
    if entry is None:
        return "the manifest does not list it, and lists other masks"
    if not path.is_file():
        return "the file is missing"
    content = path.read_bytes()
    if len(content) != (tokens + 7) // 8:
        return f"the file has {len(content):,} bytes, and {tokens:,} tokens have {(tokens + 7) // 8:,}"
    return None if entry == entry_of(content) else "its hash is not that of the manifest"


def counted(folder: Path, manifest: dict[str, Any], split: str) -> int | None:
    """Return how many tokens of a split count as targets; None where nothing is masked."""
    masks = masks_of(manifest)
    if not masks:
        return None
    names = [mask_name(shard["file"]) for shard in manifest["splits"][split]["shards"]]
    return sum(int.from_bytes((folder / name).read_bytes(), "little").bit_count() for name in names)


def counts_of(folder: Path, manifest: dict[str, Any], shard: str, start: int, length: int) -> list[bool] | None:
    """Return which of some tokens of a shard count as targets; None where nothing is masked."""
    if not masks_of(manifest):
        return None
    first, end = start // 8, (start + length + 7) // 8
    content = np.fromfile(folder / mask_name(shard), np.uint8, end - first, offset=first)
    bits = np.unpackbits(content, bitorder="little")[start - 8 * first :][:length]
    return [bool(bit) for bit in bits]
