"""Processes that meet in a store which keeps what those before them wrote; here they are threads.

The oracle: whatever was written before, and whoever died of it, all that meet read one another and nobody else.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch.distributed as dist

from pylm.training.torch_backend.meeting import unwritten
from pylm.training.world import World


def start(store: Any, size: int, there: list[int], timeout: float) -> list[Any]:
    """Return what each of those that are there finds, or how it fails."""

    def meet(rank: int) -> Any:
        try:
            return unwritten(store, World(rank, size, rank, size), timeout)
        except dist.DistStoreError as error:
            return str(error)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(meet, there))


@pytest.mark.parametrize("seed", range(8))
def test_each_start_has_a_part_of_its_own_whoever_died_in_the_one_before(seed: int) -> None:
    chance, store, size = random.Random(seed), dist.HashStore(), 4
    for count in range(4):
        start(store, size, chance.sample(range(size), chance.randrange(1, size)), 0.02)  # which some do not live to see
        parts = start(store, size, chance.sample(range(size), size), 20.0)
        for part in parts:
            assert not part.check(["turn"])
        parts[0].set("turn", str(count))
        assert [part.get("turn") for part in parts] == [str(count).encode()] * size


def test_who_has_not_come_is_named() -> None:
    assert start(dist.HashStore(), 3, [0], 0.05) == ["timed out after 0 s: rank 1 has not come"]
    assert start(dist.HashStore(), 3, [2], 0.05) == ["timed out after 0 s: rank 0 has not come"]
