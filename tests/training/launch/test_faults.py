"""Runs of two processes whose processes are killed, stopped and told to leave: nothing is lost, the end is the same.

The oracle is the run that nobody disturbed, to the bit.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.launched import launched, result
from tests.support.shards import write_shards

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process is which rank")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shards, and what one process makes of them, whose sums are those of two."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shards = write_shards(folder / "data", 64, np.random.default_rng(3), 20_000)
    with launched(folder / "run", shards, gpus=1) as one:
        assert one.end() == 0, one.said
    return shards, result(folder / "run")


def test_a_run_that_is_killed_and_told_to_leave_ends_as_if_it_had_not_been(undisturbed: Any, tmp_path: Path) -> None:
    shards, expected = undisturbed
    with launched(tmp_path / "run", shards) as one:
        one.until(lambda: one.step() >= 10)
        one.kill(1)
        one.until(lambda: one.step() < 10)
        one.until(lambda: one.step() >= 16)
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 75, one.said
    assert one.said.count("rank 1 was ended by SIGKILL: all start again from the last checkpoint") == 1
    assert one.said.count("stopping after this step") == 1 and one.said.count("saved\n") == 1
    with launched(tmp_path / "run", shards, "--resume", "auto", gpus=1) as one:
        assert one.end() == 0, one.said
    assert result(tmp_path / "run") == expected
