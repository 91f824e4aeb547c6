"""Norms and activations of transformers' layers with our operations inside.

Each class is its original with another forward, and holds nothing of its own: a module becomes one when its `__class__`
is set, and its original when it is set back. What copies, pickles, moves or replicates modules needs to know nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import (
    GELUActivation,
    GELUTanh,
    NewGELUActivation,
    ReLUSquaredActivation,
    SiLUActivation,
)
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm

from pylm_kernels import gelu, layer_norm, relu2, rms_norm, swiglu
from pylm_kernels.patching.serving import kernel_runs

Forward = Callable[[Any, torch.Tensor], torch.Tensor]


def _instead(usual: Any, op: str, ours: Forward) -> Any:  # of the very signature that `usual` has
    """Return a forward that is ours where a kernel runs, else the usual one."""

    @functools.wraps(usual)
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return ours(self, x) if kernel_runs(op, x) else usual(self, x)

    return forward


def _rms(self: Any, x: torch.Tensor) -> torch.Tensor:
    # under autocast the heads of Qwen3 are bfloat16 and the weight float32: transformers' product is then float32
    wide = torch.promote_types(x.dtype, self.weight.dtype)
    normalised: torch.Tensor = rms_norm(x.to(wide), self.weight, eps=self.variance_epsilon)
    return normalised


def _layer(self: Any, x: torch.Tensor) -> torch.Tensor:
    normalised: torch.Tensor = layer_norm(x, self.weight, self.bias, eps=self.eps)
    return normalised


def _gated(self: Any, x: torch.Tensor) -> torch.Tensor:
    down: torch.Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
    return down


def _gelu_tanh(self: Any, x: torch.Tensor) -> torch.Tensor:
    return gelu(x, approximate="tanh")


class FusedLlamaRMSNorm(LlamaRMSNorm):  # type: ignore[misc] # noqa: D101
    forward = _instead(LlamaRMSNorm.forward, "rms_norm", _rms)


class FusedQwen3RMSNorm(Qwen3RMSNorm):  # type: ignore[misc] # noqa: D101
    forward = _instead(Qwen3RMSNorm.forward, "rms_norm", _rms)


class FusedLayerNorm(nn.LayerNorm):  # noqa: D101
    forward = _instead(nn.LayerNorm.forward, "layer_norm", _layer)


class FusedLlamaMLP(LlamaMLP):  # type: ignore[misc] # noqa: D101
    forward = _instead(LlamaMLP.forward, "swiglu", _gated)


class FusedQwen3MLP(Qwen3MLP):  # type: ignore[misc] # noqa: D101
    forward = _instead(Qwen3MLP.forward, "swiglu", _gated)


class FusedNewGELU(NewGELUActivation):  # type: ignore[misc] # noqa: D101
    forward = _instead(NewGELUActivation.forward, "gelu", _gelu_tanh)


class FusedGELUTanh(GELUTanh):  # type: ignore[misc] # noqa: D101
    forward = _instead(GELUTanh.forward, "gelu", _gelu_tanh)


class FusedGELU(GELUActivation):  # type: ignore[misc] # noqa: D101
    forward = _instead(GELUActivation.forward, "gelu", lambda self, x: gelu(x))


class FusedReLUSquared(ReLUSquaredActivation):  # type: ignore[misc] # noqa: D101
    forward = _instead(ReLUSquaredActivation.forward, "relu2", lambda self, x: relu2(x))


# original → (operation, what takes its place)
NORMS: dict[type[nn.Module], tuple[str, type[nn.Module]]] = {
    LlamaRMSNorm: ("rms_norm", FusedLlamaRMSNorm),
    Qwen3RMSNorm: ("rms_norm", FusedQwen3RMSNorm),
    nn.LayerNorm: ("layer_norm", FusedLayerNorm),
}
ACTIVATIONS: dict[type[nn.Module], tuple[str, type[nn.Module]]] = {
    LlamaMLP: ("swiglu", FusedLlamaMLP),
    Qwen3MLP: ("swiglu", FusedQwen3MLP),
    NewGELUActivation: ("gelu", FusedNewGELU),
    GELUTanh: ("gelu", FusedGELUTanh),
    GELUActivation: ("gelu", FusedGELU),
    ReLUSquaredActivation: ("relu2", FusedReLUSquared),
}
SILU = (SiLUActivation, nn.SiLU)  # the gate that swiglu computes
