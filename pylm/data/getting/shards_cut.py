"""A slice of token shards that were made ready: whole shards as published, and the last one cut after a document."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.getting import manifest
from pylm.data.getting.amount import Amount
from pylm.data.getting.whole import described
from pylm.durable import flush_folder
from pylm.errors import DataError

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found
    from pylm.data.fetching import RemoteFile
    from pylm.tokenizer.report import Report

__all__ = ["cut_shards"]

HEADER = 256 * 4  # llm.c's: magic, version, tokens, and zeros
MAGIC, VERSION = 20240520, 1
END = 50256  # GPT-2's end of text, which stands before each document


def cut_shards(
    parts: Sequence[Found],
    folder: Path,
    amount: Amount,
    *,
    xet: bool,
    progress: Report | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fetch the shards whose documents reach an amount of tokens; return what the manifest says of them.

    A document is its end of text, which stands before it, and its tokens.
    """
    from pylm.data.fetching import fetch

    files, total = [], 0
    for file in parts[0].read:
        held = _tokens(file)
        end = None
        if total + held >= amount.number:
            end = _first_border(file, held, amount.number - total)
        if end is None:
            path = fetch(file, folder / file.path, progress=progress, xet=xet)
            files.append(described(file, path, file.path))
            total += held
            continue
        if end:
            path = _cut(file, folder / file.path, end)
            files.append(
                manifest.of_file(file.path, path.stat().st_size, {"sha256": manifest.sha256_of(path)}, file.name)
            )
            total += end
        break
    if total < amount.number:
        say(f"{parts[0].entry.name} has no more than {total:,} tokens: all of them are here")
    last = {"file": files[-1]["path"], "tokens": total}
    return {"files": files, "slice": {"unit": "tokens", "limit": amount.number, "reached": total, "last": last}}


def _tokens(file: RemoteFile) -> int:
    """Return how many tokens a shard holds, as its header says."""
    header = file.read(0, min(12, file.size or 12))
    magic, version, tokens = (int.from_bytes(header[at : at + 4], "little") for at in (0, 4, 8))
    if (magic, version) != (MAGIC, VERSION) or file.size != HEADER + 2 * tokens:
        raise DataError(f"{file.name} is no shard of llm.c's", "its publisher may have changed it: get it whole")
    return tokens


def _first_border(file: RemoteFile, held: int, least: int) -> int | None:
    """Return where the first document begins at or after a token of a shard; None where none does."""
    import numpy as np

    step = 1 << 20
    for start in range(least, held, step):
        block = file.read(HEADER + 2 * start, 2 * min(step, held - start))
        found = np.flatnonzero(np.frombuffer(block, "<u2") == END)
        if len(found):
            return start + int(found[0])
    return None


def _cut(file: RemoteFile, path: Path, end: int) -> Path:
    """Write the first tokens of a shard as a shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    header = b"".join(number.to_bytes(4, "little") for number in (MAGIC, VERSION, end))
    with partial.open("wb") as out:
        out.write(header.ljust(HEADER, b"\0"))
        step = 1 << 24
        for start in range(HEADER, HEADER + 2 * end, step):
            out.write(file.read(start, min(step, HEADER + 2 * end - start)))
        out.flush()
        os.fsync(out.fileno())
    if path.exists() and manifest.sha256_of(path) != manifest.sha256_of(partial):
        partial.unlink()
        raise DataError(f"{path} is there, and is something else", "move it away: nothing is overwritten")
    os.replace(partial, path)
    flush_folder(path.parent)
    return path
