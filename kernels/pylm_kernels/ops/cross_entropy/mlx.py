"""cross_entropy for MLX arrays, composed of MLX's operations."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import array, floating


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Return the cross-entropy in float32, whatever the logits are.

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
