"""Whether files are as a manifest lists them: dataset.json of what was got."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pylm.data.fetching.checksum import Checksum
from pylm.data.fetching.remote_file import blocks_of

__all__ = ["verify_files"]


def verify_files(
    folder: Path, listed: Sequence[Mapping[str, Any]], progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Read every byte of the files that are listed and say what is wrong: `problems` names file and fault.

    Args:
        folder: Where they lie.
        listed: Their `path`, `size` and `sha256` or `git_sha1`.
        progress: Called with the bytes read and all of them.
    """
    total = sum(one["size"] for one in listed)
    problems = []
    before = 0
    for one in listed:
        fault = _fault(folder, one, before, total, progress)
        if fault is not None:
            problems.append({"file": one["path"], "what": fault})
        before += one["size"]
    return {"files": len(listed), "bytes": total, "problems": problems}


def _fault(
    folder: Path, one: Mapping[str, Any], before: int, total: int, progress: Callable[[int, int], object] | None
) -> str | None:
    path = folder / one["path"]
    if not path.resolve().is_relative_to(folder.resolve()):
        return "the manifest lists a file that lies outside of the folder"
    if not path.is_file():
        return "the file is gone"
    size = path.stat().st_size
    if size != one["size"]:
        return f"the file has {size:,} bytes, and {one['size']:,} were written"
    checksum = Checksum(one["path"], size, one.get("sha256"), one.get("git_sha1"))
    for block in blocks_of(path):
        checksum.update(block)
        before += len(block)
        if progress is not None:
            progress(before, total)
    return None if checksum.is_right() else f"another content: its {checksum.kind} is not {checksum.published}"
