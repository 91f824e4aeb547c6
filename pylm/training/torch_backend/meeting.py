"""How processes find one another in a store that outlives them, and keeps what an earlier start has written to it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from pylm.training.world import World

__all__ = ["meet", "unwritten"]

POLL = 0.005  # seconds between looks of the first process


def meet(world: World, timeout: float) -> PrefixStore:
    """Return what `unwritten` gives of the store that the environment names (MASTER_ADDR, MASTER_PORT)."""
    store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=timedelta(seconds=timeout)))
    return unwritten(store, world, timeout)


def unwritten(store: Any, world: World, timeout: float) -> PrefixStore:
    """Return a part of a launcher's store that only the processes of this start, and of this training, write to.

    Else one reads the addresses of a process that is dead, or that a turn is over which has not begun. No count of
    starts tells them apart: a launcher of several machines may count another one on each. So each process draws a
    number, and goes where the first one, which has read it, sends it.

    Args:
        store: of the launcher.
        world: all processes, and which one this is.
        timeout: seconds that one waits for the others.
    """
    mine, until = uuid4().hex, time.monotonic() + timeout
    if world.leads:
        away = set(range(1, world.size))
        while away := {rank for rank in away if not _sent(store, rank, mine)}:
            if time.monotonic() > until:
                raise dist.DistStoreError(f"timed out after {timeout:.0f} s: rank {min(away)} has not come")
            time.sleep(POLL)
        return PrefixStore(mine, store)
    store.set(f"pylm/here/{world.rank}", mine)
    while not store.check([f"pylm/to/{mine}"]):
        if time.monotonic() > until:
            raise dist.DistStoreError(f"timed out after {timeout:.0f} s: rank 0 has not come")
        time.sleep(POLL)
    where = store.get(f"pylm/to/{mine}").decode()
    store.set(f"pylm/in/{where}/{world.rank}", "")
    return PrefixStore(where, store)


def _sent(store: Any, rank: int, where: str) -> bool:
    """Say whether a process is there already; tell the one that was last heard of, which may be dead, where to go."""
    if store.check([f"pylm/here/{rank}"]):
        store.set(f"pylm/to/{store.get(f'pylm/here/{rank}').decode()}", where)
    return bool(store.check([f"pylm/in/{where}/{rank}"]))
