"""Checkpoints of several ranks: each writes what it holds, and the first makes one of it."""

from __future__ import annotations

import math
import os
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pylm.checkpoint.directory import AVERAGE, MANIFEST, PARTIAL, begun, manifest_of, name_as, write, write_documents
from pylm.checkpoint.saver import Saver
from pylm.checkpoint.sharded import OPTIMIZER, WEIGHTS, join, shard_file, write_shard
from pylm.checkpoint.tensors import Tensor
from pylm.durable import flush_folder, write_text
from pylm.errors import CheckpointError

__all__ = ["Gather", "ShardedSaver"]

Gather = Callable[[Sequence[int]], list[list[int]]]  # gives each rank the numbers of all, in the order of the ranks
Share = tuple[Path, int, Mapping[str, Tensor]]  # folder, kind, tensors
WORDS = "<4q"  # a hash as numbers of 64 bits
SENTENCE = 128  # such numbers that say why a rank failed: names of files are 1,000 bytes at most
FACTS = 5  # the size of a file and those


class ShardedSaver(Saver):
    """The writer of a run's checkpoints on one of several ranks; all of them call the same, in the same order.

    A checkpoint gets its name, and `last` moves, once every rank has said that its files are durable. Where one of
    them could not write, there is no checkpoint, and all raise.
    """

    def __init__(
        self,
        run: Path,
        keep_last: int,
        config: str,
        texts: Mapping[str, str],
        *,
        rank: int,
        gather: Gather,
        consolidates: bool = True,
    ) -> None:
        """Keep what is the same in every checkpoint of a run.

        Args:
            run: its folder, on a disk that all ranks share.
            keep_last: how many checkpoints stay beside the best.
            config: the resolved configuration as YAML.
            texts: further files, such as `tokenizer.json`.
            rank: this one's, counted from 0.
            gather: is called in the thread that writes, so nobody else may use its group.
            consolidates: whether the usual folder is made of the shards at once.
        """
        super().__init__(run, keep_last, config, texts)
        self.rank, self._gather, self._consolidates = rank, gather, consolidates

    def mend(self) -> None:
        """Do what a writer that was killed left undone; the others wait for the first rank."""
        self._first("mend the run's folder", super().mend)

    def point_best(self, step: int) -> None:
        """Let `best` name a step that is saved, or being saved."""
        if self.rank == 0:
            super().point_best(step)
        else:
            self.wait()

    def _settle(self, step: int, best: bool) -> None:
        self._first("keep its last checkpoints", lambda: super(ShardedSaver, self)._settle(step, best))

    def _make(
        self,
        path: Path,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        average: Mapping[str, Tensor],
    ) -> None:
        """Write what this rank holds; the first makes the checkpoint of what all have written, or nothing is left."""
        [(process, token), *_] = self._together(f"begin {path.name}", 2, lambda: self._begin(path))
        partial = path.parent / f"{PARTIAL}{path.name}-{process}-{token:08x}"
        shares = ((partial, WEIGHTS, weights), (partial, OPTIMIZER, optimizer), (partial / AVERAGE, WEIGHTS, average))
        try:
            told = self._together(
                f"write its shard of {path.name}",
                FACTS * len(shares),
                lambda: self._write_shares(path, partial, shares),
            )
            self._first(f"make {path.name} of the shards", lambda: self._make_one(path, partial, told, state))
        finally:
            if self.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)

    def _begin(self, path: Path) -> tuple[int, int]:
        """Make the folder that the shards are written to, on the first rank, and return what its name ends with."""
        if self.rank:
            return 0, 0
        self._check_folder()
        _, process, token = begun(path).name.rsplit("-", 2)
        return int(process), int(token, 16)

    def _write_shares(self, path: Path, partial: Path, shares: Sequence[Share]) -> list[int]:
        """Write what this rank holds of a checkpoint, and return what there is to know of its files."""
        try:
            return [fact for share in shares for fact in self._write_share(*share)]
        except OSError as error:
            name_as(path, partial, error)
            raise

    def _write_share(self, folder: Path, kind: int, tensors: Mapping[str, Tensor]) -> list[int]:
        """Write a file of this rank's, flushed, and return its size and hash as numbers; zeros where it holds nothing.

        The rows of a small tensor may all be others'.
        """
        if not any(math.prod(tensor.shape) for tensor in tensors.values()):
            return [0] * FACTS
        folder.mkdir(exist_ok=True)
        path = folder / shard_file(self.rank, kind)
        digest = bytes.fromhex(write_shard(path, tensors))
        flush_folder(folder)
        return [path.stat().st_size, *struct.unpack(WORDS, digest)]

    def _make_one(self, path: Path, partial: Path, told: Sequence[Sequence[int]], state: Mapping[str, Any]) -> None:
        """Make a checkpoint of the files that the ranks told of."""
        weights, optimizer, average = (
            self._files(folder, kind, [facts[at * FACTS :][:FACTS] for facts in told])
            for at, (folder, kind) in enumerate(
                ((partial, WEIGHTS), (partial, OPTIMIZER), (partial / AVERAGE, WEIGHTS))
            )
        )
        if self._consolidates:
            write(
                path,
                weights=join(partial, weights, WEIGHTS),
                optimizer=join(partial, optimizer, OPTIMIZER),
                state=state,
                config=self.config,
                texts=self.texts,
                average=join(partial / AVERAGE, average, WEIGHTS),
            )
            return
        hashes = weights | optimizer | write_documents(partial, state, self.config, self.texts)
        write_text(partial / MANIFEST, manifest_of(partial, hashes))
        flush_folder(partial)
        partial.rename(path)
        flush_folder(path.parent)

    def _files(self, folder: Path, kind: int, told: Sequence[Sequence[int]]) -> dict[str, str]:
        """Return the hashes of the ranks' files of a kind by name, each of which has to be here, as it was told of."""
        hashes = {}
        for rank, (size, *words) in enumerate(told):
            path = folder / shard_file(rank, kind)
            if size and not (path.exists() and path.stat().st_size == size):
                raise CheckpointError(
                    f"rank {rank} has written {path}, and here it is not",
                    "the run's folder has to be on a disk that all machines share",
                )
            if size:
                hashes[path.name] = struct.pack(WORDS, *words).hex()
        return hashes

    def _first(self, what: str, work: Callable[[], object]) -> None:
        """Have the first rank do something while the others wait."""
        self._together(what, 0, lambda: (work(), ())[1] if self.rank == 0 else ())

    def _together(self, what: str, count: int, work: Callable[[], Sequence[int]]) -> list[list[int]]:
        """Do this rank's part, and return the numbers of all; where one of them failed, all raise what it failed by.

        Args:
            what: is done, for the sentence of those that did not fail.
            count: how many numbers each rank tells.
            work: does the part, and returns the numbers.
        """
        numbers, failed = [0] * count, None
        try:
            numbers = list(work())
        except BaseException as error:  # noqa: BLE001 - raised once the others know
            failed = error
        told = self._gather([failed is not None, *numbers])
        failing = [rank for rank, (bad, *_) in enumerate(told) if bad]
        if failing:
            said = self._gather(_as_numbers(failed))[failing[0]]
            raise failed or _as_error(said, f"rank {failing[0]}", what)
        return [numbers for _, *numbers in told]


def _as_numbers(error: BaseException | None) -> list[int]:
    """Return an error as numbers of 64 bits: what the system calls it, and what it says or which file it is about."""
    number = (error.errno if isinstance(error, OSError) else 0) or 0
    said = error.filename if number and isinstance(error, OSError) else error
    text = str(said or "").encode()[-8 * SENTENCE :].ljust(8 * SENTENCE)
    return [number, *struct.unpack(f"<{SENTENCE}q", text)]


def _as_error(numbers: Sequence[int], who: str, what: str) -> Exception:
    """Return the error of another rank that could not do something."""
    number, *words = numbers
    said = struct.pack(f"<{SENTENCE}q", *words).decode(errors="ignore").rstrip()
    if number:  # such as a full disk, of which more can be said where the run is known
        return OSError(number, os.strerror(number), f"{who}: {said}")
    return CheckpointError(f"{who} could not {what}: {said}")
