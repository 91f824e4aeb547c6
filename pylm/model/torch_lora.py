"""Low-rank adapters in the torch model: beside a frozen linear, y = W x + b + scale B A x (pylm.model.lora).

Letters after names: N rows, I inputs, O outputs, R rank, V vocabulary, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional

import pylm_kernels as kernels
from pylm.model.lora import Adapter, start
from pylm.model.torch_dropout import dropped

if TYPE_CHECKING:
    from pylm.model.torch import Model

__all__ = ["AdaptedEmbedding", "AdaptedLinear", "adapt", "after_norm"]


class _Adapted(torch.autograd.Function):
    """Both products in one buffer, and of the gradients only those that somebody wants: W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x_NI: torch.Tensor, kept_NI: torch.Tensor | None, weight_OI: torch.Tensor, bias: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        """Return W x + b + scale B A x, the adapter's x being what dropout kept of it, where it dropped any."""
        low_NR = (x_NI if kept_NI is None else kept_NI) @ a_RI.T
        ctx.save_for_backward(x_NI if kept_NI is None else kept_NI, weight_OI, a_RI, b_OR, low_NR)
        ctx.scale, ctx.dropped = scale, kept_NI is not None
        return functional.linear(x_NI, weight_OI, bias).addmm_(low_NR, b_OR.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, of what was kept of it, and of A and B."""
        (dy_NO,) = gradients
        x_NI, weight_OI, a_RI, b_OR, low_NR = ctx.saved_tensors
        dlow_NR = (dy_NO @ b_OR) * ctx.scale
        dx_NI = dy_NO @ weight_OI if ctx.needs_input_grad[0] else None
        dkept_NI = None
        if ctx.dropped:
            dkept_NI = dlow_NR @ a_RI if ctx.needs_input_grad[1] else None
        elif dx_NI is not None:
            dx_NI.addmm_(dlow_NR, a_RI)
        return dx_NI, dkept_NI, None, None, dlow_NR.T @ x_NI, (low_NR.T @ dy_NO).T * ctx.scale, None


class _AfterSwiglu(torch.autograd.Function):
    """The same of swiglu(gate, up), which is computed again for the gradient of A: a tenth of what a block keeps."""

    @staticmethod
    def forward(
        ctx: Any, gate_NI: torch.Tensor, up_NI: torch.Tensor, weight_OI: torch.Tensor, bias: torch.Tensor | None,
        a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float,
    ) -> torch.Tensor:  # fmt: skip
        """Return W x + b + scale B A x of x = swiglu(gate, up)."""
        x_NI = kernels.swiglu(gate_NI, up_NI)
        low_NR = x_NI @ a_RI.T
        ctx.save_for_backward(gate_NI, up_NI, weight_OI, a_RI, b_OR, low_NR)
        ctx.scale = scale
        return functional.linear(x_NI, weight_OI, bias).addmm_(low_NR, b_OR.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of gate and up, and of A and B."""
        (dy_NO,) = gradients
        gate_NI, up_NI, weight_OI, a_RI, b_OR, low_NR = ctx.saved_tensors
        dlow_NR = (dy_NO @ b_OR) * ctx.scale
        halves = gate_NI.detach().requires_grad_(), up_NI.detach().requires_grad_()
        with torch.enable_grad():
            x_NI = kernels.swiglu(*halves)
        dgate_NI, dup_NI = torch.autograd.grad(x_NI, halves, (dy_NO @ weight_OI).addmm_(dlow_NR, a_RI))
        return dgate_NI, dup_NI, None, None, dlow_NR.T @ x_NI.detach(), (low_NR.T @ dy_NO).T * ctx.scale, None


class _AfterNorm(torch.autograd.Function):
    """The same of linears that read one norm, which is computed again: what it read is kept in any case.

    What it gave is a tenth of what a block keeps. In bf16 it is computed of the rounded sum, as its own gradient is.
    """

    @staticmethod
    def forward(
        ctx: Any, x_NI: torch.Tensor, read_NI: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor | None,
        norm: tuple[bool, float], scale: float, *linears: Any,
    ) -> tuple[torch.Tensor, ...]:  # fmt: skip
        """Return W x + b + scale B A x of each W, b, A and B in turn, x being the norm of what was read."""
        weights, biases, downs, ups = (linears[kind::4] for kind in range(4))
        lows_NR = torch.split(x_NI @ torch.cat(downs).T, [len(a_RI) for a_RI in downs], 1)
        kept = (one for four in zip(weights, downs, ups, lows_NR, strict=True) for one in four)
        ctx.save_for_backward(read_NI, gain, shift, *kept)
        ctx.norm, ctx.scale = norm, scale
        each = zip(weights, biases, ups, lows_NR, strict=True)
        return tuple(functional.linear(x_NI, w, bias).addmm_(low, b.T, alpha=scale) for w, bias, b, low in each)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x, and of each A and B."""
        read_NI, gain, shift, *kept = ctx.saved_tensors
        weights, downs, ups, lows_NR = (kept[kind::4] for kind in range(4))
        dlow_NR = torch.cat([dy @ b for dy, b in zip(gradients, ups, strict=True)], 1).mul_(ctx.scale)
        dx_NI: torch.Tensor | None = None
        if ctx.needs_input_grad[0]:
            dx_NI = dlow_NR @ torch.cat(downs)
            for dy_NO, weight_OI in zip(gradients, weights, strict=True):
                dx_NI.addmm_(dy_NO, weight_OI)
        is_rms, eps = ctx.norm
        x_NI = kernels.rms_norm(read_NI, gain, eps=eps) if is_rms else kernels.layer_norm(read_NI, gain, shift, eps=eps)
        ddowns = torch.split(dlow_NR.T @ x_NI, [len(a_RI) for a_RI in downs])
        dups = ((low.T @ dy).mul_(ctx.scale).T for dy, low in zip(gradients, lows_NR, strict=True))
        each = (one for da, db in zip(ddowns, dups, strict=True) for one in (None, None, da, db))
        return dx_NI, None, None, None, None, None, *each


class AdaptedLinear(nn.Linear):
    """A linear whose weights stay, with an adapter beside it."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    dropout: float  # share of the adapter's inputs
    key: torch.Tensor | None  # of what is dropped in this pass

    @property
    def drops(self) -> bool:
        """Whether a share of the adapter's inputs is dropped in this pass."""
        return self.training and self.key is not None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return W x + b + scale B A x."""
        x_NI = input.reshape(-1, input.shape[-1])
        kept_NI = dropped(x_NI, self.key, self.dropout) if self.drops and self.key is not None else None
        adapted: Any = _Adapted.apply
        y_NO: torch.Tensor = adapted(x_NI, kept_NI, self.weight, self.bias, self.lora_a, self.lora_b, self.scale)
        return y_NO.view(*input.shape[:-1], -1)

    def after_swiglu(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """Return what forward gives of swiglu(gate, up)."""
        # a compiler traces no gradient within a gradient, and decides itself what it computes again
        if self.drops or torch.compiler.is_compiling():
            return self.forward(kernels.swiglu(gate, up))
        adapted: Any = _AfterSwiglu.apply
        halves = gate.flatten(0, -2), up.flatten(0, -2)
        y_NO: torch.Tensor = adapted(*halves, self.weight, self.bias, self.lora_a, self.lora_b, self.scale)
        return y_NO.view(*gate.shape[:-1], -1)

    def whole(self) -> torch.Tensor:
        """Return W + scale B A, for a head, whose logits nobody stores."""
        return self.weight[: len(self.lora_b)] + self.scale * (self.lora_b @ self.lora_a)


def after_norm(
    linears: Sequence[nn.Linear], x: torch.Tensor, read: torch.Tensor, norm: nn.Module
) -> Sequence[torch.Tensor]:
    """Return what each of these linears gives of x, which where they are adapted is not kept for the gradient.

    Args:
        linears: of which some may be adapted.
        x: what the norm gave.
        read: what it read.
        norm: an RMSNorm or a LayerNorm, whose weights stay where a linear is adapted.
    """
    adapted = [one for one in linears if isinstance(one, AdaptedLinear)]
    if len(adapted) < len(linears) or any(one.drops for one in adapted):
        return [linear(x) for linear in linears]
    after: Any = _AfterNorm.apply
    rows = x.reshape(-1, x.shape[-1]), read.reshape(-1, x.shape[-1])
    kind = isinstance(norm, kernels.RMSNorm), norm.eps
    parts = (part for one in adapted for part in (one.weight, one.bias, one.lora_a, one.lora_b))
    found = after(*rows, norm.weight, getattr(norm, "bias", None), kind, adapted[0].scale, *parts)
    return [y_NO.view(*x.shape[:-1], -1) for y_NO in found]


class AdaptedEmbedding(nn.Embedding):
    """A table whose rows stay, with an adapter beside it."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the rows, each with scale B A of its one-hot vector added."""
        low_BTR = functional.embedding(input, self.lora_a.T)
        return super().forward(input) + self.scale * (low_BTR @ self.lora_b.T)


def adapt(model: Model, adapter: Adapter, seed: int) -> None:
    """Give a model its adapters, which begin as nothing; its parameters keep their names beside `lora_a` and `lora_b`.

    Args:
        model: on any device, in any dtype; the factors are in float32.
        adapter: what is adapted.
        seed: that the factors are drawn from.
    """
    begun = start(adapter, model.shape, seed)
    for name in adapter.modules(model.shape):
        module = cast(Any, model.get_submodule(name))
        module.__class__ = AdaptedEmbedding if name == "embed" else AdaptedLinear
        module.scale, module.dropout, module.key = adapter.scale, adapter.dropout, None
        for factor in ("lora_a", "lora_b"):
            setattr(module, factor, nn.Parameter(torch.from_numpy(begun[f"{name}.{factor}"]).to(module.weight.device)))
        if adapter.dropout and name != "embed":
            model.adapted.append(module)
