"""The rotary settings in a Hugging Face config, by the names of Rope's arguments; for torch and MLX alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rope_settings(config: Any, layer_type: str | None) -> dict[str, Any]:
    """Return head_dim, theta, scaling and max_positions of a transformers config, or of a config.json that was read.

    Args:
        config: has rope_parameters (transformers 5) or rope_theta and rope_scaling (before).
        layer_type: whose angles are meant, where the config has several: "full_attention", "sliding_attention".
    """

    def get(name: str) -> Any:
        return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)

    head_dim = get("head_dim") or _needed(get("hidden_size"), "hidden_size") // _needed(
        get("num_attention_heads"), "num_attention_heads"
    )
    scaling = {**(get("rope_parameters") or get("rope_scaling") or {})}
    kinds = sorted(name for name, value in scaling.items() if isinstance(value, Mapping))
    if kinds:
        if layer_type not in kinds:
            raise ValueError(f"layer_type: {layer_type!r} is not one of this config's: {', '.join(kinds)}")
        scaling = {**scaling[layer_type]}
    theta = scaling.pop("rope_theta", None) or get("rope_theta")
    share = scaling.get("partial_rotary_factor") or get("partial_rotary_factor")
    if share is not None:
        scaling["partial_rotary_factor"] = share
    longest = _needed(get("max_position_embeddings"), "max_position_embeddings")
    if (scaling.get("rope_type") or scaling.get("type")) in ("yarn", "llama3"):
        original = get("original_max_position_embeddings") or scaling.get("original_max_position_embeddings") or longest
        scaling["original_max_position_embeddings"] = original
        if scaling.get("factor") is None:
            scaling["factor"] = longest / original
    return {
        "head_dim": head_dim, "theta": float(_needed(theta, "rope_theta")), "scaling": scaling, "max_positions": longest
    }  # fmt: skip


def _needed(value: Any, name: str) -> Any:
    if value is None:
        raise ValueError(f"config: has no {name}; build the Rope from its arguments")
    return value
