"""The public rms_norm and RMSNorm, and the backends that are registered for them.

Raw form, which a backend implements:

    forward(x, weight?, residual?, eps, offset) -> (y, h, rstd)
        h is x + residual in x's dtype (an empty tensor without a residual), rstd is [..., ] without the last dimension
    backward(dy, dh?, h, weight?, rstd, eps, offset) -> (dx, dweight)
        h is x itself without a residual; dx is the residual's gradient too; dweight is empty without a weight
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import arguments, autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.rms_norm import reference
from pylm_kernels.triton_runtime import launch

_TRITON = "pylm_kernels.ops.rms_norm.triton"
register("rms_norm", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)


def _forward(x: Any, weight: Any, residual: Any, eps: float, offset: float, backend: str) -> Any:
    return implementation("rms_norm", backend).forward(x, weight, residual, eps, offset)


def _fake(x: Any, weight: Any, residual: Any, eps: float, offset: float, backend: str) -> Any:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    h = x.new_empty(x.shape) if residual is not None else x.new_empty(0)
    return x.new_empty(x.shape), h, x.new_empty(x.shape[:-1], dtype=wide)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, residual, ctx.eps, ctx.offset, ctx.backend = inputs
    _, h, rstd = output
    ctx.set_materialize_grads(False)  # a gradient of h that nobody asked for would be a tensor of zeros, read and added
    ctx.mark_non_differentiable(*((rstd,) if residual is not None else (h, rstd)))
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x if residual is None else h, weight, rstd)


def _backward_body(dy: Any, dh: Any, h: Any, weight: Any, rstd: Any, eps: float, offset: float, backend: str) -> Any:
    return implementation("rms_norm", backend).backward(dy, dh, h, weight, rstd, eps, offset)


def _backward_fake(dy: Any, dh: Any, h: Any, weight: Any, rstd: Any, eps: float, offset: float, backend: str) -> Any:
    return h.new_empty(h.shape), h.new_empty(0) if weight is None else weight.new_empty(weight.shape)


def _backward(ctx: Any, run: Any, dy: Any, dh: Any, drstd: Any) -> Any:
    h, weight, rstd = ctx.saved_tensors
    if dy is None and dh is None:
        return (None,) * 6
    if dy is None:
        dy = torch.zeros_like(h)
    dx, dweight = run(dy, dh if ctx.has_residual else None, h, weight, rstd, ctx.eps, ctx.offset, ctx.backend)
    return dx, dweight if weight is not None else None, dx if ctx.has_residual else None, None, None, None


def _composite(ctx: Any, dy: Any, dh: Any, drstd: Any) -> Any:
    h, weight, _ = ctx.saved_tensors

    def y(h: Any, weight: Any) -> Any:
        return reference.rms_norm(h, weight, None, ctx.eps, ctx.offset)[0]

    dx, dweight = differentiate(y, (h, weight), (dy,))
    if dh is not None and ctx.has_residual:
        dx = dh if dx is None else dx + dh
    return dx, dweight, dx if ctx.has_residual else None, None, None, None


_call = differentiable(
    "rms_norm",
    schema="(Tensor x, Tensor? weight, Tensor? residual, float eps, float offset, str backend)"
    " -> (Tensor y, Tensor h, Tensor rstd)",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema="(Tensor dy, Tensor? dh, Tensor h, Tensor? weight, Tensor rstd, float eps, float offset,"
    " str backend) -> (Tensor dx, Tensor dweight)",
    backward_body=_backward_body,
    backward_fake=_backward_fake,
    backward=_backward,
    composite=_composite,
)


def _problem(x: torch.Tensor, weight: torch.Tensor | None, residual: torch.Tensor | None) -> str:
    if wrong := arguments.floating("x", x):
        return wrong
    if x.dim() == 0:
        return "x: a scalar has no rows to normalise"
    if x.shape[-1] == 0:
        return "x: its last dimension is empty, so there is nothing to normalise"
    if weight is not None:
        if wrong := arguments.vector("weight", weight, x.shape[-1], "the last dimension", "x"):
            return wrong
        if wrong := arguments.same_device("weight", weight, "x", x):
            return wrong
    return arguments.like("residual", residual, "x", x) if residual is not None else ""


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    *,
    eps: float = 1e-5,
    offset: float = 0.0,
    residual: torch.Tensor | None = None,
    backend: str | None = None,
) -> Any:
    """Return the rows of x divided by their root mean square, times (offset + weight).

    The arithmetic is in float32, and the result is stored in x's dtype.

    Args:
        x: [..., N]; any strides.
        weight: [N], of any floating dtype, or None.
        eps: added to the mean square.
        offset: added to the weight; 1 gives Gemma's 1 + w.
        residual: shaped like x; added to it first, and then the sum is returned too.
        backend: the backend for this call; None follows PYLM_KERNELS, then takes whatever serves here.

    Returns:
        y, or (y, x + residual) when a residual is given.

    Raises:
        ValueError: an argument does not fit the others, or a forced backend cannot serve the call.
    """
    problem = _problem(x, weight, residual)
    name, refusal = ("", "") if problem else choose("rms_norm", backend, x, {"width": x.shape[-1]})
    if problem or refusal:
        refused = refuse(x, problem or refusal)
        return refused if residual is None else (refused, refused)
    if name == "reference":
        with autocast.off(x):
            y, h = reference.rms_norm(x, weight, residual, eps, offset)
    else:
        y, h, _ = _call(x, weight, residual, float(eps), float(offset), name)
    return y if residual is None else (y, h)


class RMSNorm(torch.nn.Module):
    """rms_norm with a learned weight; it has the same state_dict as torch.nn.RMSNorm."""

    def __init__(
        self,
        dim: int,
        eps: float = 1e-5,
        *,
        offset: float = 0.0,
        elementwise_affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make the weight: 1 - offset everywhere, so that a new module only normalises."""
        super().__init__()
        self.dim, self.eps, self.offset = dim, eps, offset
        made = torch.full((dim,), 1.0 - offset, device=device, dtype=dtype) if elementwise_affine else None
        self.weight = torch.nn.Parameter(made) if made is not None else None

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
        """Return y, or (y, x + residual) when a residual is given."""
        return rms_norm(x, self.weight, eps=self.eps, offset=self.offset, residual=residual)

    def extra_repr(self) -> str:
        """Return the width, eps and offset that the module's printed form shows."""
        return f"{self.dim}, eps={self.eps}, offset={self.offset}, elementwise_affine={self.weight is not None}"
