"""Batches for training, from token shards: gathered ahead of the loop by threads, or any step alone."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pylm import _native
from pylm.data.folder import WIDTHS, files_of_split, masks_of, read_manifest, refuse_text
from pylm.data.masks import mask_name
from pylm.errors import DataError, UsageError
from pylm.wording import param

__all__ = ["Batch", "Document", "Loader", "find_shards"]

WINDOWS = ("contiguous", "packed")
MOST_THREADS = 256

_Shard = tuple[str, int, int, str, str]  # path, bytes a token, tokens, index and mask, as C++ takes them


@dataclasses.dataclass(frozen=True)
class Batch:
    """One step's share of one rank; the arrays of an iterated batch are overwritten once two more have been taken."""

    inputs: npt.NDArray[Any]  # [rows, context_length]
    targets: npt.NDArray[Any]  # the next token of each input; -100 where there is none, or a mask leaves it out
    cu_seqlens: npt.NDArray[np.int32] | None = None  # packed: segment starts over the flattened batch, then its size


@dataclasses.dataclass(frozen=True)
class Document:
    """A piece of a document that a batch holds."""

    shard: str
    index: int | None  # its number in the shard; None where the shard has no index of documents
    start: int  # the first token of the piece, counted from the shard's start
    text: str | None  # None where no tokenizer lies beside the shards
    counts: tuple[tuple[int, int], ...] | None = None  # tokens that count as targets, from where to where in the shard


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """The shards that one name of the mix stands for."""

    name: str
    shards: list[_Shard]
    vocab_size: int  # 0 where nothing says
    tokenizer: Path | None
    together: int = 1  # documents in a row that belong together, as the two answers of a pair do


class Loader:
    """Batches of token windows as a pure function of (seed, step, rank, world).

    Where masks lie beside the shards, what does not count as a target is -100, and examples of one length trade places
    from epoch to epoch, so that packed windows differ. The two answers of a pair stay beside each other in one window.

    Threads may share one: each batch goes to one of them, and `close` or `seek` from another ends a wait with an error.
    A batch's memory serves again once two more have been taken, by whichever thread: copy what is kept for longer.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | Mapping[str, float],
        context_length: int,
        batch_size: int,
        *,
        split: str = "train",
        seed: int = 1337,
        rank: int = 0,
        world: int = 1,
        window: str = "contiguous",
        stride: int | None = None,
        dtype: str = "int64",
        allocate: Callable[[tuple[int, int], str], Any] | None = None,
        threads: int = 1,
        depth: int = 4,
    ) -> None:
        """Open and check every shard.

        Args:
            data: a folder of shards, a file of tokens, or such names with weights that sum to 1.
            context_length: tokens of a window.
            batch_size: sequences of one optimizer step, over all ranks; a batch holds this rank's share.
            split: which of a folder's files: by the words of their names where no manifest says it, and then what has a
                word for held out text is never training data.
            seed: what the order depends on; the same for every rank.
            rank: this process.
            world: how many processes share each batch.
            window: "contiguous" cuts the stream of tokens every `stride`; "packed" fits whole documents together and
                returns where they start.
            stride: distance of contiguous windows; context_length unless given.
            dtype: of inputs and targets, int64 or int32.
            allocate: makes the memory of the ring, called with (shape, dtype); numpy's unless given.
            threads: how many gather batches ahead.
            depth: batches in the ring; two of them are the loop's, the others are filled ahead.
        """
        if window not in WINDOWS:
            raise UsageError(f"window is {window!r}", f"choose {' or '.join(WINDOWS)}")
        if window == "packed" and stride is not None:
            raise UsageError("packed windows have no stride", "leave stride out")
        if dtype not in ("int64", "int32"):
            raise UsageError(f"dtype is {dtype!r}", "inputs are int64 or int32")
        whole = {"context_length": context_length, "batch_size": batch_size, "rank": rank, "world": world}
        whole |= {"threads": threads, "depth": depth, "seed": seed, "stride": 1 if stride is None else stride}
        for name, value in whole.items():
            _check_whole(name, value)
        if not 0 <= seed < 2**64:
            raise UsageError(f"seed is {seed}", "a seed is 0 or more and below 2**64")
        if depth < 3:
            raise UsageError(f"depth is {depth}", "a ring has 3 batches or more")
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads is {threads}", f"from 1 to {MOST_THREADS} gather batches")
        mix = dict(data) if isinstance(data, Mapping) else {os.fspath(data): 1.0}
        self._datasets = [find_shards(name, split) for name in mix]
        together = {found.together for found in self._datasets}
        if len(together) > 1:
            raise DataError(f"{', '.join(mix)} are pairs of answers in part", "pairs are trained on alone")
        self.pairs = together == {2}
        self._batches = _native.Batches(
            [
                (found.name, float(weight), found.vocab_size, found.shards)
                for found, weight in zip(self._datasets, mix.values(), strict=True)
            ],
            context_length=context_length,
            batch_size=batch_size,
            stride=context_length if stride is None else stride,
            packed=window == "packed",
            seed=seed,
            rank=rank,
            world=world,
            together=max(together),
        )
        of_all = functools.partial(
            Loader, data, context_length, batch_size, split=split, seed=seed, window=window, stride=stride
        )
        self._of_all = of_all if world > 1 else None
        self._packed = window == "packed"
        self._shape = (self._batches.rows, context_length)
        self._dtype = dtype
        self._seed = seed
        self._batch_size = batch_size
        self._allocate = allocate or np.zeros
        self._threads = threads
        self._slots: list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int32] | None]] = []
        self._depth = depth
        self._ring: _native.Ring | None = None
        self._step = 0
        self._lock = threading.RLock()  # of the ring and the step; a signal's handler may close while its thread waits

    @property
    def windows(self) -> int:
        """How many windows there are, over all datasets: an epoch of one dataset gives each of its windows once."""
        return sum(self._batches.windows)

    @property
    def tokens(self) -> int:
        """How many tokens there are, over all datasets."""
        return sum(self._batches.tokens)

    @property
    def epoch(self) -> int:
        """How often the dataset (of a mix: the first one of the next batch) has been gone through."""
        return self._batches.places(self._step)[0][1]

    def of_all(self) -> Loader:
        """Return a loader whose batches hold what those of all ranks do."""
        return self if self._of_all is None else self._of_all()

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, in memory of its own; asking for one changes nothing."""
        inputs, targets, starts = self._memory(np.zeros)
        count = self._batches.fill(step, inputs, targets, starts, threads=0)
        return Batch(inputs, targets, None if starts is None else starts[:count])

    def __iter__(self) -> Loader:
        """Return the batches from the current step on, without end."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch, from the ring."""
        with self._lock:
            if self._ring is None:
                if not self._slots:
                    self._slots = [self._memory(self._allocate) for _ in range(self._depth)]
                self._ring = _native.Ring(self._batches, self._slots, self._threads, self._step)
            slot, count = self._ring.take()
            self._step += 1
        inputs, targets, starts = self._slots[slot]
        return Batch(inputs, targets, None if starts is None else starts[:count])

    def state(self) -> dict[str, int]:
        """Return what resumes the order exactly: three integers."""
        return {"seed": self._seed, "step": self._step, "batch_size": self._batch_size}

    def seek(self, step: int | Mapping[str, int]) -> None:
        """Go on from a step, or from a `state()` of a loader with the same seed and batch size."""
        if isinstance(step, Mapping):
            for key, mine in (("seed", self._seed), ("batch_size", self._batch_size)):
                if step[key] != mine:
                    raise UsageError(
                        f"the saved loader had {key} {step[key]}, this one has {mine}",
                        f"resume with {key} {step[key]}",
                    )
            step = step["step"]
        if step < 0:
            raise UsageError(f"step {step} is out of range", "steps count from 0")
        self._stop(step)

    def pieces(self, step: int) -> list[tuple[int, int, int, int, int, int]]:
        """Return the pieces of documents that a batch holds, in order.

        Of each: row, dataset, shard, number of the document (below 0 without an index), start, length.
        """
        return self._batches.excerpts(step)

    def why(self, step: int) -> list[Document]:
        """Return the pieces of documents that this rank's batch of a step holds, in order."""
        documents = []
        decoders: dict[int, Callable[[list[int]], str] | None] = {}
        for _row, dataset, shard, index, start, length in self._batches.excerpts(step):
            if dataset not in decoders:
                decoders[dataset] = _decoder(self._datasets[dataset].tokenizer)
            decode = decoders[dataset]
            text = decode(self._batches.read(dataset, shard, start, length).tolist()) if decode else None
            path = self._datasets[dataset].shards[shard][0]
            counts = _spans(self._batches.mask(dataset, shard, start, length), start)
            documents.append(Document(path, None if index < 0 else index, start, text, counts))
        return documents

    def close(self) -> None:
        """Stop the threads; the loader goes on where it stood when it is used again."""
        self._stop(None)

    def _stop(self, step: int | None) -> None:
        """End the ring, and go on from a step where one is given."""
        if (ring := self._ring) is not None:
            ring.close()  # before the lock, which a thread that waits for a batch holds until this wakes it
        with self._lock:
            if self._ring is not None:
                self._ring.close()
                self._ring = None
            if step is not None:
                self._step = step

    def __repr__(self) -> str:
        """Say what is read, in which windows, and where the loader stands."""
        names = ", ".join(found.name for found in self._datasets)
        rows, length = self._shape
        return (
            f"<Loader {names}: {self.windows:,} windows of {length:,}, {rows:,} a batch; at step {self._step:,}, "
            f"epoch {self.epoch}>"
        )

    def _memory(
        self, allocate: Callable[[tuple[int, int], str], Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int32] | None]:
        """Return fresh arrays for inputs and targets and, for packed windows, starts."""
        pair = []
        for name in ("inputs", "targets"):
            made = np.asarray(allocate(self._shape, self._dtype))
            if made.shape != self._shape or made.dtype != self._dtype:
                raise UsageError(
                    f"allocate gave {made.dtype} of shape {made.shape} for {name}",
                    f"it must give {self._dtype} of shape {self._shape}",
                )
            pair.append(made)
        starts = np.zeros(self._shape[0] * self._shape[1] + 1, np.int32) if self._packed else None
        return pair[0], pair[1], starts


def _spans(mask: npt.NDArray[np.bool_] | None, start: int) -> tuple[tuple[int, int], ...] | None:
    """Return from where to where a mask that begins at `start` is set; None where there is none."""
    if mask is None:
        return None
    borders = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)) + start
    return tuple((int(begin), int(end)) for begin, end in borders.reshape(-1, 2))


def _check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number, or one that no machine counts to."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise UsageError(f"{name} is {value!r}", f"{name} is a whole number")
    if name != "seed" and not -(2**63) <= operator.index(value) < 2**63:
        raise UsageError(f"{name} is {value}", f"{name} is a whole number below 2**63")


def _decoder(tokenizer: Path | None) -> Callable[[list[int]], str] | None:
    """Return what turns ids into text, None where no tokenizer is known."""
    if tokenizer is None:
        return None
    from pylm.tokenizer import Tokenizer

    decode: Callable[[list[int]], str] = Tokenizer.load(str(tokenizer)).decode
    return decode


def find_shards(name: str, split: str) -> _Dataset:
    """Return the shards that a name stands for."""
    path = Path(name)
    _printable(path)
    if path.is_file():
        refuse_text(path)
        return _Dataset(name, [(str(path), 0, -1, _index_beside(path), "")], 0, _tokenizer_in(path.parent))
    if not path.is_dir():
        raise DataError(
            f"{name}: no such folder or file", "name a folder that pylm tokenize wrote, or a file of tokens"
        )
    manifest = read_manifest(path)
    if manifest is not None:
        return _from_manifest(path, manifest, split)
    files = files_of_split(path, split)
    if not files:
        raise DataError(
            f"{name}: no manifest.json and no {split}*.bin or .npy in it", "name a folder that pylm tokenize wrote"
        )
    for file in files:
        _printable(file)
    return _Dataset(name, [(str(file), 0, -1, _index_beside(file), "") for file in files], 0, _tokenizer_in(path))


def _printable(path: Path) -> None:
    """Refuse a name that is no UTF-8: what is read of a run names its shards."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of {shown} is not UTF-8", "give it another name, or link to it by one") from None


def _from_manifest(folder: Path, manifest: dict[str, Any], split: str) -> _Dataset:
    """Return the shards of a folder that pylm tokenize wrote."""
    width = WIDTHS[manifest["dtype"]]
    listed = manifest["splits"].get(split, {"shards": []})["shards"]
    places = [(folder / shard["file"], shard["tokens"]) for shard in listed]
    masks = masks_of(manifest)
    shards = [
        (str(place), width, tokens, str(place.with_suffix(".idx")), _mask_beside(place, masks))
        for place, tokens in places
    ]
    if not shards:
        raise DataError(
            f"{folder}: its manifest lists no shard of split {split!r}", f"pylm tokenize {param('val')} makes one"
        )
    together = 2 if (manifest.get("made") or {}).get("kind") == "pairs" else 1
    return _Dataset(str(folder), shards, manifest["vocab_size"], _tokenizer_in(folder), together)


def _mask_beside(shard: Path, masks: Mapping[str, Any]) -> str:
    """Return the mask of a shard, empty where its manifest lists none."""
    name = mask_name(shard.name)
    return str(shard.with_name(name)) if name in masks else ""


def _index_beside(path: Path) -> str:
    """Return our index of document starts beside a shard, empty where there is none.

    Megatron's index has a magic of its own.
    """
    index = path.with_suffix(".idx")
    if not index.is_file():
        return ""
    with index.open("rb") as file:
        return "" if file.read(7) == b"MMIDIDX" else str(index)


def _tokenizer_in(folder: Path) -> Path | None:
    path = folder / "tokenizer.json"
    return path if path.is_file() else None
