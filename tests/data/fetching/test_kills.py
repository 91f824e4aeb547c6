"""A process that is killed at any moment costs a piece at most, and the next one ends with the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pylm.data.fetching import Hub, fetch
from tests.support.hub_server import HubServer

PIECE = 100_000
CHILD = f"""
import sys
from pylm.data.fetching import Hub, fetch
file = Hub.from_environment(allow_private=True).repository("dataset", "org/name").file("a.bin")
print("begun", flush=True)
fetch(file, sys.argv[1], connections=int(sys.argv[2]), piece={PIECE})
"""


def not_recorded(to: Path, content: bytes) -> int:
    """Return how many right bytes are in the part without being told by its ledger."""
    part = np.frombuffer(to.with_name("a.bin.part").read_bytes(), np.uint8)
    right = part == np.frombuffer(content, np.uint8)[: len(part)]
    ledger = to.with_name("a.bin.part.json")
    for start, end in json.loads(ledger.read_text())["spans"] if ledger.exists() else []:
        assert right[start:end].all()
        right[start:end] = False
    # of the bytes that nobody has written yet, one in 256 is right by chance
    return int(np.count_nonzero(right[: len(right) // 500 * 500].reshape(-1, 500).sum(1) > 250)) * 500


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_kills_at_random(
    how: signal.Signals, connections: int, server: HubServer, hub: Hub, content: bytes, tmp_path: Path
) -> None:
    server.add("org/name", {"a.bin": content})
    server.fault("blobs", pause=0.004 * connections, block=8_000, times=-1)
    draw, to = random.Random(connections), tmp_path / "a.bin"
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", CHILD, to, str(connections)], stdout=-1, stderr=-1)
        assert child.stdout is not None and child.stdout.readline() == b"begun\n"
        time.sleep(draw.uniform(0.0, 0.25))
        child.send_signal(how)
        child.communicate()
        if to.exists():
            break
        assert child.returncode == -how
        assert not_recorded(to, content) <= (PIECE if how == signal.SIGKILL else 1_000)
    server.faults.clear()
    fetch(hub.repository("dataset", "org/name").file("a.bin"), to, connections=connections, piece=PIECE)
    assert to.read_bytes() == content
    assert sorted(path.name for path in tmp_path.glob("a.bin*")) == ["a.bin"]
