"""The comparisons for GPUs, rehearsed on a CPU: every side runs, agrees and leaves a row; nothing is said of time.

In a process of its own, where Triton interprets its kernels.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parent.parent.parent
SUBJECTS = ["rms_norm", "layer_norm", "qk_norm_rope", "rope_attention", "linear_cross_entropy", "cross_entropy",
            "attention_decode"]  # fmt: skip


class Rounds:
    """What pytest-benchmark's fixture does with our rounds."""

    def pedantic(self, target: Any, rounds: int, iterations: int, warmup_rounds: int) -> None:
        for _ in range(warmup_rounds + rounds):
            target()


def rehearse(folder: str) -> None:
    """All comparisons at sizes of toys; prints what they found, by subject."""
    from benchmarks.gpu import Rehearsal
    from benchmarks.report import Report

    report = Report(Path(folder), "a-toy", {"gpu": "none"})
    for subject in SUBJECTS:
        module = importlib.import_module(f"benchmarks.test_{subject}")
        for run in module.REHEARSED.values():
            run(Rehearsal(subject, report, Rounds()))
    print("\n".join(report.finish()), file=sys.stderr)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'kernels')]!r}; " \
           f"from tests.benchmarks.test_gpu import rehearse; rehearse({str(folder)!r})"  # fmt: skip
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.stem: json.loads(path.read_text()) for path in (folder / "a-toy").glob("*.json")}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_side_left_a_row(tables: dict[str, Any], subject: str) -> None:
    rows = tables[subject]["rows"]
    peers = {row["name"].rpartition(" vs ")[2] for row in rows if " vs " in row["name"]}
    expected = {"torch eager", "torch.compile"} if subject != "rope_attention" else {"SDPA default", "flex_attention"}
    assert expected <= peers  # and among them all those that a CPU cannot run, with the reason
    measured = {row["name"].rpartition(" vs ")[2] for row in rows if row["verdict"] != "unmeasured"}
    assert expected <= measured
    assert tables[subject]["machine"]["gpu"] == "none"
    assert all(row["ours"] > 0 for row in rows)
