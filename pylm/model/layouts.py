"""Which shapes other programs load, and Hugging Face's config.json of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError, ConfigError

__all__ = ["LAYOUTS", "config_of", "generation_config_of", "layout_of", "misfits", "read_json", "shape_of"]

LAYOUTS = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "mistral": "MistralForCausalLM",
    "nanochat": "NanoChatForCausalLM",
}
# What must hold of a shape, by layout; every field that no line names may be anything.
_OURS_ALONE = {"attention_softcap": None, "value_embeddings": False, "residual_lambdas": False}
_NEVER = {"logit_softcap": None, "norm_gain": True, "embed_norm": False, **_OURS_ALONE}
_PLAIN = {"window": None, **_NEVER}
_ROPE = {"norm": "rmsnorm", "mlp": "swiglu", "position": "rope"}
_WANTED: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True, "qk_norm": False, **_PLAIN},
    "llama": {**_ROPE, "qk_norm": False, **_PLAIN},
    "qwen3": {**_ROPE, "qk_norm": True, "bias": False, **_PLAIN},
    "qwen2": {**_ROPE, "qk_norm": False, "bias": False, "attention_bias": "qkv", **_PLAIN},
    "mistral": {**_ROPE, "qk_norm": False, "bias": False, "attention_bias": None, **_NEVER},
    "nanochat": {**_ROPE, "mlp": "relu2", "norm_gain": False, "embed_norm": True, "qk_norm": True, "bias": False,
                 "window": None, **_OURS_ALONE},
}  # fmt: skip
# A preset that trains what other programs load, by the kind of its MLP
_PRESETS = {"swiglu": "llama-110m", "gelu": "gpt2-124m", "relu2": "speed-portable"}
# How rotary positions are scaled, by Hugging Face's names of the numbers
_SCALED = {
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}
# Numbers that may be left out here, and that transformers asks for
_ASKED = {"llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0}}
# What transformers takes for keys that a config.json leaves out, where that is not what Llama's layout takes
_LEFT_OUT: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 128, "num_key_value_heads": 32},
    "qwen2": {"num_key_value_heads": 32},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "nanochat": {"final_logit_softcapping": 15.0},
}
_ACTIVATIONS = {"swiglu": "silu", "relu2": "relu2"}
_BIASED = ("llama", "qwen3", "nanochat")  # layouts whose config.json says attention_bias
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_OURS = {"original_max_position_embeddings": "original_max_positions"}


def layout_of(shape: Shape) -> str:
    """Return the layout that other programs load this shape by; where there is none, the error names the fields."""
    unfit = {name: list(misfits(shape, name)) for name in LAYOUTS}
    nearest = min(unfit, key=lambda name: len(unfit[name]))
    if unfit[nearest]:
        raise ConfigError(
            f"no layout that other programs load has {' and '.join(unfit[nearest])}",
            f"the nearest, {nearest}, asks for another {'value' if len(unfit[nearest]) == 1 else 'choice of these'}; "
            f"the preset {_PRESETS[shape.mlp]} trains what others load",
        )
    return nearest


def misfits(shape: Shape, layout: str) -> Iterator[str]:
    """Yield the fields of a completed shape, with their values, that a layout does not have."""
    for field, wanted in _WANTED[layout].items():
        if (value := getattr(shape, field)) != wanted:
            yield f"{field} {str(value).lower()}"
    assert shape.n_heads and shape.d_model and shape.head_dim
    if layout == "gpt2":
        if shape.n_kv_heads != shape.n_heads:
            yield f"n_kv_heads {shape.n_kv_heads}"
        if shape.head_dim * shape.n_heads != shape.d_model:
            yield f"head_dim {shape.head_dim}"
    if layout in _BIASED and shape.qkv_bias != shape.out_bias:
        yield f"attention_bias {shape.attention_bias}"
    if shape.rope_scaling is not None and shape.rope_scaling["type"] not in _scalings(layout):
        yield f"rope_scaling {shape.rope_scaling['type']}"


def config_of(shape: Shape, end: int | Sequence[int] | None = None, dtype: str | None = None) -> dict[str, Any]:
    """Return config.json of a completed shape.

    Args:
        shape: completed.
        end: the ids that end a text, where others are to stop; the first one begins and fills it too, as in GPT-2.
        dtype: safetensors' word for what the weights are kept in.
    """
    config = _gpt2_config(shape) if layout_of(shape) == "gpt2" else _llama_config(shape)
    ends = [] if end is None else [end] if isinstance(end, int) else list(end)
    first = ends[0] if ends else None
    ids = {"bos_token_id": first, "eos_token_id": ends if len(ends) > 1 else first, "pad_token_id": first}
    word = _DTYPES.get(dtype or "")
    # transformers 5 asks for `dtype`, everybody who is older for `torch_dtype`
    return {**config, **ids, **({"dtype": word, "torch_dtype": word} if word else {})}


def generation_config_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return generation_config.json beside a config.json: what is generated stops at the same ids."""
    return {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config[key] is not None}


def _gpt2_config(shape: Shape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab_size,
        "n_positions": shape.context_length,
        "n_ctx": shape.context_length,  # llama.cpp's converter and mlx-lm ask for it by this name
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
    layout = layout_of(shape)
    scaling = _to_theirs(shape.rope_scaling) if shape.rope_scaling else {}
    own: dict[str, dict[str, Any]] = {
        "llama": {"attention_bias": shape.out_bias, "mlp_bias": shape.bias},
        "qwen3": {"attention_bias": shape.out_bias, "use_sliding_window": False},
        "qwen2": {"use_sliding_window": False},
        "mistral": {"sliding_window": shape.window},
        "nanochat": {"attention_bias": shape.out_bias, "final_logit_softcapping": shape.logit_softcap},
    }
    return {
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.context_length,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": _ACTIVATIONS[shape.mlp],
        "rms_norm_eps": shape.norm_eps,
        # transformers 5 reads the third; where the first is missing, mlx-lm takes 10,000 for it and says nothing
        "rope_theta": shape.rope_theta,
        **({"rope_scaling": scaling} if scaling else {}),
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta, **scaling},
        "attention_dropout": 0.0,
        **own[layout],
        **_common(layout, shape),
    }


def _common(layout: str, shape: Shape) -> dict[str, Any]:
    return {
        "architectures": [LAYOUTS[layout]],
        "model_type": layout,
        "tie_word_embeddings": shape.tied,
        "initializer_range": shape.init_std,
    }


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the contents of a config.json."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} holds neither config.yaml nor config.json beside its weights") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no configuration of a model")
    return value


def shape_of(config: Mapping[str, Any], where: str = "config.json") -> tuple[str, Shape]:
    """Return the layout and the completed shape that a config.json, or what a refusal calls it, describes."""
    layout = config.get("model_type")
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise CheckpointError(f"config.json is of a {layout} model; {', '.join(LAYOUTS)} are read")
    try:
        fields = _gpt2_fields(config) if layout == "gpt2" else _llama_fields(config, layout)
        return layout, fitting(fields, config["vocab_size"], where)
    except KeyError as error:
        raise CheckpointError(f"{where} lacks {error.args[0]}") from error
    except TypeError as error:
        raise CheckpointError(f"{where} describes no model that fits: {error}") from None


def fitting(fields: Mapping[str, Any], vocab_size: Any, where: str) -> Shape:
    """Return the completed shape of fields by our names; a refusal says what describes it, and which do not fit."""
    try:
        shape = Shape.model_validate({**fields, "vocab_size": vocab_size})
        if shape.vocab_size is None:
            raise CheckpointError(f"{where} describes no model that fits: vocab_size is null")
        return complete(shape, shape.vocab_size)
    except ValidationError as error:
        told = "; ".join(_told(each) for each in error.errors(include_url=False))
        raise CheckpointError(f"{where} describes no model that fits: {told}") from None
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{where} describes no model that fits: {error}") from None


def _told(each: Any) -> str:
    return " ".join(map(str, (*each["loc"], each["msg"].removeprefix("Value error, "))))


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
    config = {**_LEFT_OUT.get(layout, {}), **config}
    theta, scaling = _rope(config)
    chat = layout == "nanochat"
    _only(config, "hidden_act", _ACTIVATIONS["relu2" if chat else "swiglu"])
    _only(config, "use_sliding_window", False)
    # the other layouts' models have what they have, whatever stands there
    asked = bool(config.get("attention_bias", False)) if layout in _BIASED else False
    bias = bool(config.get("mlp_bias", False)) if layout == "llama" else False
    if bias and not asked:
        raise CheckpointError("config.json says mlp_bias True and attention_bias False, which no model of ours has")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim")
    return {
        "n_layers": config["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": config.get("num_key_value_heads") or heads,
        "d_model": width,
        "head_dim": head_dim,
        "d_ff": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "norm": "rmsnorm",
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "norm_gain": not chat,
        "embed_norm": chat,
        "mlp": "relu2" if chat else "swiglu",
        "position": "rope",
        "rope_theta": theta,
        "rope_scaling": scaling,
        "window": config.get("sliding_window") if layout == "mistral" else None,
        "qk_norm": layout in ("qwen3", "nanochat"),
        "logit_softcap": config.get("final_logit_softcapping") if chat else None,
        "bias": bias,
        "attention_bias": "qkv" if layout == "qwen2" else "all" if asked and not bias else None,
        "tied": config.get("tie_word_embeddings", False),
        "init_std": config.get("initializer_range", 0.02),
    }


def _rope(config: Mapping[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Return the base of rotary positions and how they are scaled, from either of the places where it is written."""
    told = {"rope_theta": config.get("rope_theta", 10000.0)}
    for key in ("rope_scaling", "rope_parameters"):  # transformers 5 writes the second, with the base in it
        written = config.get(key) or {}
        if not isinstance(written, Mapping) or any(isinstance(value, Mapping) for value in written.values()):
            raise CheckpointError(f"config.json's {key} is {written}, and one scaling of all layers is what is served")
        told |= {name: value for name, value in written.items() if value != "default"}
    theta = told.pop("rope_theta")
    older = told.pop("type", "default")  # the key's name before it was rope_type
    kind = told.pop("rope_type", older)
    _only(told, "partial_rotary_factor", 1.0)
    told.pop("partial_rotary_factor", None)
    told = {name: value for name, value in told.items() if value is not None}
    if kind == "default" and not told:
        return theta, None
    _only({"rope_type": kind}, "rope_type", "default", *_scalings(config["model_type"]))
    if kind == "yarn":
        _only(told, "truncate", True)
        told.pop("truncate", None)
        told.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    if strange := told.keys() - set(_SCALED.get(kind, ())):
        raise CheckpointError(f"config.json scales positions by {kind} with {min(strange)}, which is not served")
    return theta, {"type": kind, **{_OURS.get(name, name): value for name, value in told.items()}}


def _scalings(layout: str) -> list[str]:
    """Return the scalings of a layout: nanochat normalises heads after RoPE, and so loses the factor of yarn."""
    return [kind for kind in _SCALED if layout != "nanochat" or kind != "yarn"]


def _to_theirs(scaling: Mapping[str, Any]) -> dict[str, Any]:
    theirs = {ours: name for name, ours in _OURS.items()}
    numbers = {theirs.get(name, name): value for name, value in scaling.items() if name != "type"}
    return {"rope_type": scaling["type"], **_ASKED.get(str(scaling["type"]), {}), **numbers}


def _only(config: Mapping[str, Any], key: str, *served: Any) -> None:
    if (value := config.get(key, served[0])) not in served:
        raise CheckpointError(f"config.json says {key} {value}, and {' or '.join(map(str, served))} is what is served")
