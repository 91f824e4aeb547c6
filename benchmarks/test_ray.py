"""`pylm train --ray` on a cluster of two machines, which are processes here; the rank of one is killed midway.

It measures nothing, and runs by `pytest --full benchmarks/test_ray.py`, without --benchmark. Ray's own
processes take longer to start than the training does.
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
from tests.support.shards import write_shards

pytest.importorskip("ray.train.torch", reason="pip install 'ray[train]'", exc_type=ImportError)
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of sockets and processes that it leaves to the system
    pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process is which rank"),
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    try:
        yield made
    finally:
        made.shutdown()


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
    assert not (tmp_path / ".run.ray").exists()
