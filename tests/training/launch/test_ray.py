"""What `pylm train --ray` cannot do is one sentence; benchmarks/test_ray.py trains on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run

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
