"""Documents of token files: where each one begins and how long it is, counted over all of the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm import _rust
from pylm.data.folder import WIDTHS, masks_of
from pylm.errors import DataError
from pylm.wording import param

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LLMC_HEADER", "Documents", "TokenFile", "between", "is_ours", "joined", "of_manifest"]

TokenFile = tuple[str, int, str, int]  # path, bytes before the ids, uint16 or uint32, tokens: as Rust takes them
LLMC_HEADER = 1024


@dataclass(frozen=True)
class Documents:
    """Documents, each by its first token and how many it has."""

    files: tuple[TokenFile, ...]
    starts: NDArray[np.uint64]
    lengths: NDArray[np.uint64]

    @property
    def tokens(self) -> int:
        """How many tokens they have together."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.starts)

    def only(self, which: NDArray[Any]) -> Documents:
        """Return those that an array of numbers or of yes and no chooses, in its order."""
        return replace(self, starts=self.starts[which], lengths=self.lengths[which])

    def hashes(self, progress: Callable[[int], object] | None = None) -> NDArray[np.uint64]:
        """Return a hash of each one's ids, which depends on nothing else."""
        return _rust.hash_documents(self.files, self.starts, self.lengths, progress)

    def last_id(self) -> int | None:
        """Return the last token of the last one, None where there is none."""
        if not len(self) or not self.lengths[-1]:
            return None
        at = int(self.starts[-1] + self.lengths[-1]) - 1
        for path, base, dtype, tokens in self.files:
            if at < tokens:
                return int(np.fromfile(path, f"<u{WIDTHS[dtype]}", 1, offset=base + at * WIDTHS[dtype])[0])
            at -= tokens
        return None


def is_ours(path: Path) -> bool:
    """Say whether a folder is of `pylm tokenize` or of what makes such folders, be it finished or not."""
    return (path / "manifest.json").is_file() or (path / "job.json").is_file()


def between(files: Sequence[TokenFile], starts: NDArray[Any]) -> Documents:
    """Return the documents that begin at `starts`, each of which ends where the next begins."""
    total = sum(file[3] for file in files)
    return Documents(tuple(files), starts.astype(np.uint64), np.diff(starts, append=total).astype(np.uint64))


def joined(several: Sequence[Documents]) -> Documents:
    """Return the documents of several, one after another."""
    begins = np.cumsum([0, *(sum(file[3] for file in one.files) for one in several)]).astype(np.uint64)
    return Documents(
        tuple(file for one in several for file in one.files),
        np.concatenate([one.starts + begin for one, begin in zip(several, begins[:-1], strict=True)]),
        np.concatenate([one.lengths for one in several]),
    )


def of_manifest(folder: Path, manifest: dict[str, Any], split: str) -> Documents:
    """Return the documents of a split of token shards; refuse examples, of which a mask says what is learned."""
    if masks_of(manifest):
        raise DataError(
            f"{folder} holds examples, and what is learned of each would be lost",
            f"{param('val')} holds some out when they are written; data.mix of a training takes folders by weight",
        )
    base = LLMC_HEADER if manifest.get("header") == "llmc" else 0
    width = WIDTHS[manifest["dtype"]]
    files: list[TokenFile] = []
    starts, total = [np.zeros(0, np.uint64)], 0
    for shard in manifest["splits"].get(split, {"shards": []})["shards"]:
        path, tokens = folder / shard["file"], shard["tokens"]
        if not path.is_file() or path.stat().st_size != base + tokens * width:
            raise _damaged(path, folder)
        here = index(path.with_suffix(".idx"), tokens, folder)
        # a document that began in the shard before has its start there
        starts.append(here[int(shard.get("starts_inside", False)) :] + np.uint64(total))
        files.append((str(path), base, manifest["dtype"], tokens))
        total += tokens
    return between(files, np.concatenate(starts))


def index(path: Path, tokens: int, folder: Path) -> NDArray[np.uint64]:
    """Return the starts that lie in an index beside a shard of so many tokens."""
    entries = np.fromfile(path, "<u8") if path.is_file() else np.zeros(0, np.uint64)
    if len(entries) < 1 or entries[0] != 0 or entries[-1] != tokens or (entries[1:] < entries[:-1]).any():
        raise _damaged(path, folder)
    return entries[:-1].astype(np.uint64)


def _damaged(path: Path, folder: Path) -> DataError:
    return DataError(f"{path} is not what its manifest says", f"pylm data verify {folder} says what is wrong")
