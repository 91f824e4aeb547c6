"""The ways to compute attention beside the kernels': MLX's own, and by the book.

Letters after names: B batch, T time, H heads, K heads of keys and values, D width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from pylm.errors import UsageError
from pylm.wording import param

__all__ = ["attend", "need_kernel"]


def attend(
    q_BTHD: Any, k_BTKD: Any, v_BTKD: Any, *, how: str, window: int | None, softcap: float | None, starts: Any = None
) -> Any:
    """Return softmax(q kᵀ / √D, capped, masked) v: [B, T, H, D].

    Args:
        q_BTHD: queries, rotated.
        k_BTKD: keys, rotated.
        v_BTKD: values.
        how: "sdpa" is mx.fast's, "reference" stores T × T scores.
        window: how far back a query sees, itself included.
        softcap: scores become softcap · tanh(scores / softcap).
        starts: where the document of each query begins in its row, [B, T].
    """
    if how == "sdpa" and softcap is not None:
        raise UsageError("model.attention sdpa: mx.fast's attention has no soft cap", "choose auto or reference")
    scale = 1 / math.sqrt(q_BTHD.shape[-1])
    query = mx.arange(q_BTHD.shape[1])[:, None]
    key = mx.arange(q_BTHD.shape[1])[None]
    mask = key <= query
    if window is not None:
        mask = mask & (key > query - window)
    if starts is not None:
        mask = mask & (key >= starts[..., None])
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    q, k, v = (x.swapaxes(1, 2) for x in (q_BTHD, k_BTKD, v_BTKD))
    if how == "sdpa":
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask).swapaxes(1, 2)
    return _plainly(q, k, v, mask, scale, softcap).swapaxes(1, 2)


def _plainly(q_BHTD: Any, k_BKTD: Any, v_BKTD: Any, mask: Any, scale: float, softcap: float | None) -> Any:
    batch, heads, time, width = q_BHTD.shape
    kv_heads = k_BKTD.shape[1]
    # heads that share keys and values stand beside each other
    q = q_BHTD.astype(mx.float32).reshape(batch, kv_heads, heads // kv_heads, time, width)
    k, v = (x.astype(mx.float32)[:, :, None] for x in (k_BKTD, v_BKTD))
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if softcap is not None:
        scores = softcap * mx.tanh(scores / softcap)
    mixed = mx.softmax(mx.where(mask[:, :, None], scores, -math.inf), axis=-1) @ v
    return mixed.reshape(batch, heads, time, width).astype(q_BHTD.dtype)


def need_kernel() -> None:
    """Raise where `model.attention: fused` has no kernel to mean."""
    if not mx.metal.is_available():
        raise UsageError(
            "model.attention fused: MLX's is a Metal kernel, and there is no Metal here", param("attention", "auto")
        )
