"""`pylm train --backend mlx`: without torch in the process, and a run that goes on from one backend in the other."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from pylm.checkpoint import verify
from pylm.cli import run
from pylm.runs import read_lines

LINE = ["train", "--data", "data", "--n-layers", "1", "--n-heads", "2", "--d-model", "32", "--context-length", "16",
        "--batch-tokens", "128", "--micro-batch", "4", "--log-every", "1", "--eval-batches", "2", "--learning-rate",
        "1e-2", "--dropout", "0.1", "--precision", "fp32", "--max-steps", "18", "--eval-every", "6", "--save-every",
        "6", "--device", "cpu", "--compile", "false", "--keep-last", "5"]  # fmt: skip
WORDS = "the cat sat on a mat and then it ran to see what was there but there was only an old dog".split()
NO_TORCH = "import sys; sys.modules['torch'] = None; from pylm.cli import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    chance = random.Random(7)
    documents = [" ".join(chance.choices(WORDS, k=30)) for _ in range(120)]
    (folder / "text.txt").write_text("<|endoftext|>".join(documents), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        assert run(["tokenize", "text.txt", "--vocab-size", "280", "--val", "0.1", "--out", "data"]) == 0
        assert run([*LINE, "--backend", "torch", "--out", "torch"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def losses(folder: str) -> dict[int, Any]:
    return {one["step"]: one["loss"] for one in read_lines(Path(folder, "metrics.jsonl")) if "loss" in one}


def test_a_run_without_torch_is_the_run_of_torch(workplace: Path) -> None:
    words = [*LINE, "--backend", "mlx", "--out", "mlx", "--sample-every", "9"]
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MLX 0." in done.stderr
    if not mx.metal.is_available():
        assert "for correctness only, MLX is made for Apple GPUs" in done.stderr
    one, other = losses("torch"), losses("mlx")
    assert one.keys() == other.keys() and max(abs(one[step] - other[step]) for step in one) < 1e-3
    assert one[18] < one[1] - 0.5
    values = [[line["val_loss"] for line in read_lines(Path(run_of, "metrics.jsonl")) if "val_loss" in line]
              for run_of in ("torch", "mlx")]  # fmt: skip
    assert values[1] == pytest.approx(values[0], abs=1e-3)
    last = verify(Path("mlx/checkpoints/step_18"))
    assert last.state["choices"]["backend"] == "mlx" and set(last.weights()) == set(
        verify(Path("torch/checkpoints/step_18")).weights()
    )
    phases = next(line["phase"] for line in read_lines(Path("mlx/metrics.jsonl")) if "phase" in line)
    assert {"forward+backward", "optimizer"} <= phases.keys()
    assert (Path("mlx") / "samples.jsonl").read_text()


def test_mlx_killed_and_resumed_is_the_same_to_the_bit(workplace: Path) -> None:
    words = [*LINE, "--backend", "mlx"]
    assert run([*words, "--out", "whole"]) == 0
    assert run([*words, "--out", "half", "--max-steps", "18"]) == 0
    for step in (18,):
        folder = Path(f"half/checkpoints/step_{step}")
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert run(["train", "--resume", "half/step_12", "--out", "half"]) == 0
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = (Path(where, "checkpoints/step_18", name).read_bytes() for where in ("whole", "half"))
        assert one == other


def test_torch_then_mlx_then_torch_is_the_run_of_torch(workplace: Path, capsys: Any) -> None:
    start = ["train", "--resume", "torch/step_6", "--out", "there"]
    capsys.readouterr()
    assert run([*start, "--backend", "mlx"]) == 1
    err = capsys.readouterr().err
    assert "backend was torch, is mlx" in err and "--allow-inexact" in err
    assert run([*start, "--backend", "mlx", "--allow-inexact"]) == 0
    back = ["train", "--resume", "there/step_12", "--out", "back", "--backend", "torch", "--allow-inexact"]
    assert run(back) == 0
    whole = losses("torch")
    for folder, first in (("there", 7), ("back", 13)):
        found = losses(folder)
        assert sorted(found) == list(range(first, 19))
        assert max(abs(found[step] - whole[step]) for step in found) < 1e-3
    before, after = verify(Path("torch/checkpoints/step_18")), verify(Path("back/checkpoints/step_18"))
    assert set(before.optimizer()) == set(after.optimizer())
    assert before.state["rng"]["dropout"] == after.state["rng"]["dropout"]
    assert after.state["choices"]["backend"] == "torch" and "mlx" not in after.state["choices"]


def test_without_mlx_it_says_what_to_install(workplace: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    capsys.readouterr()
    assert run([*LINE, "--backend", "mlx", "--out", "none"]) == 2
    err = capsys.readouterr().err
    assert "--backend mlx needs MLX, which cannot be imported here" in err and "pip install ./kernels '.[mlx]'" in err
    assert "Traceback" not in err and not Path("none").exists()


def test_a_size_is_found_without_torch(workplace: Path) -> None:
    words = ["train", "--data", "data", "--backend", "mlx", "--device", "cpu", "--max-steps", "1", "--out", "sized",
             "--context-length", "16", "--d-model", "32", "--depth", "1"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("platform", "machine", "found", "device", "chosen"),
    [
        ("darwin", "arm64", True, "auto", "mlx"),
        ("darwin", "arm64", True, "mps", "mlx"),
        ("darwin", "arm64", True, "cpu", "torch"),
        ("darwin", "arm64", False, "auto", "torch"),
        ("darwin", "x86_64", True, "auto", "torch"),
        ("linux", "aarch64", True, "auto", "torch"),
    ],
)
def test_auto_is_mlx_on_a_mac_that_has_it(
    platform: str, machine: str, found: bool, device: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pylm.config.schema import Config
    from pylm.model import which
    from pylm.training.backends import backend_name

    monkeypatch.setattr(which.sys, "platform", platform)
    monkeypatch.setattr(which.platform, "machine", lambda: machine)
    monkeypatch.setattr(which.importlib.util, "find_spec", lambda name: object() if found else None)
    config = Config.model_validate({"train": {"device": device}})
    assert backend_name(config) == chosen
