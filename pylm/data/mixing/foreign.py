"""Documents of token files that others wrote: llm.c's, nanoGPT's, numpy's and Megatron's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.data.folder import HELD_OUT, TOKEN_FILES, WIDTHS, files_of_split, refuse_text
from pylm.data.mixing.documents import LLMC_HEADER, Documents, TokenFile, between, index
from pylm.errors import DataError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Foreign", "of_foreign"]

# magic: how ids are stored, the version, and the token that stands before each document: GPT-2's, Llama 3's
LLMC = {20240520: ("uint16", 1, 50256), 20240801: ("uint32", 7, 128000)}
MEGATRON = b"MMIDIDX\0\0"
MEGATRON_HEADER = 34  # magic, version, type, sequences, documents
MEGATRON_TYPES = {8: "uint16", 4: "uint32"}
STEP = 1 << 24  # tokens that are looked through at once


@dataclass(frozen=True)
class Foreign:
    """Documents of others, with how their files begin and the folder that may have their tokenizer."""

    documents: Documents
    header: str  # as a manifest would say it
    dtype: str
    folder: Path


@dataclass(frozen=True)
class _One:
    """One file: its tokens, the starts of documents where something beside it has them, and what ends documents."""

    file: TokenFile
    starts: NDArray[np.uint64] | None = None
    header: str = "none"
    eot: int | None = None


def of_foreign(path: Path, eot: int | None, say: Callable[[str], None]) -> Foreign:
    """Return the documents of a file or folder of tokens that nobody describes.

    Args:
        path: The file, or a folder of which files for training and for validation are taken.
        eot: The id that stands between documents, where no index says where they begin.
        say: Told which files are left out.
    """
    folder = path if path.is_dir() else path.parent
    ones = [_opened(file) for file in (_files(path, say) if path.is_dir() else [path])]
    if len({(one.file[2], one.header) for one in ones}) > 1:
        raise DataError(f"the files of {path} are not stored alike", "name one of them")
    first = ones[0]
    files = [one.file for one in ones]
    if all(one.starts is not None for one in ones):
        begins = np.cumsum([0, *(file[3] for file in files)]).astype(np.uint64)
        starts = np.concatenate(
            [one.starts + begin for one, begin in zip(ones, begins, strict=False) if one.starts is not None]
        )
    else:
        starts = _borders(files, _end(path, folder, eot, first))
    return Foreign(between(files, starts), first.header, first.file[2], folder)


def _files(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Return the files of a folder: those of training, those of validation, else all that are for neither."""
    files = sorted(file for file in folder.iterdir() if file.suffix in TOKEN_FILES and file.is_file())
    named = [*files_of_split(folder, "train"), *files_of_split(folder, "val")]
    taken = named or [file for file in files if not any(word in file.stem.lower() for word in HELD_OUT)]
    if not taken:
        raise DataError(
            f"{folder} holds no token shards", "name a folder that pylm tokenize wrote, or a file of tokens"
        )
    if left := [file.name for file in files if file not in taken]:
        say(f"left out: {', '.join(left)}")
    return taken


def _opened(path: Path) -> _One:
    """Return what a file of tokens says of itself."""
    refuse_text(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
    if head[:6] == b"\x93NUMPY":
        return _numpy(path)
    magic, version, count = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (0, 4, 8))
    one = _One((str(path), 0, "uint16", size // 2))
    if magic in LLMC and version == LLMC[magic][1]:
        dtype, _, eot = LLMC[magic]
        one = _One((str(path), LLMC_HEADER, dtype, count), None, "llmc", eot)
    beside = path.with_suffix(".idx")
    if path.suffix == ".bin" and beside.is_file():
        with beside.open("rb") as file:
            is_megatron = file.read(len(MEGATRON)) == MEGATRON
        one = (
            _megatron(path, beside)
            if is_megatron
            else _One(one.file, index(beside, one.file[3], path.parent), one.header)
        )
    _, base, dtype, tokens = one.file
    if size != base + tokens * WIDTHS[dtype]:
        raise DataError(
            f"{path} has {size:,} bytes, and {tokens:,} tokens of {WIDTHS[dtype]} bytes would make "
            f"{base + tokens * WIDTHS[dtype]:,}",
            "it is cut short, or no file of tokens: copy or write it again",
        )
    return one


def _numpy(path: Path) -> _One:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} is no array of tokens: {error}", "save it as uint16, uint32 or int32") from None
    if array.ndim != 1 or array.dtype.str not in ("<u2", "<u4", "<i4"):
        raise DataError(f"{path} holds {array.dtype} of shape {array.shape}", "save one dimension of uint16 or uint32")
    return _One((str(path), array.offset, "uint16" if array.dtype.itemsize == 2 else "uint32", len(array)))


def _megatron(path: Path, beside: Path) -> _One:
    content = beside.read_bytes()
    sequences = int.from_bytes(content[18:26], "little")
    code = content[17] if len(content) > 17 else 0
    if int.from_bytes(content[9:17], "little") != 1 or code not in MEGATRON_TYPES:
        raise DataError(f"{beside} is of a version or type that is not read", "version 1 of uint16 or int32 is")
    if len(content) < MEGATRON_HEADER + 12 * sequences:
        raise DataError(f"{beside} promises {sequences:,} sequences and ends before them", "copy it again")
    lengths = np.frombuffer(content, "<i4", sequences, MEGATRON_HEADER)
    places = np.frombuffer(content, "<i8", sequences, MEGATRON_HEADER + 4 * sequences)
    dtype = MEGATRON_TYPES[code]
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    if (lengths < 0).any() or (places != starts * WIDTHS[dtype]).any():
        raise DataError(f"the sequences of {path} do not follow one another", "such files are read where they do")
    return _One((str(path), 0, dtype, int(lengths.sum(dtype=np.int64))), starts.astype(np.uint64))


def _end(path: Path, folder: Path, eot: int | None, one: _One) -> int:
    """Return the id that stands between documents: as given, as the format or the tokenizer beside has it."""
    known = one.eot if eot is None else eot
    if known is None and (folder / "tokenizer.json").is_file():
        from pylm.tokenizer import Tokenizer

        known = Tokenizer.load(folder).eot
    if known is None:
        raise UsageError(
            f"nothing says where documents of {path} end",
            f"give the id that stands between them, which is 50256 for GPT-2: {param('eot', 50256)}",
        )
    return known


def _borders(files: Sequence[TokenFile], eot: int) -> NDArray[np.uint64]:
    """Return where documents start: at their ends of text where the first token is one, as llm.c has it, else after."""
    found, total, is_before = [np.zeros(0, np.int64)], 0, False
    for number, (path, base, dtype, tokens) in enumerate(files):
        ids = np.memmap(path, f"<u{WIDTHS[dtype]}", "r", base, (tokens,)) if tokens else np.zeros(0, np.uint16)
        is_before = bool(tokens and ids[0] == eot) if number == 0 else is_before
        for at in range(0, tokens, STEP):
            found.append(np.flatnonzero(ids[at : at + STEP] == eot) + (at + total))
        total += tokens
    places = np.concatenate(found)
    if not is_before:
        places = np.concatenate([[0], places + 1])
    return places[places < total].astype(np.uint64)
