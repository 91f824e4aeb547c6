"""Rope's settings as Hugging Face's configs hold them, against transformers' own angles."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from pylm_kernels import Rope

transformers = pytest.importorskip("transformers")
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402 (once it is known to be there)
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding  # noqa: E402

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
PARAMETERS: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "another theta": {"rope_type": "default", "rope_theta": 500000.0},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "half a head": {"rope_type": "default", "partial_rotary_factor": 0.5},
    "linear on half a head": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": YARN,
    "yarn, not truncated": {**YARN, "truncate": False},
    "yarn with its own factor": {**YARN, "attention_factor": 0.7},
    "yarn with betas": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0},
    "yarn as DeepSeek has it": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.2},
    "yarn, absent by None": {**YARN, "attention_factor": None, "mscale": None},
}  # fmt: skip


def configured(parameters: dict[str, Any]) -> Any:
    return transformers.LlamaConfig(
        hidden_size=128, num_attention_heads=4, max_position_embeddings=128,
        rope_parameters={"rope_theta": 10000.0, **parameters},
    )  # fmt: skip


def differs(rope: Rope, config: Any) -> float:
    # Llama's own default rotates whole heads, whatever the config says; Phi's reads it
    theirs = PhiRotaryEmbedding if "partial_rotary_factor" in config.rope_parameters else LlamaRotaryEmbedding
    cos, sin = theirs(config)(torch.zeros(1), torch.arange(128)[None])
    ours = rope.tables(torch.device("cpu"))
    assert ours[0].shape == (128, cos.shape[-1] // 2)
    pairs = zip(ours, (cos, sin), strict=True)
    return max(float((a - b[0, :, : a.shape[1]]).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_angles_are_transformers_own(name: str) -> None:
    config = configured(PARAMETERS[name])
    assert differs(Rope.from_config(config), config) < 2e-5  # theirs are computed in float32
    assert differs(Rope.from_config(json.loads(config.to_json_string(use_diff=False))), config) < 2e-5
    scaling = {key: value for key, value in config.rope_parameters.items() if key != "rope_theta"}
    theta = config.rope_parameters["rope_theta"]
    assert differs(Rope(32, theta=theta, scaling=scaling, max_positions=128), config) < 2e-5


def test_older_configs() -> None:
    old = {
        "hidden_size": 128, "num_attention_heads": 4, "max_position_embeddings": 128, "rope_theta": 700.0,
        "rope_scaling": {"type": "linear", "factor": 2.0},
    }  # fmt: skip
    new = configured({"rope_theta": 700.0, "rope_type": "linear", "factor": 2.0})
    assert differs(Rope.from_config(old), new) < 2e-5
    plain = {**old, "rope_scaling": None, "head_dim": 32}
    assert differs(Rope.from_config(plain), configured({"rope_theta": 700.0, "rope_type": "default"})) < 2e-5


def test_a_config_with_angles_for_each_kind_of_layer() -> None:
    both = {
        "head_dim": 32, "max_position_embeddings": 128,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    }  # fmt: skip
    full = configured({"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0})
    assert differs(Rope.from_config(both, layer_type="full_attention"), full) < 2e-5
    assert differs(Rope.from_config(both, layer_type="sliding_attention"), configured({"rope_type": "default"})) < 2e-5
    with pytest.raises(ValueError, match="^layer_type: None is not one of this config's: full_attention, sliding"):
        Rope.from_config(both)


def test_no_scaling_at_all() -> None:
    right = Rope(32).tables(torch.device("cpu"))
    for scaling in ({}, None, {"rope_type": "default"}, {"type": "default"}, {"rope_type": None}):
        assert all(map(torch.equal, Rope(32, scaling=scaling).tables(torch.device("cpu")), right))


BAD: dict[str, dict[str, Any]] = {
    "scaling: type 'dynamic' is not one of linear, ntk, yarn, llama3, default": {"scaling": {"rope_type": "dynamic"}},
    "scaling: rope_theta is the argument theta; Rope.from_config": {"scaling": {"rope_theta": 5.0}},
    "scaling: default knows no factor; it takes nothing": {"scaling": {"factor": 2.0}},
    "scaling: linear knows no beta": {"scaling": {"type": "linear", "factor": 2.0, "beta": 1}},
    "scaling: partial_rotary_factor 0.5 rotates 16 of 32 dimensions, dims 8": {
        "scaling": {"partial_rotary_factor": 0.5}, "dims": 8
    },
}  # fmt: skip


@pytest.mark.parametrize("complaint", BAD)
def test_settings_that_cannot_be(complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        Rope(32, **BAD[complaint])


def test_mlx_reads_the_same() -> None:
    pytest.importorskip("mlx.core")
    from pylm_kernels.mlx import Rope as OfMlx

    config = configured(PARAMETERS["linear on half a head"])
    ours, other = Rope.from_config(config), OfMlx.from_config(config)
    assert other.dims == ours.dims == 16 and other.max_positions == 128
    cos = torch.tensor(other.cos.tolist())
    assert float((cos - ours.tables(torch.device("cpu"))[0]).abs().max()) < 1e-6
