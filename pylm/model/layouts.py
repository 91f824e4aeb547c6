"""Which shapes other programs load, and Hugging Face's config.json of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError, ConfigError

__all__ = ["LAYOUTS", "config_of", "layout_of", "read_json", "shape_of"]

LAYOUTS = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
# What must hold of a shape, by layout; every field that no line names may be anything.
_PLAIN = {"window": None, "attention_softcap": None, "logit_softcap": None, "value_embeddings": False,
          "residual_lambdas": False}  # fmt: skip
_WANTED: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True, "qk_norm": False, **_PLAIN},
    "llama": {"norm": "rmsnorm", "mlp": "swiglu", "position": "rope", "qk_norm": False, **_PLAIN},
    "qwen3": {"norm": "rmsnorm", "mlp": "swiglu", "position": "rope", "qk_norm": True, "bias": False, **_PLAIN},
}


def layout_of(shape: Shape) -> str:
    """The layout that other programs load this shape by; an error that names the fields where there is none."""
    misfits = {name: list(_misfits(shape, name)) for name in LAYOUTS}
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    if misfits[nearest]:
        raise ConfigError(
            f"no layout that other programs load has {' and '.join(misfits[nearest])}",
            f"the nearest, {nearest}, asks for another {'value' if len(misfits[nearest]) == 1 else 'choice of these'}",
        )
    return nearest


def _misfits(shape: Shape, layout: str) -> Iterator[str]:
    for field, wanted in _WANTED[layout].items():
        if (found := getattr(shape, field)) != wanted:
            yield f"{field} {str(found).lower()}"
    if layout == "gpt2" and shape.n_kv_heads != shape.n_heads:
        yield f"n_kv_heads {shape.n_kv_heads}"


def config_of(shape: Shape) -> dict[str, Any]:
    """config.json of a completed shape."""
    return _gpt2_config(shape) if layout_of(shape) == "gpt2" else _llama_config(shape)


def _gpt2_config(shape: Shape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab_size,
        "n_positions": shape.context_length,
        "n_embd": shape.d_model,
        "n_layer": shape.n_layers,
        "n_head": shape.n_heads,
        "n_inner": shape.d_ff,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": shape.norm_eps,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": 0.0,
        **_common("gpt2", shape),
    }


def _llama_config(shape: Shape) -> dict[str, Any]:
    assert shape.d_model and shape.n_heads
    layout = layout_of(shape)
    biases = {"mlp_bias": shape.bias} if layout == "llama" else {"use_sliding_window": False}
    return {
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.context_length,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.d_model // shape.n_heads,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "attention_bias": shape.bias,
        "attention_dropout": 0.0,
        **biases,
        **_common(layout, shape),
    }


def _common(layout: str, shape: Shape) -> dict[str, Any]:
    # the ids of the tokenizer's specials are unknown here, and the layouts' own defaults would be wrong ones
    return {
        "architectures": [LAYOUTS[layout]],
        "model_type": layout,
        "tie_word_embeddings": shape.tied,
        "initializer_range": shape.init_std,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def read_json(path: Path) -> Mapping[str, Any]:
    """A config.json."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} holds neither config.yaml nor config.json beside its weights") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is no configuration of a model")
    return found


def shape_of(config: Mapping[str, Any]) -> tuple[str, Shape]:
    """The layout and the completed shape that a config.json describes."""
    layout = config.get("model_type")
    if layout not in LAYOUTS:
        raise CheckpointError(f"config.json is of a {layout} model; {', '.join(LAYOUTS)} are read")
    try:
        fields = _gpt2_fields(config) if layout == "gpt2" else _llama_fields(config, layout)
        shape = Shape.model_validate({**fields, "vocab_size": config["vocab_size"]})
    except KeyError as error:
        raise CheckpointError(f"config.json lacks {error.args[0]}") from error
    except ValidationError as error:
        told = "; ".join(".".join(map(str, (*each["loc"], each["msg"]))) for each in error.errors(include_url=False))
        raise CheckpointError(f"config.json describes no model that fits: {told}") from None
    except TypeError as error:
        raise CheckpointError(f"config.json describes no model that fits: {error}") from None
    assert shape.vocab_size is not None
    return layout, complete(shape, shape.vocab_size)


def _gpt2_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    _only(config, "activation_function", "gelu_new", "gelu_pytorch_tanh")
    _only(config, "scale_attn_weights", True)
    _only(config, "scale_attn_by_inverse_layer_idx", False)
    _only(config, "add_cross_attention", False)
    return {
        "n_layers": config["n_layer"],
        "n_heads": config["n_head"],
        "d_model": config["n_embd"],
        "d_ff": config.get("n_inner") or 4 * config["n_embd"],
        "context_length": config["n_positions"],
        "norm": "layernorm",
        "norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "mlp": "gelu",
        "position": "learned",
        "bias": True,
        "tied": config.get("tie_word_embeddings", True),
        "init_std": config.get("initializer_range", 0.02),
    }


def _llama_fields(config: Mapping[str, Any], layout: str) -> dict[str, Any]:
    theta = config.get("rope_theta", 10000.0)
    for key in ("rope_scaling", "rope_parameters"):  # transformers 5 writes the second, with the base in it
        rope = config.get(key) or {}
        _only({"rope_type": rope.get("rope_type", rope.get("type", "default"))}, "rope_type", "default")
        theta = rope.get("rope_theta", theta)
    _only(config, "hidden_act", "silu")
    _only(config, "use_sliding_window", False)
    bias = bool(config.get("attention_bias", False))
    if layout == "llama":
        _only({"mlp_bias": bool(config.get("mlp_bias", False))}, "mlp_bias", bias)
    else:
        _only({"attention_bias": bias}, "attention_bias", False)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    _only({"head_dim": config.get("head_dim") or width // heads}, "head_dim", width // heads)
    return {
        "n_layers": config["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": config.get("num_key_value_heads") or heads,
        "d_model": width,
        "d_ff": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "norm": "rmsnorm",
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "mlp": "swiglu",
        "position": "rope",
        "rope_theta": theta,
        "qk_norm": layout == "qwen3",
        "bias": bias,
        "tied": config.get("tie_word_embeddings", False),
        "init_std": config.get("initializer_range", 0.02),
    }


def _only(config: Mapping[str, Any], key: str, *served: Any) -> None:
    if (found := config.get(key, served[0])) not in served:
        raise CheckpointError(f"config.json says {key} {found}, and {' or '.join(map(str, served))} is what is served")
