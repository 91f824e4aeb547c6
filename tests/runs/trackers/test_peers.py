"""The real packages, where `make peers-runs` put them: a run and its resume, sent offline and read by their readers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pylm.runs import RunFolder
from pylm.runs.history import History
from pylm.runs.readers.opening import open_runs
from tests.runs.made import line_of, made_run

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "peers-runs" / "bin" / "python"


def packages() -> str | None:
    """Where the packages lie; None where they do not."""
    if not PYTHON.exists():
        return None
    line = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([PYTHON, "-c", line], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps that was sent, went on from the 15th, and was sent again."""
    if (site := packages()) is None:
        pytest.skip("make peers-runs")
    folder = tmp_path_factory.mktemp("sent")
    run = made_run(folder / "a", 20)
    (run / "samples.jsonl").write_text(json.dumps({"step": 10, "prompt": "Once", "text": " upon"}) + "\n")
    (run / "incidents.jsonl").write_text(json.dumps({"step": 7, "kind": "spike", "loss": 9.5}) + "\n")
    environment = {
        **os.environ, "PYTHONPATH": f"{site}:{ROOT}", "WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }  # fmt: skip

    def send() -> None:
        words = [sys.executable, "-m", "pylm", "runs", "track", "a", "--to", "tensorboard,wandb,trackio,mlflow"]
        subprocess.run(words, cwd=folder, env=environment, check=True, timeout=580)

    send()
    with RunFolder(run) as held:
        held.cut_back(15)
        for step in range(16, 19):
            held.metrics.append(line_of(step, None if step == 18 else 50.0 + step))
    send()
    return folder


def found(tracker: str, folder: Path) -> dict[str, list[list[Any]]]:
    reader = Path(__file__).with_name("peers_read.py")
    read = subprocess.run([PYTHON, reader, tracker, folder], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    points: dict[str, list[list[Any]]] = json.loads(read.stdout)
    return points


@pytest.mark.timeout(600)
@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_every_figure_is_found_by_the_trackers_own_reader(tracker: str, sent: Path) -> None:
    points = found(tracker, sent)
    lines = [json.loads(line) for line in (sent / "a" / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    first = {step: value for step, value in points["train/loss"][:20]}
    seen = {(step, str(float(value))) for step, value in points["train/loss"]}
    for step, loss in losses[:15]:
        assert first[step] == pytest.approx(loss, rel=1e-6)  # TensorBoard has 32 bits
    assert {(16, "66.0"), (17, "67.0"), (18, "nan")} <= seen
    assert {step for step, _ in points["val/loss"]} >= {10}
    assert {"train/lr", "train/grad_norm", "system/memory", "time/forward", "val/bits_per_byte"} <= points.keys()
    if tracker == "tensorboard":  # what was taken back is forgotten
        assert [step for step, _ in points["train/loss"]] == list(range(1, 19))
    else:  # each step of the first sending is there once, and once more from where it went back
        assert sorted(step for step, _ in points["train/loss"]) == sorted([*range(1, 21), 16, 17, 18])


@pytest.mark.timeout(600)
def test_what_the_packages_kept_is_read_without_them(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(sent / "trackio"))
    run = History(sent / "a")
    first, *_ = sorted((sent / "a" / "trackers" / "wandb").glob("offline-run-*"))
    for name in (f"tb:{sent}/a/trackers/tensorboard", "trackio:pylm", f"wandb:{first}"):
        (opened,) = open_runs([name])
        read = History(opened)
        for metric in ("loss", "val_loss", "lr", "memory", "bits_per_byte"):
            one, two = (each.curve(metric, "tokens", columns=9999) for each in (read, run))
            until = sum(x <= 15 * 64 for x in two.x) if name.startswith("wandb") else len(two.x)  # its first part
            assert one.x[:until] == two.x[:until], (name, metric)
            assert one.y[:until] == pytest.approx(two.y[:until], rel=1e-6, nan_ok=True), (name, metric)
