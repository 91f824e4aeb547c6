"""The operations for MLX projects: names and meanings of the torch ones, gradients by MLX's own transformations.

    from pylm_kernels.mlx import rms_norm, swiglu

On an Apple GPU rms_norm, qk_norm_rope and rope_attention run Metal kernels of ours, gradients included (metal.py in
their folders under ops), rms_norm's forward where mx.fast has no launch that does it all; layer_norm is
mx.fast's, the activations are compiled into one kernel each, and cross_entropy is composed of MLX's operations. Without
Metal, as on Linux, everything is plain MLX operations: right, and as fast as these are. PYLM_KERNELS=metal|reference
forces one. The arithmetic is in float32, and what is returned has the dtype of the input. Importing this loads no
torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

try:
    import mlx.core as mx
except ImportError as _error:
    raise ImportError(
        f"pylm_kernels.mlx needs MLX, which cannot be imported here ({_error}): pip install mlx, on Linux 'mlx[cpu]'"
    ) from None
from pylm_kernels.mlx_attention import qk_norm_rope, rope_attention
from pylm_kernels.mlx_decode import attention_decode
from pylm_kernels.mlx_heads import Documents, array, floating
from pylm_kernels.mlx_launch import on_metal
from pylm_kernels.mlx_rope import Rope

__all__ = [
    "Documents",
    "Rope",
    "attention_decode",
    "qk_norm_rope",
    "rope_attention",
    "rms_norm",
    "layer_norm",
    "swiglu",
    "gelu",
    "relu2",
    "cross_entropy",
]


def _like(name: str, x: Any, other_name: str, other: Any) -> None:
    array(name, x)
    if x.shape != other.shape:
        raise ValueError(f"{name}: shape {x.shape} differs from {other_name}'s {other.shape}")
    if x.dtype != other.dtype:
        raise ValueError(f"{name}: dtype {x.dtype} differs from {other_name}'s {other.dtype}; cast one of them")


def _rows(x: Any, vectors: Mapping[str, Any], residual: Any) -> Any:
    """What is to be normalised, once everything fits."""
    floating("x", x)
    if x.ndim == 0:
        raise ValueError("x: a scalar has no rows to normalise")
    if x.shape[-1] == 0:
        raise ValueError("x: its last dimension is empty, so there is nothing to normalise")
    for name, vector in vectors.items():
        if vector is not None:
            floating(name, vector)
            if vector.shape != (x.shape[-1],):
                width = x.shape[-1]
                raise ValueError(f"{name}: shape {vector.shape} does not fit x's last dimension; it must be ({width},)")
    if residual is None:
        return x
    _like("residual", residual, "x", x)
    return x + residual


def rms_norm(x: Any, weight: Any = None, *, eps: float = 1e-5, offset: float = 0.0, residual: Any = None) -> Any:
    """Rows of x divided by their root mean square, times (offset + weight).

    Args:
        x: [..., N].
        weight: [N], of any floating dtype, or None.
        eps: added to the mean square.
        offset: added to the weight, in float32; 1 gives Gemma's 1 + w.
        residual: shaped like x; added to it first, and then the sum is returned too.

    Returns:
        y, or (y, x + residual) when a residual is given.

    Raises:
        ValueError: an argument does not fit the others.
    """
    h = _rows(x, {"weight": weight}, residual)
    if x.size and on_metal():
        from pylm_kernels.ops.rms_norm import metal

        found = metal.rms_norm(x, weight, residual, float(eps), float(offset))
        return found if residual is None else tuple(found)
    # mx.fast works in the widest dtype it is given: a weight that must not be rounded goes in as float32
    scale = weight if weight is None or offset == 0 else weight.astype(mx.float32) + offset
    y = mx.fast.rms_norm(h, scale, eps).astype(x.dtype)
    return y if residual is None else (y, h)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, eps: float = 1e-5, residual: Any = None) -> Any:
    """Rows of x less their mean, over their standard deviation, times weight plus bias.

    Args:
        x: [..., N].
        weight: [N] or None.
        bias: [N] or None.
        eps: added to the variance.
        residual: shaped like x; added to it first, and then the sum is returned too.

    Returns:
        y, or (y, x + residual) when a residual is given.

    Raises:
        ValueError: an argument does not fit the others.
    """
    h = _rows(x, {"weight": weight, "bias": bias}, residual)
    y = mx.fast.layer_norm(h, weight, bias, eps).astype(x.dtype)
    return y if residual is None else (y, h)


def _swiglu(gate: Any, up: Any) -> Any:
    g = gate.astype(mx.float32)
    return (g * mx.sigmoid(g) * up.astype(mx.float32)).astype(gate.dtype)


def _gelu(x: Any) -> Any:
    h = x.astype(mx.float32)
    return (0.5 * h * (1 + mx.erf(h / math.sqrt(2)))).astype(x.dtype)


def _gelu_tanh(x: Any) -> Any:
    h = x.astype(mx.float32)
    return (0.5 * h * (1 + mx.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))).astype(x.dtype)


def _relu2(x: Any) -> Any:
    return mx.square(mx.maximum(x.astype(mx.float32), 0.0)).astype(x.dtype)


_BODIES: tuple[Any, ...] = (_swiglu, _gelu, _gelu_tanh, _relu2)
_fused: dict[Any, Any] = {body: mx.compile(body, shapeless=True) for body in _BODIES}


def swiglu(gate: Any, up: Any) -> Any:
    """silu(gate) * up, computed in float32 and rounded once; both of one shape and dtype."""
    floating("gate", gate)
    _like("up", up, "gate", gate)
    return _fused[_swiglu](gate, up)


def gelu(x: Any, *, approximate: str = "none") -> Any:
    """X times the normal distribution's share below x; approximate="tanh" is GPT-2's. Computed in float32."""
    floating("x", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: {approximate!r} is not 'none' or 'tanh'")
    return _fused[_gelu if approximate == "none" else _gelu_tanh](x)


def relu2(x: Any) -> Any:
    """relu(x)², computed in float32 and rounded once."""
    floating("x", x)
    return _fused[_relu2](x)


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy in float32, whatever the logits are.

    A target that is no class is not looked for, since that would evaluate the graph: its loss is infinite.

    Args:
        logits: [..., V].
        targets: [...], classes, or ignore_index in rows that do not count.
        softcap: logits become softcap * tanh(logits / softcap) first.
        ignore_index: the target of rows that do not count.
        z_loss: this much of the squared log-sum is added to each row's loss, which keeps logits from drifting.
        reduction: "mean" over the rows that count (0 when none does), "sum" or "none".

    Returns:
        A scalar, or [...] with reduction "none", in float32.

    Raises:
        ValueError: an argument does not fit the others.
    """
    floating("logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"logits: has {logits.ndim} dimensions; it must be [..., rows, columns]")
    array("targets", targets)
    if not mx.issubdtype(targets.dtype, mx.integer):
        raise ValueError(f"targets: dtype {targets.dtype} is no integer")
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets: shape {targets.shape} is not that of logits without its last dimension")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"softcap: {softcap} must be positive, or None")
    if z_loss < 0:
        raise ValueError(f"z_loss: {z_loss} is negative")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: {reduction!r} is not one of mean, sum, none")
    wide, at = logits.astype(mx.float32), targets.astype(mx.int64)
    if softcap is not None:
        wide = softcap * mx.tanh(wide / softcap)
    counts, is_class = at != ignore_index, (at >= 0) & (at < logits.shape[-1])
    lse = mx.logsumexp(wide, axis=-1)
    target = mx.take_along_axis(wide, mx.where(is_class & counts, at, 0)[..., None], axis=-1)[..., 0]
    losses = mx.where(counts, lse - mx.where(is_class, target, -math.inf) + z_loss * mx.square(lse), 0.0)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / mx.maximum(counts.sum(), 1)
