"""Sketches by the million within little memory, and the same clusters as in much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BUCKETS = 14
RECORD = np.dtype([("hash", "<u8", 2), ("how", "u1"), ("buckets", "<u8", BUCKETS)])
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from pylm import _rust
def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
before = peak()
found = _rust.cluster_sketches(sys.argv[1], memory=int(sys.argv[2]) << 20, scratch=sys.argv[3])
after = peak()
for name in ("exact", "near"):
    np.save(f"{sys.argv[3]}/{name}.npy", found[name])
print(json.dumps([before, after]))
"""


def write(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Writes sketches, and returns the clusters that are planted in them.

    The document n shares a bucket with n - half where n % 5 is 0; where n % 7 is 0 it is a copy of it.
    """
    draw, half = np.random.default_rng(1), count // 2
    numbers = np.arange(count, dtype=np.uint32)
    partners = np.where(numbers >= half, numbers - half, numbers)
    alone = np.full(count, 0xFFFFFFFF, np.uint32)
    with path.open("wb") as file:
        for start in range(0, count, 1 << 17):
            some = numbers[start : start + (1 << 17)]
            records = np.zeros(len(some), RECORD)
            records["hash"][:, 0], records["hash"][:, 1] = mixed(some), 1
            records["how"] = 1
            records["buckets"] = draw.integers(0, 2**64, (len(some), BUCKETS), np.uint64)
            # a bucket that depends on the partner alone
            records["buckets"][np.arange(len(some)), partners[some] % BUCKETS] = mixed(
                np.where(partners[some] % 5 == 0, partners[some], some)
            )
            records["hash"][:, 0] = mixed(np.where(partners[some] % 7 == 0, partners[some], some))
            file.write(records.tobytes())
    return tuple(  # type: ignore[return-value]
        np.where((partners % each == 0) & (partners < count - half), partners, alone) for each in (7, 5)
    )


def mixed(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)


@pytest.mark.parametrize(
    ("count", "memory"),
    [(400_000, 24), (1_000_000, 256), (10_000_000, 256)],
    ids=["400 thousand", "a million", "10 million"],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_sketches_stay_within_memory(request: pytest.FixtureRequest, tmp_path: Path, count: int, memory: int) -> None:
    if count > 1_000_000 and not request.config.getoption("--full"):
        pytest.skip("writes 1.3 GB and sorts 2.2: runs with --full")
    exact, near = write(tmp_path / "sketches", count)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "sketches"), str(memory), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    print(f"{count:,} sketches within {memory} MB: peak {after:.0f} MB, of which {before:.0f} are Python's")
    assert after - before <= memory, f"{after - before:.0f} MB for {memory}"
    for name, expected in (("exact", exact), ("near", near)):
        found = np.load(tmp_path / f"{name}.npy")
        assert (found == expected).all(), name
        assert (found != 0xFFFFFFFF).sum() > count // 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exact.npy", "near.npy", "sketches"]
    (tmp_path / "sketches").unlink()


def test_an_interrupt_takes_its_files_along(tmp_path: Path) -> None:
    """Ctrl-C while sorted pieces lie in the folder."""
    write(tmp_path / "sketches", 400_000)
    scratch = tmp_path / "scratch"
    program = f"""
import threading, time, os, signal
from pathlib import Path
from pylm import _rust
scratch = Path({str(scratch)!r})
def interrupt():
    while not any(scratch.glob("*/1")):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    for _ in range(100):
        _rust.cluster_sketches({str(tmp_path / "sketches")!r}, memory=1, scratch=scratch)
except KeyboardInterrupt:
    print("interrupted", list(scratch.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted []\n"
