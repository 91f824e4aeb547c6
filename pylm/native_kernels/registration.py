"""Which operations the C++ kernels serve in pylm_kernels' dispatch, and where torch is left to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pylm import _native
from pylm.errors import KernelError
from pylm.native_kernels import activations, decode, heads, losses, norms
from pylm_kernels import dispatch

INTERFACE = 7  # the number of the module's interface that these files call
TYPES = (torch.float32, torch.bfloat16)
MEASURED = ("avx2", "avx512")  # variants, against torch; docs/log.md has the figures
WIDEST_HEAD = 1024
WIDEST_DECODED = 512
FEW = 8  # new tokens over a cache: each reads it once, products of matrices win when there are many


def serves(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return None where the kernels run, else why not."""
    if facts:  # asked of this device and dtype before; the processor's variant does not change between calls
        return None
    if device != "cpu":
        return "the C++ kernels run on CPUs"
    if dtype not in TYPES:
        return "the C++ kernels serve float32 and bfloat16"
    variant = _native.cpu_info()["variant"]
    return None if variant in MEASURED else f"the C++ kernels' {variant} variant was not measured to beat torch"


def serves_heads(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return the same for qk_norm_rope."""
    if facts and facts["head_dim"] > WIDEST_HEAD:
        return f"heads of up to {WIDEST_HEAD} are rotated, not {facts['head_dim']}"
    return serves(device, dtype, facts)


def serves_attention(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return the same for rope_attention: causal self-attention without sinks."""
    if facts:
        if not facts["causal"] or facts["cross"]:
            return "causal attention of queries and keys of one length is served"
        if facts["sinks"]:
            return "the C++ attention has no sinks"
    return serves_heads(device, dtype, facts)


def serves_decode(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return the same for attention_decode: a few tokens that see all of their row."""
    if facts:
        if facts["window"] or facts["sinks"]:
            return "the C++ attention over a cache has no window and no sinks"
        if facts["new"] > FEW:
            return f"up to {FEW} new tokens are served, not {facts['new']}"
        if facts["head_dim"] > WIDEST_DECODED:
            return f"heads of up to {WIDEST_DECODED} are served, not {facts['head_dim']}"
    return serves(device, dtype, facts)


def serves_head(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return the same for linear_cross_entropy, whose products are torch's but where the processor multiplies bf16."""
    if not facts and device == "cpu" and dtype == torch.bfloat16 and _native.cpu_info()["variant"] == "avx2":
        return (
            "without AVX512-BF16 products of bfloat16 take twenty times as long as float32's, which the reference uses"
        )
    return serves(device, dtype, facts)


Serves = Callable[[str, torch.dtype, Mapping[str, Any]], "str | None"]
OFFERED: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None, Serves]] = {
    "rms_norm": (norms.rms_norm_forward, norms.rms_norm_backward, serves),
    "layer_norm": (norms.layer_norm_forward, norms.layer_norm_backward, serves),
    "qk_norm_rope": (heads.qk_norm_rope_forward, heads.qk_norm_rope_backward, serves_heads),
    "rope_attention": (heads.rope_attention_forward, heads.rope_attention_backward, serves_attention),
    "attention_decode": (decode.attention_decode_forward, None, serves_decode),
    "cross_entropy": (losses.cross_entropy_forward, losses.cross_entropy_backward, serves),
    "linear_cross_entropy": (
        losses.linear_cross_entropy_forward,
        losses.linear_cross_entropy_backward,
        serves_head,
    ),
    "swiglu": (activations.swiglu_forward, activations.swiglu_backward, serves),
    "gelu": (activations.gelu_forward, activations.gelu_backward, serves),
    "relu2": (activations.relu2_forward, activations.relu2_backward, serves),
}


def register() -> list[str]:
    """Give pylm_kernels the operations that it has and that these kernels serve, and return their names."""
    if (found := getattr(_native, "INTERFACE", 1)) != INTERFACE:
        raise KernelError(
            f"pylm._native has interface {found}, pylm's files call {INTERFACE}: it was built from other sources",
            "`make build` builds it again",
        )
    _native.share_openmp()  # torch is loaded: its threads run the kernels
    known = [name for name in OFFERED if name in dispatch.OPERATIONS]
    for name in known:
        dispatch.register(name, "cpu", *OFFERED[name])
    return known
