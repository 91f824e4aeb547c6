"""The processes that train one model, as they talk: sums, agreements and comparisons by tensors, never by pickle.

What decides the control flow goes over gloo, from the memory of the host, whatever the device is: there a process that
is gone is an error within milliseconds, and nobody waits for a stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore

from pylm.errors import PylmError, UsageError
from pylm.training.torch_backend.meeting import meet
from pylm.training.world import World

__all__ = ["Group", "named"]

FAILED = "failed"  # the key of the store under which the first process that fails says why
HEARD = 2.0  # seconds that a process whose neighbours are gone waits to read why
POLLS = (0.002, 0.25)  # seconds between looks at the store: the first, and the longest

Made = TypeVar("Made")


class Group:
    """All processes of a world; alone, it says at once what many would agree on."""

    def __init__(self, world: World, timeout: float = 600.0, store: Any = None) -> None:
        """Meet the others.

        Args:
            world: all of them, and which one this is.
            timeout: seconds that one waits for another before it gives up.
            store: in which they have met (meeting.meet); here they meet unless it is given.
        """
        self.world = world
        self.asked: Callable[[], int] = lambda: 0  # which signal asked this process to stop; 0: none
        self.signal = 0  # the one that all processes know of
        self._turns, self._broken = 0, False
        if world.size == 1:
            return
        cuda = torch.cuda.is_available() and dist.is_nccl_available()
        patience = timedelta(seconds=timeout)
        with self._talking():
            store = meet(world, timeout) if store is None else store
            self._store = PrefixStore("pylm", store)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=PrefixStore("torch", store),
                rank=world.rank,
                world_size=world.size,
                timeout=patience,
            )

    def rows(self, row: Sequence[float]) -> list[list[float]]:
        """Return every process's row of numbers, by rank; all of them know thereafter whether one was asked to stop."""
        mine = torch.tensor([*row, self.asked()], dtype=torch.float64)
        if self.world.size == 1:
            rows = [mine]
        else:
            rows = [torch.empty_like(mine) for _ in range(self.world.size)]
            with self._talking():
                dist.all_gather(rows, mine)
        lists: list[list[float]] = [one.tolist() for one in rows]
        asked = int(max(one.pop() for one in lists))
        self.signal = self.signal or asked
        return lists

    def agree(self, flags: Sequence[bool]) -> list[bool]:
        """Return of each flag whether any process has it set."""
        return [any(column) for column in zip(*self.rows([float(flag) for flag in flags]), strict=True)]

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Make each tensor the sum of all processes', in place."""
        if self.world.size > 1:
            with self._talking():
                for tensor in tensors:
                    dist.all_reduce(tensor)

    def exchanged(self, flat: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        """Return what all processes have for this one, [ranks, its size].

        Args:
            flat: what this process has for each, one after the other.
            sizes: of what each gets, the same everywhere.
        """
        mine = sizes[self.world.rank]
        if self.world.size == 1:
            return flat.view(1, mine)
        received = flat.new_empty(self.world.size * mine)
        with self._talking():
            dist.all_to_all_single(received, flat, [mine] * self.world.size, list(sizes))
        return received.view(self.world.size, mine)

    def returned(self, flat: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Return what each process has for this one, by rank.

        Args:
            flat: what this process has for each, [ranks, its size].
            sizes: of what each has for any of them.
        """
        if self.world.size == 1:
            return [flat.view(-1)]
        received = flat.new_empty(sum(sizes))
        with self._talking():
            dist.all_to_all_single(received, flat.reshape(-1), list(sizes), [flat.shape[1]] * self.world.size)
        return list(torch.split(received, list(sizes)))

    def gathered(self, flat: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Return what each process has, by rank; `sizes` says how much that is."""
        if self.world.size == 1:
            return [flat]
        wide = flat.new_zeros(max(sizes))
        wide[: len(flat)] = flat
        parts = [torch.empty_like(wide) for _ in sizes]
        with self._talking():
            dist.all_gather(parts, wide)
        return [part[:size] for part, size in zip(parts, sizes, strict=True)]

    def brought(self, flat: torch.Tensor, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield on the first process what each has, one at a time; the others hand theirs over, and yield nothing."""
        with self._talking():
            if not self.world.leads:
                if len(flat):
                    dist.send(flat, 0)
                return
            yield flat
            for rank in range(1, self.world.size):
                part = flat.new_empty(sizes[rank])
                if len(part):
                    dist.recv(part, rank)
                yield part

    def told(self, value: Any) -> Any:
        """Return what the first process has, as JSON would give it back; the others' value is not looked at."""
        if self.world.size == 1:
            return value
        text = json.dumps(value).encode() if self.world.leads else b""
        size = torch.tensor([len(text)])
        with self._talking():
            dist.broadcast(size, 0)
            letters = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(int(size)).byte()
            dist.broadcast(letters, 0)
        return json.loads(letters.numpy().tobytes())

    def same(self, digest: str, what: str, hint: str | None = None) -> None:
        """Refuse to go on where processes have something that differs, of which `digest` is a hash in hexadecimal."""
        first = [float(int(digest[at : at + 8], 16)) for at in range(0, 32, 8)]
        rows = self.rows(first)
        others = [rank for rank, row in enumerate(rows) if row != rows[0]]
        if others:
            raise UsageError(f"{what} of {named(others)} is not that of rank 0", hint)

    def led(self, work: Callable[[], Made], other: Made) -> Made:
        """Return what the first process makes while the others wait, however long it takes; `other` on those."""
        self._turns += 1
        key = f"turn {self._turns}"
        if not self.world.leads:
            self._wait(key)
            return other
        made = work()
        if self.world.size > 1:
            with self._talking():
                self._store.set(key, "done")
        return made

    def fail(self, error: BaseException) -> None:
        """Leave word of what made this process fail, for the first one to say it; the first word stands.

        That others are gone is no word: whoever starts them again finds nobody to blame.
        """
        if self.world.size == 1 or self._broken:
            return
        sentence, hint = error.marked if isinstance(error, PylmError) else (f"{type(error).__name__}: {error}", None)
        word = [self.world.rank, getattr(error, "exit_code", 1), sentence, hint]
        try:
            self._store.compare_set(FAILED, "", json.dumps(word))
        except RuntimeError:  # whoever keeps the store is gone: nobody is left to be told
            pass

    def close(self) -> None:
        """Part from the others."""
        if self.world.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def _wait(self, key: str) -> None:
        """Wait until the first process has set a key of the store, however long it takes; not past its failure."""
        pause, longest = POLLS
        with self._talking():
            while not self._store.check([key]):
                if self._store.check([FAILED]):
                    raise self._failure()
                time.sleep(pause)
                pause = min(2 * pause, longest)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Raise what made another process leave where a conversation breaks off, else what torch says of it."""
        try:
            yield
        except RuntimeError as error:
            self.heard_instead_of(error)
            raise

    def heard_instead_of(self, error: RuntimeError) -> None:
        """Raise what made another process leave, where one left word, instead of what torch says of its leaving."""
        self._broken = True
        if (failure := self._heard_of()) is not None:
            raise failure from error

    def _heard_of(self) -> PylmError | None:
        """Return the error of whichever process failed first; None where none left word."""
        until = time.monotonic() + HEARD
        while hasattr(self, "_store") and time.monotonic() < until:
            try:
                if self._store.check([FAILED]):
                    return self._failure()
            except RuntimeError:  # whoever keeps the store is gone
                break
            time.sleep(POLLS[0])
        return None

    def _failure(self) -> PylmError:
        """Return the error that a process left word of."""
        rank, code, sentence, hint = json.loads(self._store.get(FAILED))
        error = PylmError(sentence if rank == 0 else f"rank {rank}: {sentence}", hint)
        error.exit_code = code
        return error


def named(ranks: Sequence[int]) -> str:
    """Return ranks in words, a few of many."""
    shown = ", ".join(str(rank) for rank in ranks[:8])
    more = "" if len(ranks) <= 8 else f" and {len(ranks) - 8} more"
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
