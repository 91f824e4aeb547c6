"""gelu, relu2 and swiglu."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads, whole


def activation_forward(name: str, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    """Return gelu, gelu_tanh, relu2, or swiglu: silu(gate) * x."""
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        _native.activation_forward(name, x, whole(gate), y, threads())
    return y


def activation_backward(
    name: str, dy: torch.Tensor, x: torch.Tensor, gate: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the gradients of x and of the gate."""
    dy, x, gate = dy.contiguous(), x.contiguous(), whole(gate)
    dx = torch.empty_like(x)
    dgate = None if gate is None else torch.empty_like(gate)
    if x.numel():
        _native.activation_backward(name, dy, x, gate, dx, dgate, threads())
    return dx, dgate


def gelu_forward(x: torch.Tensor, tanh: bool) -> torch.Tensor:
    """Return x times the share of the normal distribution below it."""
    return activation_forward("gelu_tanh" if tanh else "gelu", x)


def gelu_backward(dy: torch.Tensor, x: torch.Tensor, tanh: bool) -> torch.Tensor:
    """Return the gradient of x."""
    return activation_backward("gelu_tanh" if tanh else "gelu", dy, x)[0]


def relu2_forward(x: torch.Tensor) -> torch.Tensor:
    """Return the square of what is positive."""
    return activation_forward("relu2", x)


def relu2_backward(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the gradient of x."""
    return activation_backward("relu2", dy, x)[0]


def swiglu_forward(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return silu(gate) * up."""
    return activation_forward("swiglu", up, gate)


def swiglu_backward(dy: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the gate and of up."""
    dup, dgate = activation_backward("swiglu", dy, up, gate)
    assert dgate is not None
    return dgate, dup
