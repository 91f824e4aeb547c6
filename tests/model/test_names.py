"""Weights of transformers' own models load, give the same logits, and go back as they were."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    NanoChatConfig,
    NanoChatForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pylm.checkpoint import open_weights, write_tensors
from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError, ConfigError, PylmError
from pylm.model import names
from pylm.model.layouts import layout_of, shape_of
from pylm.model.torch import Model, load

VOCAB = 101
NO_IDS = {"bos_token_id": None, "eos_token_id": None}
GPT2 = {"vocab_size": VOCAB, "n_positions": 32, "n_embd": 48, "n_layer": 2, "n_head": 3, **NO_IDS}
LLAMA = {"vocab_size": VOCAB, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, **NO_IDS}  # fmt: skip
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2),
    "gpt2, narrow, untied": (GPT2LMHeadModel, GPT2Config, {**GPT2, "n_inner": 40, "tie_word_embeddings": False}),
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama, tied, biases": (LlamaForCausalLM, LlamaConfig, {
        **LLAMA, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    "llama, other base": (LlamaForCausalLM, LlamaConfig, {
        **LLAMA, "num_key_value_heads": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 123.0}}),
    "llama, wide heads": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "head_dim": 20}),
    "llama, attention's biases alone": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "attention_bias": True}),
    "llama 3": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8}}),
    "llama, yarn": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 8,
        "beta_fast": 16.0, "beta_slow": 2.0}}),
    "llama, linear": (LlamaForCausalLM, LlamaConfig, {**LLAMA, "rope_parameters": {
        "rope_type": "linear", "rope_theta": 1000.0, "factor": 3.0}}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {**LLAMA, "head_dim": 12, "tie_word_embeddings": True}),
    "qwen3, narrow heads": (Qwen3ForCausalLM, Qwen3Config, {**LLAMA, "head_dim": 8}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {**LLAMA, "tie_word_embeddings": True}),
    "mistral": (MistralForCausalLM, MistralConfig, {**LLAMA, "sliding_window": None, "head_dim": 20}),
    "mistral, windows": (MistralForCausalLM, MistralConfig, {**LLAMA, "sliding_window": 5}),
    "nanochat": (NanoChatForCausalLM, NanoChatConfig, LLAMA),
    "nanochat, tied, biases, no cap": (NanoChatForCausalLM, NanoChatConfig, {
        **LLAMA, "tie_word_embeddings": True, "attention_bias": True, "final_logit_softcapping": None,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 3.0}}),
}  # fmt: skip


def theirs(name: str, dtype: torch.dtype = torch.float32) -> Any:
    kind, config, fields = MODELS[name]
    torch.manual_seed(7)
    model = kind(config(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.2
    return model.to(dtype)


def idx() -> torch.Tensor:
    return torch.randint(0, VOCAB, (2, 30), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_transformers_loads_and_goes_back(name: str, tmp_path: Path) -> None:
    peer = theirs(name)
    peer.save_pretrained(tmp_path / "there")
    model = load(open_weights(tmp_path / "there"))
    with torch.no_grad():
        expected = peer(idx()).logits
        assert (model(idx()) - expected).abs().max() < 1e-4
    shape, weights = names.read(open_weights(tmp_path / "there"))
    stored, config = names.to_hugging_face(weights, shape)
    (tmp_path / "back").mkdir()
    write_tensors(tmp_path / "back" / "model.safetensors", stored, {"format": "pt"})
    (tmp_path / "back" / "config.json").write_text(json.dumps(config))
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "back", dtype=torch.float32).eval()
    # without windows Mistral's layout is Llama's
    assert type(back) is (LlamaForCausalLM if name == "mistral" else type(peer))
    for key, tensor in peer.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[key]), key
    with torch.no_grad():
        assert torch.equal(back(idx()).logits, expected)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_bfloat16_in_several_files(name: str, tmp_path: Path) -> None:
    peer = theirs(name, torch.bfloat16)
    peer.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    model = load(open_weights(tmp_path), dtype=torch.float32)
    wide = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        assert (model(idx()) - wide(idx()).logits).abs().max() < 1e-4
    assert {weight.dtype for weight in load(open_weights(tmp_path), dtype=torch.bfloat16).parameters()} == {
        torch.bfloat16
    }


@pytest.mark.parametrize("fields", [
    {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    {"head_dim": 20}, {"attention_bias": "qkv"}, {"attention_bias": "all", "qk_norm": True}, {"window": 5},
    {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_positions": 16.0}},
    {"rope_scaling": {"type": "linear", "factor": 2.0}},
    {"n_kv_heads": 1}, {"qk_norm": True, "tied": False}, {"bias": True, "rope_theta": 77.0},
    {"mlp": "relu2", "qk_norm": True, "norm_gain": False, "embed_norm": True, "head_dim": 20, "logit_softcap": 7.0},
])  # fmt: skip
def test_a_model_of_ours_is_read_by_transformers(fields: dict[str, Any], tmp_path: Path) -> None:
    shape = complete(Shape(n_layers=2, n_heads=4, d_model=48, context_length=32, **fields), VOCAB)
    model = Model(shape, generator=torch.Generator().manual_seed(2)).eval()
    for weight in model.weights().values():
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.2
    held = {
        name: names.Tensor("F32", tuple(weight.shape), memoryview(weight.contiguous().numpy().reshape(-1)).cast("B"))
        for name, weight in model.weights().items()
    }
    stored, config = names.to_hugging_face(held, shape)
    write_tensors(tmp_path / "model.safetensors", stored, {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        assert (peer(idx()).logits - model(idx())).abs().max() < 1e-4
    again, weights = names.read(open_weights(tmp_path))
    assert again == shape
    assert all(bytes(weights[name].data) == bytes(held[name].data) for name in held)


def test_the_names_of_openais_own_files_are_read(tmp_path: Path) -> None:
    peer = theirs("gpt2")
    peer.save_pretrained(tmp_path)
    weights = {name.removeprefix("transformer."): held for name, held in open_weights(tmp_path).weights().items()}
    weights["h.0.attn.bias"] = names.Tensor("F32", (1,), b"\0\0\0\0")
    shape, found = names.from_hugging_face(weights, tmp_path / "config.json")
    assert shape.n_layers == 2 and "position.weight" in found


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_but_two_has_a_layout(preset: str) -> None:
    shape = complete(resolve(preset=preset, environ={}).config.model, VOCAB)
    if preset in ("speed", "nue-144m"):
        with pytest.raises(ConfigError, match="no layout that other programs load has"):
            layout_of(shape)
    else:
        layout = preset.split("-")[0].replace("tiny", "llama").replace("speed", "nanochat")
        assert layout_of(shape) == layout
        assert layout_of(shape.model_copy(update={"qk_norm": True})) == "qwen3" if layout == "llama" else True


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"model_type": "bert"},
            "config.json is of a bert model; gpt2, llama, qwen3, qwen2, mistral, nanochat are read",
        ),
        ({"hidden_act": "relu"}, "config.json says hidden_act relu, and silu is what is served"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "says rope_type dynamic, and default or linear",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}},
            "positions by yarn with mscale",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "says truncate False, and True"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "llama3 needs original_max_positions"),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "says partial_rotary_factor 0.5, and 1.0",
        ),
        ({"rope_scaling": "x"}, "config.json's rope_scaling is x, and one scaling of all layers is what is served"),
        (
            {"rope_scaling": {"full_attention": {"rope_type": "yarn"}}},
            "and one scaling of all layers is what is served",
        ),
        ({"rope_parameters": {"rope_type": "default", "factor": 2.0}}, "scales positions by default with factor"),
        (
            {"head_dim": 32},
            r"model.layers.0.self_attn.q_proj.weight is of shape \[48, 48\], the model's is \[128, 48\]",
        ),
        ({"mlp_bias": True}, "config.json says mlp_bias True and attention_bias False, which no model of ours has"),
        ({"hidden_size": None}, "config.json describes no model that fits"),
        (
            {"hidden_size": 47, "head_dim": 11},
            "no model that fits: .*even width, and head_dim is 11",
        ),
        ({"num_hidden_layers": 3}, "the weights lack model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "the weights hold model.layers.1.input_layernorm.weight"),
        (
            {"num_key_value_heads": 4},
            r"model.layers.0.self_attn.k_proj.weight is of shape \[24, 48\], the model's is \[48, 48\]",
        ),
        (
            {"model_type": "nanochat", "hidden_act": "relu2", "rope_scaling": {"type": "yarn", "factor": 2.0}},
            "says rope_type yarn, and default or linear or llama3",
        ),
        ({"vocab_size": 100}, r"model.embed_tokens.weight is of shape \[101, 48\], the model's is \[100, 48\]"),
    ],
)
def test_what_does_not_fit_is_said(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    theirs("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=sentence):
        load(open_weights(tmp_path))


@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, NanoChatConfig])
def test_what_a_config_leaves_out_is_what_transformers_takes(kind: Any) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 32}
    few = {"model_type": kind.model_type, "vocab_size": VOCAB, "max_position_embeddings": 64, **sizes}
    _, shape = shape_of(few)
    whole = kind(**{key: value for key, value in few.items() if key != "model_type"})
    assert shape.n_kv_heads == whole.num_key_value_heads and shape.norm_eps == whole.rms_norm_eps
    assert shape.head_dim == (getattr(whole, "head_dim", None) or 8) and shape.tied == whole.tie_word_embeddings
    assert shape.window == (getattr(whole, "sliding_window", None) if kind is MistralConfig else None)
    assert shape.rope_theta == whole.rope_parameters["rope_theta"]
    assert shape.logit_softcap == getattr(whole, "final_logit_softcapping", None)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("sizes", [(1, 1), (7, 130), (130, 7), (64, 48), (33, 65), (3, 0)])
def test_a_matrix_is_turned_whatever_its_numbers_are(kind: str, sizes: tuple[int, int]) -> None:
    numbers = np.random.default_rng(1).integers(0, 255, sizes).astype(kind)
    turned = names.Transposed(names.Tensor("X", sizes, numbers.tobytes()))
    assert turned.shape == sizes[::-1] and bytes(turned.data) == numbers.T.tobytes()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint: neither checkpoints/ nor model.safetensors"):
        open_weights(tmp_path)
    theirs("llama").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot read .*config.json"):
        load(open_weights(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no configuration of a model"):
        load(open_weights(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match="neither config.yaml nor config.json"):
        load(open_weights(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    for index in ("{}", "[", '{"weight_map": 3}', '{"weight_map": {"a": "../b"}}', '{"weight_map": {"a": "b"}}'):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        with pytest.raises(PylmError):
            open_weights(tmp_path).weights()


def test_a_checkpoint_of_ours_loads(tmp_path: Path) -> None:
    config = resolve(preset="tiny", environ={}).config
    model = Model(complete(config.model, VOCAB))
    held = {
        name: names.Tensor("F32", tuple(weight.shape), memoryview(weight.contiguous().numpy().reshape(-1)).cast("B"))
        for name, weight in model.weights().items()
    }
    write_tensors(tmp_path / "model.safetensors", held)
    (tmp_path / "config.yaml").write_text("extends: tiny\n")
    loaded = load(open_weights(tmp_path))
    assert loaded.shape == model.shape
    torch.testing.assert_close(loaded(idx()), model.eval()(idx()))
    write_tensors(tmp_path / "model.safetensors", {"x": held["norm.weight"]})
    with pytest.raises(CheckpointError, match="holds no embed.weight"):
        load(open_weights(tmp_path))
