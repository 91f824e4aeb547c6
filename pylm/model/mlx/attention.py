"""Attention in MLX: rotary positions, masks, and the softmax over what a token sees.

Letters after names: B batch, T time, S keys' time, H heads, K heads of keys and values, D width of a head.
"""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.errors import UsageError

__all__ = ["attend", "rope_tables", "rotated", "seen"]


def rope_tables(head_dim: int, theta: float, positions: int) -> tuple[Any, Any]:
    """Cosines and sines [positions, D / 2] in float32, computed in float64: the angles of far positions are exact."""
    inverse = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    turned = np.arange(positions, dtype=np.float64)[:, None] * inverse
    return mx.array(np.cos(turned).astype(np.float32)), mx.array(np.sin(turned).astype(np.float32))


def rotated(x_BTHD: Any, cos: Any, sin: Any) -> Any:
    """The halves of each head turned against each other, in float32, rounded once.

    Args:
        x_BTHD: queries or keys.
        cos: [T, D / 2], or [B, T, D / 2].
        sin: alike.
    """
    first, second = mx.split(x_BTHD.astype(mx.float32), 2, axis=-1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    return mx.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTHD.dtype)


def seen(queries: Any, keys: Any, window: int | None, starts: Any = None) -> Any:
    """[B or 1, 1, T, S]: which keys each query sees.

    Args:
        queries: their positions, [B or 1, T].
        keys: theirs, [S].
        window: how far back a query sees, itself included.
        starts: where the document of each query begins, shaped as queries.
    """
    query, key = queries[..., None], keys[None, None]
    mask = key <= query
    if window is not None:
        mask = mask & (key > query - window)
    if starts is not None:
        mask = mask & (key >= starts[..., None])
    return mask[:, None]


def attend(q_BTHD: Any, k_BSKD: Any, v_BSKD: Any, mask: Any, *, softcap: float | None, how: str = "auto") -> Any:
    """softmax(q kᵀ / √D, capped, masked) v: [B, T, H, D].

    Args:
        q_BTHD: queries.
        k_BSKD: keys.
        v_BSKD: values.
        mask: of `seen`; "causal"; or None where everything is seen.
        softcap: scores become softcap · tanh(scores / softcap).
        how: the configuration's `model.attention`.
    """
    scale = 1 / math.sqrt(q_BTHD.shape[-1])
    if how == "sdpa" and softcap is not None:
        raise UsageError("model.attention sdpa: mx.fast's attention has no soft cap", "choose auto or reference")
    q, k, v = (x.swapaxes(1, 2) for x in (q_BTHD, k_BSKD, v_BSKD))
    if how == "reference" or softcap is not None:
        return _plainly(q, k, v, mask, scale, softcap).swapaxes(1, 2)
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask).swapaxes(1, 2)


def _plainly(q_BHTD: Any, k_BKSD: Any, v_BKSD: Any, mask: Any, scale: float, softcap: float | None) -> Any:
    """The same by the book, in float32, storing T × S scores."""
    batch, heads, time, width = q_BHTD.shape
    kv_heads, keys = k_BKSD.shape[1:3]
    # heads that share keys and values stand beside each other
    q = q_BHTD.astype(mx.float32).reshape(batch, kv_heads, heads // kv_heads, time, width)
    k, v = (x.astype(mx.float32)[:, :, None] for x in (k_BKSD, v_BKSD))
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if softcap is not None:
        scores = softcap * mx.tanh(scores / softcap)
    if isinstance(mask, str):
        mask = seen(mx.arange(keys - time, keys)[None], mx.arange(keys), None)
    if mask is not None:
        scores = mx.where(mask[:, :, None], scores, -math.inf)
    mixed = mx.softmax(scores, axis=-1) @ v
    return mixed.reshape(batch, heads, time, width).astype(q_BHTD.dtype)
