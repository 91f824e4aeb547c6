"""Low-rank adapters in the torch model: beside a frozen linear, y = W x + b + scale B A x (pylm.model.lora).

Letters after names: N rows, I inputs, O outputs, R rank, V vocabulary, C width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

import pylm_kernels as kernels
from pylm.model.lora import Adapter, start
from pylm.model.torch_dropout import dropped

if TYPE_CHECKING:
    from pylm.model.torch import Model

__all__ = ["AdaptedEmbedding", "AdaptedLinear", "adapt"]


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
        return dx_NI, dkept_NI, None, None, dlow_NR.T @ x_NI, (dy_NO.T @ low_NR) * ctx.scale, None


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
        return dgate_NI, dup_NI, None, None, dlow_NR.T @ x_NI.detach(), (dy_NO.T @ low_NR) * ctx.scale, None


class AdaptedLinear(nn.Linear):
    """A linear whose weights stay, with an adapter beside it."""

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    dropout: float  # share of the adapter's inputs
    key: torch.Tensor | None  # of what is dropped in this pass

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return W x + b + scale B A x."""
        x_NI = input.reshape(-1, input.shape[-1])
        kept_NI = dropped(x_NI, self.key, self.dropout) if self.training and self.key is not None else None
        adapted: Any = _Adapted.apply
        y_NO: torch.Tensor = adapted(x_NI, kept_NI, self.weight, self.bias, self.lora_a, self.lora_b, self.scale)
        return y_NO.view(*input.shape[:-1], -1)

    def after_swiglu(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """Return what forward gives of swiglu(gate, up)."""
        if self.training and self.key is not None:
            return self.forward(kernels.swiglu(gate, up))
        adapted: Any = _AfterSwiglu.apply
        halves = gate.flatten(0, -2), up.flatten(0, -2)
        y_NO: torch.Tensor = adapted(*halves, self.weight, self.bias, self.lora_a, self.lora_b, self.scale)
        return y_NO.view(*gate.shape[:-1], -1)

    def whole(self) -> torch.Tensor:
        """Return W + scale B A, for a head, whose logits nobody stores."""
        return self.weight[: len(self.lora_b)] + self.scale * (self.lora_b @ self.lora_a)


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
        module: Any = model.get_submodule(name)
        module.__class__ = AdaptedEmbedding if isinstance(module, nn.Embedding) else AdaptedLinear
        module.scale, module.dropout, module.key = adapter.scale, adapter.dropout, None
        for factor in ("lora_a", "lora_b"):
            setattr(module, factor, nn.Parameter(torch.from_numpy(begun[f"{name}.{factor}"]).to(module.weight.device)))
        if adapter.dropout and isinstance(module, AdaptedLinear):
            model.adapted.append(module)
