"""An adapter of ours in PEFT, on the exported base: the same logits, and the same greedy continuations."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import Compare
from benchmarks.report import Row

PYTHON = Path(__file__).resolve().parents[2] / ".venv" / "peers-after" / "bin" / "python"  # of `make peers-after`
PEFT_SIDE = Path(__file__).with_name("peft_sides.py")
LAYOUTS: dict[str, dict[str, Any]] = {
    "llama": {"n_kv_heads": 2, "tied": False},
    "qwen3": {"qk_norm": True},
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
}
NEAR = 1e-5


def folders(layout: str, place: Path) -> None:
    """Write a base in Hugging Face's layout, and an adapter to it that is far from nothing."""
    from pylm.checkpoint import write_tensors
    from pylm.config.schema import Finetune, Model
    from pylm.config.shape import complete
    from pylm.model import adapter_forms, lora, names, parameters

    given = {"n_layers": 4, "n_heads": 4, "d_model": 128, "context_length": 64, **LAYOUTS[layout]}
    shape = complete(Model.model_validate(given), 1000)
    weights: Any = {name: lora.to_tensor(one) for name, one in parameters.draw(shape, seed=1).items()}
    tensors, config = names.to_hugging_face(weights, shape)
    adapter = lora.Adapter.of(Finetune(method="lora", lora_rank=8), shape)
    chance = np.random.default_rng(3)
    sizes = adapter.sizes(shape).items()
    factors: Any = {name: lora.to_tensor(chance.normal(0, 0.05, size).astype(np.float32)) for name, size in sizes}
    theirs, settings = adapter_forms.written("peft", factors, adapter.scale, shape, str(place / "base"))
    held: Any = {
        "base": ("model", tensors, "config", config),
        "adapter": ("adapter_model", theirs, "adapter_config", settings),
    }
    for folder, (file, kept, named, said) in held.items():
        (place / folder).mkdir()
        write_tensors(place / folder / f"{file}.safetensors", kept, {"format": "pt"})
        (place / folder / f"{named}.json").write_text(json.dumps(said))


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_peft(layout: str, compare: Compare, tmp_path: Path) -> None:
    import torch

    from pylm.checkpoint import open_weights
    from pylm.model.torch import load

    if not PYTHON.exists():
        pytest.skip("PEFT is not there: make peers-after")
    folders(layout, tmp_path)
    ids = (np.arange(96).reshape(2, 48) * 7 % 1000).tolist()
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    words = [tmp_path / "base", tmp_path / "adapter", tmp_path / "ids.json", tmp_path / "out.npz"]
    done = subprocess.run([str(PYTHON), str(PEFT_SIDE), *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs, model = np.load(tmp_path / "out.npz"), load(open_weights(tmp_path / "adapter"))
    with torch.no_grad():
        far = float(np.abs(model(torch.tensor(ids)).numpy() - theirs["logits"]).max())
        plain = float(np.abs(load(open_weights(tmp_path / "base"))(torch.tensor(ids)).numpy() - theirs["logits"]).max())
        text = torch.tensor(ids)[:, :8]
        for _ in range(16):
            text = torch.cat([text, model(text)[:, -1:].argmax(-1)], 1)
    assert plain > 100 * NEAR, "the adapter does nothing"
    same = bool(np.array_equal(text.numpy(), theirs["greedy"]))
    folder = next(PYTHON.parent.parent.glob("lib/python3*/site-packages"))
    version = next(importlib.metadata.distributions(name="peft", path=[str(folder)])).version
    name = f"logits of an adapter in PEFT, {layout}; greedy {'equal' if same else 'NOT equal'}"
    verdict = "met" if far <= NEAR and same else "short"
    compare.report.add(compare.subject, Row(name, far, None, version, None, None, f"≤ {NEAR:g}", verdict, ""))
