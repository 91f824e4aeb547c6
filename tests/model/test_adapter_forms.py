"""Adapters as PEFT and mlx-lm keep them, applied by hand in float64 to transformers' own model, give our logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from pylm.checkpoint import open_weights, read_tensors, write_tensors
from pylm.config.schema import Finetune
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.model import adapter_forms, lora, names, parameters
from pylm.model.torch import load

VOCAB = 101
SHAPES: dict[str, dict[str, Any]] = {
    "llama, gqa": {"n_kv_heads": 2, "tied": False},
    "qwen3": {"qk_norm": True},
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    "nanochat": {"mlp": "relu2", "norm_gain": False, "embed_norm": True, "qk_norm": True, "tied": False},
}
# mlx-lm's names of nanochat's modules, and transformers'
NANOCHAT = {
    "transformer.wte": "model.embed_tokens",
    "transformer.h.": "model.layers.",
    "attn.c_proj": "self_attn.o_proj",
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
IDX = torch.arange(40).view(2, 20) * 7 % VOCAB


def made(fields: str, folder: Path) -> tuple[Shape, dict[str, Any], lora.Adapter]:
    """Write a base in Hugging Face's layout; return its shape, an adapter's tensors and what it is."""
    given = {"n_layers": 2, "n_heads": 4, "d_model": 48, "context_length": 32, **SHAPES[fields]}
    shape = complete(Shape.model_validate(given), VOCAB)
    weights: dict[str, Any] = {name: lora.to_tensor(one) for name, one in parameters.draw(shape, seed=1).items()}
    theirs, config = names.to_hugging_face(weights, shape)
    folder.mkdir()
    write_tensors(folder / "model.safetensors", theirs, {"format": "pt"})  # type: ignore[arg-type]
    (folder / "config.json").write_text(json.dumps(config))
    gate = ("gate",) if shape.mlp == "swiglu" else ()
    targets = None if shape.tied else ("qkv", "out", *gate, "up", "down", "embed", "head")
    adapter = lora.Adapter.of(Finetune(method="lora", lora_rank=3, lora_alpha=5.0, lora_targets=targets), shape)
    chance = np.random.default_rng(6)
    sizes = adapter.sizes(shape)
    tensors = {name: lora.to_tensor(chance.normal(0, 0.2, size).astype(np.float32)) for name, size in sizes.items()}
    return shape, dict(tensors), adapter


def adapter_folder(form: str, folder: Path, tensors: dict[str, Any], adapter: lora.Adapter, shape: Shape) -> Path:
    file, config = adapter_forms.written(form, tensors, adapter.scale, shape, str(folder.parent / "base"))
    folder.mkdir()
    name = {"peft": "adapter_model.safetensors", "mlx": "adapters.safetensors"}[form]
    write_tensors(folder / name, file)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def arrays(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    (file,) = folder.glob("*.safetensors")
    held = {name: lora.to_numpy(one).astype(np.float64) for name, one in read_tensors(file).items()}
    return held, json.loads((folder / "adapter_config.json").read_text())


def by_peft(folder: Path, model: Any) -> None:
    held, config = arrays(folder)
    assert config["peft_type"] == "LORA" and config["r"] == 3
    for name, a in held.items():
        module, kind, _ = name.removeprefix("base_model.model.").partition(".lora_")
        if "_A" in name:
            b = held[name.replace("_A", "_B")]
            change = config["lora_alpha"] / config["r"] * b @ a
            target = model.get_submodule(module)
            turned = isinstance(target, Conv1D | torch.nn.Embedding)
            assert isinstance(target, Conv1D) <= config["fan_in_fan_out"] and kind
            assert any(module == one or module.endswith(f".{one}") for one in config["target_modules"])
            target.weight.data += torch.from_numpy(change.T if turned else change)


def by_mlx(folder: Path, model: Any) -> None:
    held, config = arrays(folder)
    settings = config["lora_parameters"]
    for name, a in held.items():
        module, _, kind = name.rpartition(".")
        if kind == "lora_a":
            assert a.shape[1] == settings["rank"]
            assert any(module == one or module.endswith(f".{one}") for one in settings["keys"])
            change = settings["scale"] * a @ held[f"{module}.lora_b"]
            if model.config.model_type == "gpt2":
                module = module.replace("model.", "transformer.", 1)
            if model.config.model_type == "nanochat":
                for theirs, named in NANOCHAT.items():
                    module = module.replace(theirs, named)
            target = model.get_submodule(module)
            turned = isinstance(target, Conv1D | torch.nn.Embedding)
            target.weight.data += torch.from_numpy(change if turned else change.T)


@pytest.mark.parametrize(("form", "apply"), [("peft", by_peft), ("mlx", by_mlx)])
@pytest.mark.parametrize("fields", SHAPES)
def test_what_is_written_is_the_same_by_hand(
    fields: str, form: str, apply: Callable[[Path, Any], None], tmp_path: Path
) -> None:
    shape, tensors, adapter = made(fields, tmp_path / "base")
    folder = adapter_folder(form, tmp_path / "adapter", tensors, adapter, shape)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float64).eval()
    with torch.no_grad():
        plain = peer(IDX).logits
        apply(folder, peer)
        theirs = peer(IDX).logits
        ours = load(open_weights(folder), dtype=torch.float64)(IDX)  # and it is read back, its base found where it says
    assert (theirs - plain).abs().max() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5
    back, scale = adapter_forms.read(*_read(folder), shape)
    for name, (a, b) in lora.factors(tensors).items():
        mine_a, mine_b = lora.factors(back)[name]
        assert np.abs(scale * mine_b @ mine_a - adapter.scale * b @ a).max() < 1e-6


def _read(folder: Path) -> tuple[Any, Any]:
    (file,) = folder.glob("*.safetensors")
    return read_tensors(file), json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize("missing", [(), ("k_proj",)])
def test_three_linears_with_factors_of_their_own_become_one(missing: tuple[str, ...], tmp_path: Path) -> None:
    shape, _, _ = made("llama, gqa", tmp_path / "base")
    chance, held = np.random.default_rng(8), {}
    for layer in range(2):
        for part, rows in (("q_proj", 48), ("k_proj", 24), ("v_proj", 24)):
            if part not in missing:
                module = f"base_model.model.model.layers.{layer}.self_attn.{part}"
                held[f"{module}.lora_A.weight"] = lora.to_tensor(chance.normal(0, 0.3, (2, 48)).astype(np.float32))
                held[f"{module}.lora_B.weight"] = lora.to_tensor(chance.normal(0, 0.3, (rows, 2)).astype(np.float32))
    (tmp_path / "theirs").mkdir()
    write_tensors(tmp_path / "theirs/adapter_model.safetensors", held)
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base"), "r": 2, "lora_alpha": 3,
              "use_rslora": True, "alpha_pattern": {"0.self_attn.v_proj": 9}}  # fmt: skip
    (tmp_path / "theirs/adapter_config.json").write_text(json.dumps(config))
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float64).eval()
    for name, a in held.items():
        if "lora_A" in name:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = 9 if "0.self_attn.v_proj" in name else 3
            b = lora.to_numpy(held[name.replace("lora_A", "lora_B")]).astype(np.float64)
            change = alpha / 2**0.5 * b @ lora.to_numpy(a)
            peer.get_submodule(module).weight.data += torch.from_numpy(change)
    with torch.no_grad():
        difference = load(open_weights(tmp_path / "theirs"), dtype=torch.float64)(IDX) - peer(IDX).logits
    assert difference.abs().max() <= 1e-5
    tensors, scale = adapter_forms.read(*_read(tmp_path / "theirs"), shape)
    for form in adapter_forms.FORMS:  # and go out again, their ranks made alike
        again, settings = adapter_forms.written(form, tensors, scale, shape, "base")
        back, factor = adapter_forms.read(again, settings, shape)
        for module, (a, b) in lora.factors(tensors).items():
            mine_a, mine_b = lora.factors(back)[module]
            assert np.abs(factor * mine_b @ mine_a - b @ a).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias all"),
        ({"fine_tune_type": "dora", "peft_type": None}, "dora"),
    ],
)
def test_what_is_no_plain_adapter_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    shape, tensors, adapter = made("qwen3", tmp_path / "base")
    file, config = adapter_forms.written("peft", tensors, adapter.scale, shape, "base")
    config = {key: value for key, value in {**config, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=said):
        adapter_forms.read(file, config, shape)
    strange = {name.replace("layers.1", "layers.7"): one for name, one in file.items()}
    with pytest.raises(CheckpointError, match=r"layers\.7"):
        adapter_forms.read(strange, {"peft_type": "LORA", "lora_alpha": 1}, shape)
