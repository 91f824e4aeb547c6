"""`pylm tokenize --ray` on a cluster of two machines, which are processes here; one of them dies midway."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ray")

# Imported by every Python that starts: each share says where it is, and takes long enough to be interrupted.
SLOW = """
import sys
if "ray" in sys.modules or any("default_worker" in word for word in sys.orig_argv):
    import os, pathlib, time
    from pylm.data import cluster
    plain = cluster._share
    def _share(given, folder, rank, world):
        import ray
        node = ray.get_runtime_context().get_node_id()
        pathlib.Path(folder, "shares", f"{rank}-{node}-{os.getpid()}").touch()
        time.sleep(1.5)
        return plain(given, folder, rank, world)
    cluster._share = _share
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    (tmp_path / "shares").mkdir()
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "slow"), *filter(None, sys.path)]))
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".bin", ".idx", ".json")
    }


@pytest.mark.timeout(240)
def test_a_machine_that_dies_costs_time_and_nothing_else(tmp_path: Path, cluster: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    chance = random.Random(5)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randrange(2, 9))) for _ in range(2000)]
    Path("text.txt").write_text("<|endoftext|>".join(" ".join(chance.choices(words, k=200)) for _ in range(6000)))
    common = ["text.txt", "--val", "0.1", "--shard-tokens", "100k", "--threads", "1"]
    assert run(["tokenize", *common, "--vocab-size", "400", "--out", "alone"]) == 0
    assert len(list(Path("alone").glob("train_*.bin"))) > 4

    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    line = [sys.executable, "-m", "pylm", "tokenize", *common, "--tokenizer", "alone", "--out", "spread"]
    work = subprocess.Popen([*line, "--ray", cluster.address], stderr=subprocess.PIPE, text=True)
    try:
        while not (begun := [path.name for path in Path("shares").iterdir() if other.node_id in path.name]):
            assert work.poll() is None, work.stderr.read() if work.stderr else ""
            time.sleep(0.1)
        cluster.remove_node(other, allow_graceful=False)
        _, said = work.communicate(timeout=180)
    finally:
        work.kill()
    assert work.returncode == 0, said
    lost = begun[0].partition("-")[0]
    assert len(list(Path("shares").glob(f"{lost}-*"))) == 2, "the share of the dead machine was done elsewhere"
    whole = subprocess.run([*line[:-1], "one"], check=False, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    assert contents(Path("spread")) == contents(Path("one"))


@pytest.mark.timeout(60)
def test_what_ray_cannot_do_is_said(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("a text of some words " * 200)
    for words, said in (
        (["--rank", "0", "--world", "2"], "without --rank and --world"),
        (["--force"], "without --force"),
        ([], "no Ray cluster answers at 127.0.0.1:1"),
    ):
        assert run(["tokenize", "text.txt", "--vocab-size", "260", "--ray", "127.0.0.1:1", *words]) == 2, words
        assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.bin"))
