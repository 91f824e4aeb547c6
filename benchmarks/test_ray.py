"""`pylm train --ray` on a cluster of two machines, which are processes here; the rank of one is killed midway.

It measures nothing, and runs by `pytest --full benchmarks/test_ray.py`, without --benchmark.
tests/training/launch/test_ray.py is the same without the kill.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.launched import launched, rank_pid, result
from tests.support.ray_cluster import two_machines
from tests.support.shards import write_shards

pytest.importorskip("ray.train.torch", reason="pip install 'ray[train]'", exc_type=ImportError)
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of sockets and processes that it leaves to the system
    pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process is which rank"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_machines() as made:
        yield made


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_time_and_nothing_else(tmp_path: Path, cluster: Any) -> None:
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    with launched(tmp_path / "alone", shards) as one:
        assert one.end() == 0, one.said
    with launched(tmp_path / "run", shards, "--ray", cluster.address, gpus=2) as one:
        one.until(lambda: one.step() >= 12)
        rank = rank_pid(1, tmp_path / "run")
        assert rank is not None
        os.kill(rank, signal.SIGKILL)
        assert one.end() == 0, one.said
    assert result(tmp_path / "run") == result(tmp_path / "alone")
    assert "\nrank 1 was ended by SIGKILL\n" in one.said and "\ngoing on from step " in one.said
    assert not list(tmp_path.glob(".run.*"))


@pytest.mark.slow
def test_what_is_started_no_more_is_said_and_the_same_line_goes_on(tmp_path: Path, cluster: Any) -> None:
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    with launched(tmp_path / "run", shards, "--ray", cluster.address, "--max-restarts", "0", gpus=2) as one:
        one.until(lambda: one.step() >= 12)
        rank = rank_pid(1, tmp_path / "run")
        assert rank is not None
        os.kill(rank, signal.SIGKILL)
        assert one.end() == 1, one.said
    assert "error: the cluster gave the run up: rank 1 was ended by SIGKILL\nhint: " in one.said


@pytest.mark.slow
def test_who_asks_the_launcher_to_stop_has_the_run_saved(tmp_path: Path, cluster: Any) -> None:
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    more = ("--ray", cluster.address, "--max-steps", "5000", "--keep-last", "1")
    with launched(tmp_path / "run", shards, *more, gpus=2) as one:
        one.until(lambda: one.step() >= 12)
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 75, one.said
    assert "stopped after step" in one.said and one.said.count("starting") == 1
    assert (tmp_path / "run" / "checkpoints" / f"step_{one.step()}").is_dir()
