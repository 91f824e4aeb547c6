"""The public layer_norm and LayerNorm, and the backends that are registered for them.

Raw form, which a backend implements:

    forward(x, weight?, bias?, residual?, eps) -> (y, h, mean, rstd)
    backward(dy, dh?, h, weight?, bias?, mean, rstd, eps) -> (dx, dweight, dbias)

As in rms_norm: h is x + residual, empty without a residual (then backward is given x as h). What is absent is empty.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import arguments, autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.layer_norm import reference
from pylm_kernels.triton_runtime import launch

WIDEST = 16384


def _serves(device: str, dtype: torch.dtype, facts: Any) -> str | None:
    if facts and facts["width"] > WIDEST:
        return f"its tiles hold rows of up to {WIDEST}, not {facts['width']}"
    return launch.serves(device, dtype, facts)


_TRITON = "pylm_kernels.ops.layer_norm.triton"
register("layer_norm", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), _serves)


def _forward(*inputs: Any) -> Any:
    return implementation("layer_norm", inputs[-1]).forward(*inputs[:-1])


def _fake(x: Any, weight: Any, bias: Any, residual: Any, eps: float, backend: str) -> Any:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    h = x.new_empty(x.shape) if residual is not None else x.new_empty(0)
    return x.new_empty(x.shape), h, *(x.new_empty(x.shape[:-1], dtype=wide) for _ in range(2))


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, bias, residual, ctx.eps, ctx.backend = inputs
    _, h, mean, rstd = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*((mean, rstd) if residual is not None else (h, mean, rstd)))
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x if residual is None else h, weight, bias, mean, rstd)


def _backward_body(*inputs: Any) -> Any:
    return implementation("layer_norm", inputs[-1]).backward(*inputs[:-1])


def _backward_fake(dy: Any, dh: Any, h: Any, weight: Any, bias: Any, *_: Any) -> Any:
    vectors = [h.new_empty(0) if w is None else w.new_empty(w.shape) for w in (weight, bias)]
    return (h.new_empty(h.shape), *vectors)


def _backward(ctx: Any, run: Any, dy: Any, dh: Any, *_: Any) -> Any:
    saved = ctx.saved_tensors
    h, weight, bias = saved[:3]
    if dy is None and dh is None:
        return (None,) * 6
    dy = torch.zeros_like(h) if dy is None else dy
    dx, dweight, dbias = run(dy, dh if ctx.has_residual else None, *saved, ctx.eps, ctx.backend)
    dvectors = (dweight if weight is not None else None, dbias if bias is not None else None)
    return (dx, *dvectors, dx if ctx.has_residual else None, None, None)


def _composite(ctx: Any, dy: Any, dh: Any, *_: Any) -> Any:
    h, weight, bias = ctx.saved_tensors[:3]

    def y(h: Any, weight: Any, bias: Any) -> Any:
        return reference.layer_norm(h, weight, bias, None, ctx.eps)[0]

    dx, dweight, dbias = differentiate(y, (h, weight, bias), (dy,))
    if dh is not None and ctx.has_residual:
        dx = dh if dx is None else dx + dh
    return dx, dweight, dbias, dx if ctx.has_residual else None, None, None


_call = differentiable(
    "layer_norm",
    schema="(Tensor x, Tensor? weight, Tensor? bias, Tensor? residual, float eps, str backend)"
    " -> (Tensor y, Tensor h, Tensor mean, Tensor rstd)",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema="(Tensor dy, Tensor? dh, Tensor h, Tensor? weight, Tensor? bias, Tensor mean, Tensor rstd,"
    " float eps, str backend) -> (Tensor dx, Tensor dweight, Tensor dbias)",
    backward_body=_backward_body,
    backward_fake=_backward_fake,
    backward=_backward,
    composite=_composite,
)


def _problem(x: torch.Tensor, vectors: dict[str, torch.Tensor | None], residual: torch.Tensor | None) -> str:
    if wrong := arguments.floating("x", x):
        return wrong
    if x.dim() == 0:
        return "x: a scalar has no rows to normalise"
    if x.shape[-1] == 0:
        return "x: its last dimension is empty, so there is nothing to normalise"
    for name, vector in vectors.items():
        if vector is not None:
            wrong = arguments.vector(name, vector, x.shape[-1], "the last dimension", "x")
            if wrong := wrong or arguments.same_device(name, vector, "x", x):
                return wrong
    return arguments.like("residual", residual, "x", x) if residual is not None else ""


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    eps: float = 1e-5,
    residual: torch.Tensor | None = None,
    backend: str | None = None,
) -> Any:
    """Return the rows of x less their mean, over their standard deviation, times weight plus bias.

    The arithmetic is in float32.

    Args:
        x: [..., N]; any strides.
        weight: [N] or None.
        bias: [N] or None.
        eps: added to the variance.
        residual: shaped like x; added to it first, and then the sum is returned too.
        backend: the backend for this call.

    Returns:
        y, or (y, x + residual) when a residual is given.
    """
    problem = _problem(x, {"weight": weight, "bias": bias}, residual)
    name, refusal = ("", "") if problem else choose("layer_norm", backend, x, {"width": x.shape[-1]})
    if problem or refusal:
        refused = refuse(x, problem or refusal)
        return refused if residual is None else (refused, refused)
    if name == "reference":
        with autocast.off(x):
            y, h = reference.layer_norm(x, weight, bias, residual, eps)
    else:
        y, h, _, _ = _call(x, weight, bias, residual, float(eps), name)
    return y if residual is None else (y, h)


class LayerNorm(torch.nn.Module):
    """layer_norm with learned weight and bias; it has the same state_dict as torch.nn.LayerNorm."""

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        *,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make a weight of ones and, unless left out, a bias of zeros."""
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = torch.nn.Parameter(torch.ones(dim, device=device, dtype=dtype))
        self.bias = torch.nn.Parameter(torch.zeros(dim, device=device, dtype=dtype)) if bias else None

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
        """Return y, or (y, x + residual) when a residual is given."""
        return layer_norm(x, self.weight, self.bias, eps=self.eps, residual=residual)
