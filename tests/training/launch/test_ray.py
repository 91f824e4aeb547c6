"""`pylm train --ray` on a cluster of two machines, which are processes here: one process's run, and its page alone.

A rank that is killed there is benchmarks/test_ray.py; what a rank writes and hears is test_relay.py.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run
from tests.support.launched import launched, result, trained_alone
from tests.support.ray_cluster import two_machines

pytest.importorskip("ray.train.torch", reason="pip install 'ray[train]'", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["--ray", "127.0.0.1:1", "--device", "cpu"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--ray", "auto", "--device", "mps"], "MPS trains on one device"),
        (["--ray", "auto", "--slurm", "2"], "--ray and --slurm both name a cluster"),
        (["--ray", "auto", "--nodes", "a,b"], "a cluster names its machines"),
    ):
        assert run(["train", "--data", "d", *words]) == 2, words
        assert says in capsys.readouterr().err


def test_whoever_answers_and_is_not_ray_is_refused_at_once(tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            there, _ = other.accept()
            with there:
                there.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                there.recv(100)

        threading.Thread(target=answer, daemon=True).start()
        assert run(["train", "--data", "d", "--ray", f"127.0.0.1:{port}", "--device", "cpu"]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: no Ray cluster answers at 127.0.0.1:{port}: what listens there is not Ray\nhint: ")
    assert said.count("\n") == 2
    assert run(["train", "--data", "d", "--ray", "ray://127.0.0.1:10001", "--device", "cpu"]) == 2
    assert "an address is HOST:PORT" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="a cluster on one machine is Linux's")
@pytest.mark.timeout(240)
def test_two_machines_of_a_cluster_train_what_one_process_trains(tmp_path: Path) -> None:
    shards, expected = trained_alone(tmp_path)
    with two_machines() as cluster:
        with launched(tmp_path / "run", shards, "--ray", cluster.address, gpus=2) as one:
            out, said = one.process.communicate(timeout=200)
            assert one.process.returncode == 0, said
        with launched(tmp_path / "more", shards, "--ray", cluster.address, gpus=3) as one:
            assert one.end() == 2
            assert one.said.startswith("error: the cluster has 2 CPUs\nhint: --gpus 2")
    assert result(tmp_path / "run") == expected
    assert out.startswith("trained 36 steps, 4,608 tokens in ") and out.endswith(f"saved in {tmp_path / 'run'}\n")
    beginnings = {line.split()[0] for line in said.splitlines()}
    assert beginnings == {*"starting model data machine parallel compile batch length rate run step".split()}
    assert not list(tmp_path.glob(".run.*"))
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in left
