"""Adapters as runs: what their checkpoints hold, how they find their base, and that what goes on is the same run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.checkpoint import find, open_weights, verify, write_tensors
from pylm.cli import run as command
from pylm.errors import CheckpointError, Interrupted, UsageError
from pylm.model import names
from pylm.model.lora import to_numpy, to_tensor
from pylm.model.torch import load
from pylm.training.events import Stepped
from tests.finetuning.test_run import SHORT, tuned

pytestmark = pytest.mark.usefixtures("here")
LORA: Any = {"method": "lora", "lora_rank": 4, "learning_rate": 3e-2}


@pytest.fixture
def adapter(here: Path) -> Path:
    """An adapter's run on runs/base, with tokens that the base did not have."""
    if not Path("runs/adapter").exists():
        tuned("runs/adapter", **LORA)
    return here / "runs/adapter"


def logits(checkpoint: str | Path) -> np.ndarray:
    idx = torch.arange(40).view(2, 20) * 7 % 300
    with torch.no_grad():
        found: np.ndarray = load(open_weights(checkpoint))(idx).numpy()
    return found


def test_a_checkpoint_holds_the_adapter_alone_and_the_base_stays(adapter: Path) -> None:
    base = find("runs/base")
    before = (base / "model.safetensors").read_bytes()
    checkpoint = verify(find(str(adapter)))
    assert not (checkpoint.path / "model.safetensors").exists()
    held = checkpoint.weights()
    assert {name.rpartition(".")[2] for name in held} == {"lora_a", "lora_b", "rows"}
    assert checkpoint.state["adapter"]["base"] == {"path": str(base.resolve()), "weights": verify(base).identity}
    _, mine = names.read(open_weights(adapter))
    _, theirs = names.read(open_weights(base))
    for name, tensor in theirs.items():
        whole, plain = to_numpy(mine[name]), to_numpy(tensor)
        module = name.removesuffix(".weight")
        change = np.zeros_like(plain)
        if f"{module}.lora_a" in held:
            change = 8.0 * to_numpy(held[f"{module}.lora_b"]) @ to_numpy(held[f"{module}.lora_a"])
            assert np.abs(change).max() > 1e-3
        assert np.abs(whole[: len(plain)] - plain - change).max() < 1e-6
    assert len(to_numpy(mine["embed.weight"])) == len(to_numpy(theirs["embed.weight"])) + 2
    assert (base / "model.safetensors").read_bytes() == before


def test_whatever_takes_a_checkpoint_takes_an_adapter(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["verify", str(adapter)]) == 0
    assert command(["sample", "--checkpoint", str(adapter), "--prompt", "say red", "--max-tokens", "3"]) == 0
    texts = {
        backend: pylm.generate("runs/adapter", "say red", max_tokens=6, temperature=0.0, backend=backend).text()
        for backend in ("native", "torch")
    }
    assert len(set(texts.values())) == 1
    worth = [pylm.evaluate(name, data="s.txt", limit=4).loss for name in ("runs/adapter", "runs/base")]
    assert worth[0] != worth[1]
    tuned("runs/adapted-again", checkpoint="runs/adapter", max_steps=1, learning_rate=1e-9)
    assert np.abs(logits("runs/adapted-again") - logits(adapter)).max() < 1e-4
    tuned("runs/twice", checkpoint="runs/adapter", **LORA, max_steps=1)
    assert verify(find("runs/twice")).state["adapter"]["base"]["path"] == str(find(str(adapter)).resolve())
    assert logits("runs/twice").shape == logits(adapter).shape
    for run in ("adapted-again", "twice"):
        shutil.rmtree(f"runs/{run}")
    capsys.readouterr()


def test_merged_it_computes_the_same_and_needs_no_base(adapter: Path) -> None:
    assert command(["adapter", str(adapter), "--out", "merged"]) == 0
    held = verify(Path("merged"))
    assert held.state["merged"]["base"] == verify(find("runs/base")).identity
    assert np.abs(logits("merged") - logits(adapter)).max() <= 1e-5
    texts = [
        pylm.generate(name, "say red", max_tokens=8, temperature=0.0).text() for name in ("merged", "runs/adapter")
    ]
    assert texts[0] == texts[1]
    with pytest.raises(CheckpointError, match="merged with its base") as error:
        held.check_resumable()
    assert "init_from" in str(error.value.hint)
    shutil.rmtree("merged")


def test_a_stopped_run_ends_as_the_uninterrupted_one(adapter: Path) -> None:
    def stop(event: Any) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        pylm.finetune("runs/base", dataset="chat.jsonl", out="runs/adapter-stopped", on_event=stop, **SHORT, **LORA)
    pylm.finetune(out="runs/adapter-stopped", resume="auto", on_event=lambda event: None)
    for name in ("adapter.safetensors", "optimizer.safetensors"):
        one, two = (
            Path(run, "checkpoints/step_6", name).read_bytes() for run in ("runs/adapter-stopped", "runs/adapter")
        )
        assert one == two
    shutil.rmtree("runs/adapter-stopped")


def test_a_base_that_moved_is_found_and_another_is_refused(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = logits(adapter)
    for run in ("base", "adapter"):
        shutil.copytree(Path("runs", run), tmp_path / "elsewhere" / run)
    state = next((tmp_path / "elsewhere/adapter/checkpoints").glob("step_6/state.json"))
    held = json.loads(state.read_text())
    (tmp_path / "elsewhere/base").rename(tmp_path / "elsewhere/renamed")
    _write_state(state, {**held, "adapter": {**held["adapter"], "base": {**held["adapter"]["base"], "path": "/gone"}}})
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(logits(tmp_path / "elsewhere/adapter"), whole)
    (tmp_path / "elsewhere/renamed").rename(tmp_path / "far")
    with pytest.raises(CheckpointError, match="is for /gone, which is not there") as error:
        logits(tmp_path / "elsewhere/adapter")
    assert "PYLM_BASE" in str(error.value.hint)
    monkeypatch.setenv("PYLM_BASE", str(tmp_path / "far"))
    assert np.array_equal(logits(tmp_path / "elsewhere/adapter"), whole)
    monkeypatch.setenv("PYLM_BASE", str(tmp_path / "far/checkpoints/step_20"))
    other = tmp_path / "far/checkpoints/step_20"
    wrong = "0" * 64
    _write_state(state, {**held, "adapter": {**held["adapter"], "base": {"path": "/gone", "weights": wrong}}})
    with pytest.raises(CheckpointError, match=f"{wrong[:12]}….*{verify(other).identity[:12]}…"):
        logits(tmp_path / "elsewhere/adapter")


def test_what_cannot_be_is_refused(adapter: Path) -> None:
    written = set(Path("data").iterdir())
    with pytest.raises(UsageError, match="takes the moments of .* and an adapter is new here"):
        tuned("runs/refused", "pairs.jsonl", **LORA, optimizer_state="keep", context_length=48)
    assert not Path("runs/refused").exists() and set(Path("data").iterdir()) == written
    with pytest.raises(CheckpointError, match="is an adapter, and slerp of two"):
        pylm.soup([str(adapter), str(adapter)], out="written", method="slerp")
    with pytest.raises(CheckpointError, match="is no adapter"):
        pylm_adapter("runs/base", "peft")
    with pytest.raises(CheckpointError, match="rows, of tokens that its base does not have"):
        pylm_adapter("runs/adapter", "peft")
    assert not Path("written").exists()


@pytest.mark.parametrize("dataset", ["chat.jsonl", "pairs.jsonl"])
def test_a_base_whose_table_is_padded_is_cut_to_the_tokens(here: Path, dataset: str) -> None:
    base = find("runs/base")
    shape, weights = names.read(open_weights(base))
    padded = np.concatenate([to_numpy(weights["embed.weight"]), np.full((84, 16), 7, np.float32)])
    held = {**weights, "embed.weight": to_tensor(padded)}
    tensors, config = names.to_hugging_face(held, shape.model_copy(update={"vocab_size": 384}))
    theirs = Path("theirs")
    theirs.mkdir()
    write_tensors(theirs / "model.safetensors", tensors)  # type: ignore[arg-type]
    (theirs / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, theirs / name)
    tuned("runs/cut", dataset=dataset, checkpoint="theirs", **LORA)
    shape, _ = names.read(open_weights("runs/cut"))
    assert shape.vocab_size == (302 if dataset == "chat.jsonl" else 300)
    assert pylm.generate("runs/cut", "say", max_tokens=3).text() is not None
    newest = Path("runs/cut/checkpoints/step_6")
    before = [(newest / name).read_bytes() for name in ("adapter.safetensors", "optimizer.safetensors")]
    shutil.rmtree(newest)
    pylm.finetune(out="runs/cut", resume="auto", on_event=lambda event: None)
    assert [(newest / name).read_bytes() for name in ("adapter.safetensors", "optimizer.safetensors")] == before
    shutil.rmtree("runs/cut")
    shutil.rmtree(theirs)


def test_written_for_others_it_is_read_back(here: Path) -> None:
    tuned("runs/plain", dataset="pairs.jsonl", **LORA, max_steps=2)
    whole = logits("runs/plain")
    assert np.abs(whole - logits("runs/base")).max() > 1e-3
    for form in ("peft", "mlx"):
        assert command(["adapter", "runs/plain", "--to", form, "--out", form]) == 0
        assert np.abs(logits(form) - whole).max() < 1e-5
        assert pylm.generate(form, "say", max_tokens=2).text()
        shutil.rmtree(form)


@pytest.mark.parametrize("damage", ["rank", "base", "rows", "file"])
def test_a_damaged_adapter_is_one_sentence(adapter: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "step_6"
    shutil.copytree(find(str(adapter)), folder)
    state = folder / "state.json"
    held = json.loads(state.read_text())
    if damage == "file":
        (folder / "adapter.safetensors").unlink()
    else:
        broken = {"rank": {"rank": 0}, "base": {"base": {"path": 3}}, "rows": {"rows": [5, 2]}}[damage]
        _write_state(state, {**held, "adapter": {**held["adapter"], **broken}})
    with pytest.raises(CheckpointError, match="damaged|holds no checkpoint|is missing"):
        verify(folder)


def pylm_adapter(checkpoint: str, to: str) -> Path:
    from pylm.finetuning.adapters import write

    return write(checkpoint, Path("written"), to)


def _write_state(path: Path, state: dict[str, Any]) -> None:
    """Write another state, of which the manifest speaks as if it had been so."""
    import hashlib

    text = json.dumps(state)
    path.write_text(text)
    manifest = path.with_name("manifest.json")
    held = json.loads(manifest.read_text())
    digest = hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
    held["files"]["state.json"] = {"size": len(text.encode()), "blake2b": digest}
    manifest.write_text(json.dumps(held))
