"""The C++ kernels behind pylm_kernels' dispatch, as its backend "cpu"; and AdamW, which pylm calls by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from pylm import _native
from pylm_kernels import dispatch

__all__ = ["adamw", "linear_cross_entropy", "register"]

TYPES = (torch.float32, torch.bfloat16)


def serves(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """None where the kernels run, else why not."""
    if device != "cpu":
        return "the C++ kernels run on CPUs"
    if dtype not in TYPES:
        return "the C++ kernels serve float32 and bfloat16"
    if _variant() == "scalar":
        return "this processor has no vector variant of the C++ kernels, torch is faster"
    return None


def _variant() -> str:
    return _native.cpu_info()["variant"]


def _threads() -> int:
    return torch.get_num_threads()


def _float(weight: torch.Tensor | None) -> torch.Tensor | None:
    return None if weight is None else weight.detach().float().contiguous()


def rms_norm_forward(
    x: torch.Tensor, weight: torch.Tensor | None, residual: torch.Tensor | None, eps: float, offset: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y, x + residual (empty without one) and the reciprocal root mean squares."""
    x = x.contiguous()
    residual = None if residual is None else residual.contiguous()
    y = torch.empty_like(x)
    h = x.new_empty(0) if residual is None else torch.empty_like(x)
    rstd = torch.empty(x.shape[:-1], dtype=torch.float32)
    if x.numel():
        _native.norm_forward(
            x, residual, _float(weight), None, y, None if residual is None else h, None, rstd, eps, offset, _threads()
        )
    return y, h, rstd


def rms_norm_backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    rstd: torch.Tensor,
    eps: float,
    offset: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x (and of the residual) and of the weight."""
    dx, dweight, _ = _norm_backward(dy, dh, h, weight, None, rstd, offset, bias=False)
    return dx, h.new_empty(0) if weight is None else dweight.to(weight.dtype)


def _norm_backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    mean: torch.Tensor | None,
    rstd: torch.Tensor,
    offset: float,
    bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dy, h = dy.contiguous(), h.contiguous()
    dh = None if dh is None else dh.contiguous()
    dx = torch.empty_like(h)
    dweight = torch.zeros(h.shape[-1] if weight is not None else 0)
    dbias = torch.zeros(h.shape[-1] if bias else 0)
    if h.numel():
        _native.norm_backward(
            dy,
            dh,
            h,
            _float(weight),
            mean,
            rstd.contiguous(),
            dx,
            dweight if weight is not None else None,
            dbias if bias else None,
            offset,
            _threads(),
        )
    return dx, dweight, dbias


def layer_norm_forward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """y, x + residual (empty without one), the means and the reciprocal deviations."""
    x = x.contiguous()
    residual = None if residual is None else residual.contiguous()
    y = torch.empty_like(x)
    h = x.new_empty(0) if residual is None else torch.empty_like(x)
    mean, rstd = torch.empty(x.shape[:-1], dtype=torch.float32), torch.empty(x.shape[:-1], dtype=torch.float32)
    if x.numel():
        _native.norm_forward(
            x,
            residual,
            _float(weight),
            _float(bias),
            y,
            None if residual is None else h,
            mean,
            rstd,
            eps,
            0.0,
            _threads(),
        )
    return y, h, mean, rstd


def layer_norm_backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    has_bias: bool,
    mean: torch.Tensor,
    rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of x (and of the residual), of the weight and of the bias; empty where there is none."""
    return _norm_backward(dy, dh, h, weight, mean.contiguous(), rstd, 0.0, bias=has_bias)


def cross_entropy_forward(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int, z_loss: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One loss and one logarithm of the sum of exponentials a row."""
    logits = logits.contiguous()
    losses, lse = torch.empty(logits.shape[0]), torch.empty(logits.shape[0])
    if logits.shape[0]:
        _native.cross_entropy_forward(logits, targets.contiguous(), losses, lse, ignore_index, z_loss, _threads())
    return losses, lse


def cross_entropy_backward(
    grads: torch.Tensor,
    logits: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    ignore_index: int,
    z_loss: float,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient of the logits from one gradient a row; `out` may be the logits."""
    logits, grads = logits.contiguous(), grads.float().contiguous()
    out = torch.empty_like(logits) if out is None else out
    if logits.shape[0]:
        _native.cross_entropy_backward(logits, targets.contiguous(), lse, grads, out, ignore_index, z_loss, _threads())
    return out


def activation_forward(name: str, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    """gelu, relu2, or swiglu: silu(gate) * x."""
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        _native.activation_forward(name, x, None if gate is None else gate.contiguous(), y, _threads())
    return y


def activation_backward(
    name: str, dy: torch.Tensor, x: torch.Tensor, gate: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of x and of the gate."""
    dy, x = dy.contiguous(), x.contiguous()
    gate = None if gate is None else gate.contiguous()
    dx = torch.empty_like(x)
    dgate = None if gate is None else torch.empty_like(gate)
    if x.numel():
        _native.activation_backward(name, dy, x, gate, dx, dgate, _threads())
    return dx, dgate


def linear_cross_entropy(
    x: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    rows: int = 256,
) -> torch.Tensor:
    """The mean cross-entropy of x @ weight.T over targets, differentiable; `rows` rows of logits exist at a time.

    Args:
        x: [N, C].
        weight: [V, C], of x's dtype.
        targets: [N], int64.
        ignore_index: targets that count for nothing.
        z_loss: weight of the squared logarithm of the sum of exponentials.
        rows: of a chunk; more is faster up to the size of the caches, and costs memory.
    """
    loss: torch.Tensor = _LinearCrossEntropy.apply(x, weight, targets, ignore_index, z_loss, rows)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, while a chunk's logits are there: three products instead of four."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        ignore_index: int,
        z_loss: float,
        rows: int,
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        x, targets = x.contiguous(), targets.contiguous()
        counted = int((targets != ignore_index).sum())
        losses, lse = torch.empty(len(x)), torch.empty(len(x))
        logits = torch.empty(min(rows, len(x)), len(weight), dtype=x.dtype)
        dx = torch.empty_like(x) if wanted else None
        dweight = torch.zeros_like(weight) if wanted else None
        grads = torch.full((len(logits),), 1.0 / max(counted, 1))
        for at in range(0, len(x), rows):
            part = slice(at, min(at + rows, len(x)))
            chunk = logits[: part.stop - at]
            torch.mm(x[part], weight.t(), out=chunk)
            arguments = (targets[part], losses[part], lse[part], ignore_index, z_loss, _threads())
            _native.cross_entropy_forward(chunk, *arguments)
            if dx is None or dweight is None:
                continue
            _native.cross_entropy_backward(
                chunk, targets[part], lse[part], grads[: len(chunk)], chunk, ignore_index, z_loss, _threads()
            )
            torch.mm(chunk, weight, out=dx[part])
            dweight.addmm_(chunk.t(), x[part])
        ctx.gradients = dx, dweight
        return losses.sum() / counted

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
        dx, dweight = ctx.gradients
        ctx.gradients = None
        if float(upstream[0]) != 1.0:
            dx.mul_(upstream[0])
            dweight.mul_(upstream[0])
        return dx, dweight, None, None, None, None


def attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    documents: list[int] | None = None,
    window: int = 0,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention over [batch, time, heads, dim], by strides; the output and the logarithms of the sums.

    Args:
        q: queries.
        k: keys, with as many heads or a divisor of them.
        v: values, like the keys.
        documents: starts over the flattened batch and its size; nothing attends across them.
        window: how many keys a query sees, itself included; 0 for all.
        scale: of the scores; the root of dim's reciprocal unless given.
    """
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype)
    lse = torch.empty(q.shape[0], q.shape[2], q.shape[1])
    _native.attention_forward(q, k, v, out, lse, documents, window, _scale(scale, q), _threads())
    return out, lse


def attention_backward(
    dout: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    documents: list[int] | None = None,
    window: int = 0,
    scale: float | None = None,
    into: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of q, k and v, written `into` tensors (views of a packed one, say) where given."""
    dout, q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (dout, q, k, v))
    dq, dk, dv = into or (torch.empty(t.shape, dtype=t.dtype) for t in (q, k, v))
    _native.attention_backward(dout, q, k, v, out, lse, dq, dk, dv, documents, window, _scale(scale, q), _threads())
    return dq, dk, dv


def _scale(scale: float | None, q: torch.Tensor) -> float:
    return float(q.shape[-1] ** -0.5) if scale is None else scale


def decode_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], scale: float | None = None
) -> torch.Tensor:
    """Attention of one query a sequence, [batch, heads, dim], over caches [batch, length, kv heads, dim] by strides."""
    q = q.contiguous()
    out = torch.empty_like(q)
    _native.decode_attention(q, k, v, lengths, out, q.shape[-1] ** -0.5 if scale is None else scale, _threads())
    return out


def quantize_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a matrix as int8 and one fp32 scale each."""
    wide = weight.float()
    scales = wide.abs().amax(1) / 127
    return (wide / scales.clamp_min(1e-30)[:, None]).round().to(torch.int8), scales


def gemv_int8(weights: torch.Tensor, scales: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Weights @ x, each row times its scale, in fp32."""
    y = torch.empty(weights.shape[0])
    _native.gemv_int8(weights, scales, x, y, _threads())
    return y


def adamw(
    tensors: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, float]],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    clip: float,
    step: int,
    grad_scale: float = 1.0,
) -> float:
    """One AdamW step in place, the clip folded in; returns the norm of the gradients before it.

    Args:
        tensors: (parameter, gradient, first moment, second moment, bf16 copy of the parameter or None, decay); all of
            the first four fp32, or all bf16, or fp32 with a bf16 gradient; contiguous.
        lr: the learning rate.
        betas: of the moments.
        eps: added to the root of the second moment.
        clip: the highest norm of all gradients together; 0 for none.
        step: counted from 1.
        grad_scale: what the gradients are multiplied by first, such as one over the loss scale.

    Returns:
        The norm; where it is not finite, nothing was changed.
    """
    return _native.adamw(
        list(tensors),
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        eps=eps,
        clip=clip,
        step=step,
        grad_scale=grad_scale,
        threads=_threads(),
    )


def register() -> list[str]:
    """Give pylm_kernels the operations that it has and that these kernels serve; returns their names."""
    _native.share_openmp()  # torch is loaded: its threads run the kernels
    offered: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "rms_norm": (rms_norm_forward, rms_norm_backward),
    }
    known = [name for name in offered if name in dispatch.OPERATIONS]
    for name in known:
        dispatch.register(name, "cpu", *offered[name], serves)
    return known
