"""GGUF's names of a decoder's tensors and fields, and the order of rows that llama.cpp reads queries and keys in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from pylm.config.schema import Model as Shape
from pylm.errors import ConfigError
from pylm.interchange.gguf_rope import misfits
from pylm.model.layouts import layout_of
from pylm.model.names import pairs
from pylm.wording import param

__all__ = ["ARCHITECTURES", "architecture_of", "fields_of", "heads_of", "names_of", "turned", "turned_back"]

Numbers = npt.NDArray[Any]
ARCHITECTURES = ("gpt2", "llama", "qwen3", "qwen2")
# Our part of a name → GGUF's; queries, keys and values are apart but in gpt2
_WHOLE = {"embed": "token_embd", "position": "position_embd", "norm": "output_norm", "head": "output"}
_PARTS = {
    "attention.norm": "attn_norm", "attention.out": "attn_output", "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm", "mlp.norm": "ffn_norm", "mlp.gate": "ffn_gate", "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}  # fmt: skip


def architecture_of(shape: Shape) -> str:
    """Return llama.cpp's architecture of a shape; a refusal names the fields that it has not."""
    layout = layout_of(shape)
    if layout == "nanochat":
        raise ConfigError(
            f"llama.cpp has no class of nanochat: no mlp {shape.mlp} with norm_gain false and embed_norm true",
            f"{param('to', 'nanochat')} is read by transformers, {param('to', 'mlx')} by mlx-lm; the presets tiny and "
            "llama-25m make what llama.cpp reads",
        )
    unfit = []
    if shape.window is not None:
        unfit.append(f"window {shape.window}")
    if layout == "qwen3" and shape.attention_bias is not None:
        unfit.append(f"attention_bias {shape.attention_bias}")
    unfit += misfits(shape, layout)
    if unfit:
        raise ConfigError(
            f"llama.cpp's {layout} has no {' and '.join(unfit)}",
            f"{param('to', 'hf')} is read by transformers; the presets tiny and llama-25m make what llama.cpp reads",
        )
    return layout


def names_of(shape: Shape, architecture: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield our name and GGUF's of each tensor: one, or the three that ours is cut into."""
    for ours, _ in pairs("gpt2" if architecture == "gpt2" else "llama", shape):
        stem, _, kind = ours.rpartition(".")
        if stem in _WHOLE:
            yield ours, (f"{_WHOLE[stem]}.{kind}",)
            continue
        _, layer, part = stem.split(".", 2)
        if part == "attention.qkv":
            told = ("attn_qkv",) if architecture == "gpt2" else ("attn_q", "attn_k", "attn_v")
        else:
            told = (_PARTS[part],)
        yield ours, tuple(f"blk.{layer}.{name}.{kind}" for name in told)


def fields_of(shape: Shape, architecture: str) -> dict[str, Any]:
    """Return the fields of the architecture, by their names behind its own."""
    assert shape.d_model and shape.n_heads
    fields: dict[str, Any] = {
        "vocab_size": shape.vocab_size,
        "context_length": shape.context_length,
        "embedding_length": shape.d_model,
        "block_count": shape.n_layers,
        "feed_forward_length": shape.d_ff,
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": shape.n_kv_heads,
    }
    if architecture == "gpt2":
        return {**fields, "attention.layer_norm_epsilon": float(shape.norm_eps)}
    return fields | {
        "attention.layer_norm_rms_epsilon": float(shape.norm_eps),
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "rope.dimension_count": shape.head_dim,
        "rope.freq_base": float(shape.rope_theta),
    }


def turned(numbers: Numbers, heads: int) -> Numbers:
    """Return rows of queries or keys as llama.cpp's llama rotates them: neighbours, where ours rotates halves."""
    return numbers.reshape(heads, 2, -1, *numbers.shape[1:]).swapaxes(1, 2).reshape(numbers.shape)


def turned_back(numbers: Numbers, heads: int) -> Numbers:
    """Return rows of queries or keys as ours rotates them."""
    return numbers.reshape(heads, -1, 2, *numbers.shape[1:]).swapaxes(1, 2).reshape(numbers.shape)


def heads_of(name: str, shape: Shape) -> int | None:
    """Return how many heads a tensor of queries or keys has, by GGUF's name of it; None for any other."""
    return {"attn_q": shape.n_heads, "attn_k": shape.n_kv_heads}.get(name.split(".")[-2])
