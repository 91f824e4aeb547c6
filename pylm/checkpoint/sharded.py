"""Checkpoints that several ranks write together: each its rows of every tensor, in files of its own.

    step_500/shard-00001-model-00001-of-00002.safetensors   the first rank's rows of the weights
    step_500/shard-00001-model-00002-of-00002.safetensors   and of the optimizer's tensors

The files are those of torch.distributed.checkpoint's Hugging Face writer, which torch reads, and joins, too. They are
written here because its writer holds the bytes of a file twice more (386 MB for one of 192), takes three times as long
until the hash is known, and has ranks agree by pickled objects. Whatever their number was, any number reads them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pylm.checkpoint.tensors import ITEM_BYTES, Tensor, damaged, read_described, write_tensors
from pylm.errors import CheckpointError
from pylm.wording import call

__all__ = ["OPTIMIZER", "SHARD", "WEIGHTS", "Joined", "Piece", "join", "not_whole", "shard_file", "write_shard"]

SHARD = re.compile(r"shard-([0-9]{5,9})-model-0000([12])-of-00002\.safetensors\Z")
WEIGHTS, OPTIMIZER = 1, 2  # what a file is of, in its name
INFO, OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # torch's words: where in the whole a piece begins


@dataclass(frozen=True)
class Piece(Tensor):
    """Rows of a tensor, which others have the rest of."""

    first: int = 0  # the row of the whole that its rows begin with


def shard_file(rank: int, kind: int) -> str:
    """Return the name of the file that a rank, counted from 0, writes."""
    return f"shard-{rank + 1:05}-model-{kind:05}-of-00002.safetensors"


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a rank's pieces, flush them to the disk and return the hash of the file; a whole tensor is one piece."""
    kept = {name: tensor for name, tensor in tensors.items() if math.prod(tensor.shape)}
    offsets = {name: {OFFSETS: _offsets(tensor)} for name, tensor in kept.items()}
    return write_tensors(path, kept, {INFO: json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"})


def _offsets(tensor: Tensor) -> list[int]:
    first = tensor.first if isinstance(tensor, Piece) else 0
    return [first, *[0] * (len(tensor.shape) - 1)] if tensor.shape else []


class Joined(Tensor):
    """A tensor of which each rank wrote some rows; read from their files when it is used."""

    def __init__(self, dtype: str, shape: tuple[int, ...], pieces: Sequence[Tensor]) -> None:
        """Keep the pieces, in order."""
        vars(self).update(dtype=dtype, shape=shape)
        self.pieces = tuple(pieces)

    def parts(self) -> Iterable[memoryview]:
        """Yield its bytes, a rank's after another's."""
        return (piece.data for piece in self.pieces)

    @property
    def data(self) -> memoryview:
        """All its bytes: copied, where they are in several files."""
        return self.pieces[0].data if len(self.pieces) == 1 else memoryview(b"".join(self.parts()))

    def rows(self, first: int, stop: int) -> Tensor:
        """Return rows of it, of which no more is read."""
        width = ITEM_BYTES[self.dtype] * math.prod(self.shape[1:])
        cut, at = [], 0
        for piece in self.pieces:
            low, high = max(first - at, 0), min(stop - at, piece.shape[0])
            if low < high:
                cut.append(piece.data[low * width : high * width])
            at += piece.shape[0]
        data = cut[0] if len(cut) == 1 else b"".join(cut)
        return Tensor.of(self.dtype, (stop - first, *self.shape[1:]), data)


def join(folder: Path, names: Iterable[str], kind: int) -> dict[str, Tensor]:
    """Return the tensors whose pieces lie in a folder, mapped from their files.

    Args:
        folder: where the shards are.
        names: those of all files that count; others are left alone.
        kind: WEIGHTS or OPTIMIZER.
    """
    found: dict[str, list[tuple[int, Tensor]]] = {}
    for name in sorted(names):
        if (match := SHARD.fullmatch(name)) and int(match[2]) == kind:
            for tensor, first, piece in _pieces(folder / name):
                found.setdefault(tensor, []).append((first, piece))
    return {name: _joined(folder, name, pieces) for name, pieces in sorted(found.items())}


def _pieces(path: Path) -> Iterator[tuple[str, int, Tensor]]:
    """Yield the pieces in a file by name, each with the row that it begins with."""
    tensors, metadata = read_described(path)
    try:
        told = json.loads(metadata[INFO])
        for name, tensor in tensors.items():
            first, *others = told[name][OFFSETS] if tensor.shape else (0,)
            if type(first) is not int or first < 0 or any(others) or len(others) != max(len(tensor.shape) - 1, 0):
                raise ValueError(f"{name} begins at {told[name][OFFSETS]}")
            yield name, first, tensor
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"it does not say where its pieces begin ({error})") from None


def _joined(folder: Path, name: str, pieces: list[tuple[int, Tensor]]) -> Joined:
    """Return the tensor that pieces make, which must follow each other and be alike."""
    pieces.sort(key=lambda piece: piece[0])
    begin, like = 0, pieces[0][1]
    for first, piece in pieces:
        if first != begin or piece.dtype != like.dtype or piece.shape[1:] != like.shape[1:]:
            raise damaged(
                folder, f"the pieces of {name} do not make a tensor: {begin} is next, and one begins at {first}"
            )
        begin += piece.shape[0] if piece.shape else 1
    return Joined(like.dtype, (begin, *like.shape[1:]) if like.shape else (), [piece for _, piece in pieces])


def not_whole(folder: Path) -> CheckpointError | None:
    """Return the error for a checkpoint that is still in shards, where somebody wants its weights whole; else None."""
    try:
        shards = [entry.name for entry in os.scandir(folder) if SHARD.fullmatch(entry.name)]
    except OSError:
        return None
    if not shards:
        return None
    ranks = len({SHARD.fullmatch(name)[1] for name in shards})  # type: ignore[index]
    return CheckpointError(
        f"{folder} is in shards, as {ranks} rank{'s' if ranks > 1 else ''} wrote them",
        call("checkpoint consolidate", folder) + " makes it whole",
    )
