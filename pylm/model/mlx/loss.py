"""The loss of a step in MLX: logits exist for a few rows at a time, and their gradients are made while they do."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

__all__ = ["IGNORED", "capped", "head_loss"]

IGNORED = -100  # the target of a place that does not count
CHUNK_BYTES = 128 << 20  # bytes of logits that exist at a time, in float32


def capped(logits: Any, softcap: float | None) -> Any:
    """Return logits limited by a tanh."""
    return logits if softcap is None else softcap * mx.tanh(logits / softcap)


def head_loss(hidden_NC: Any, weight_VC: Any, targets_N: Any, factor: Any, softcap: float | None) -> Any:
    """Return the mean cross-entropy over targets that are not IGNORED, times `factor`, as a float32 scalar.

    Both gradients are products of the same rows of logits, which are therefore never computed again. They are
    multiplied by `factor` before they are rounded to the dtype of the model: in float16 that is the scale of the loss.

    Args:
        hidden_NC: rows of the stream, normalised.
        weight_VC: of the head.
        targets_N: integers.
        factor: a float32 scalar; its own gradient is not given.
        softcap: of the logits.
    """

    @mx.custom_function
    def mean_loss(hidden_NC: Any, weight_VC: Any) -> Any:
        return _with_gradients(hidden_NC, weight_VC, targets_N, factor, softcap)

    @mean_loss.vjp
    def gradients(primals: Any, cotangents: Any, outputs: Any) -> Any:
        slope = cotangents[0]
        return tuple((slope * gradient).astype(gradient.dtype) for gradient in outputs[1:])

    loss: Any = mean_loss(hidden_NC, weight_VC)
    return loss[0]


def _with_gradients(hidden_NC: Any, weight_VC: Any, targets_N: Any, factor: Any, softcap: float | None) -> Any:
    """Return the loss, and the gradients of hidden and weight."""
    each = max(CHUNK_BYTES // (4 * weight_VC.shape[0]), 1)
    counts = targets_N != IGNORED
    share = factor / mx.maximum(counts.sum(), 1).astype(mx.float32)
    classes = mx.arange(weight_VC.shape[0])
    total = mx.zeros((), mx.float32)
    hidden_gradients, weight_gradient = [], mx.zeros(weight_VC.shape, mx.float32)
    for first in range(0, hidden_NC.shape[0], each):
        rows = slice(first, first + each)
        target = mx.where(counts[rows], targets_N[rows], 0)[:, None]
        raw = (hidden_NC[rows] @ weight_VC.T).astype(mx.float32)
        logits = capped(raw, softcap)
        log_sum = mx.logsumexp(logits, axis=-1, keepdims=True)
        weights = mx.where(counts[rows], share, 0.0)[:, None]
        total = total + ((log_sum - mx.take_along_axis(logits, target, axis=-1)) * weights).sum()
        slope = (mx.exp(logits - log_sum) - (classes == target)) * weights
        if softcap is not None:
            slope = slope * (1 - mx.square(logits / softcap))
        slope = slope.astype(hidden_NC.dtype)
        hidden_gradients.append(slope @ weight_VC)
        weight_gradient = weight_gradient + (slope.T @ hidden_NC[rows]).astype(mx.float32)
    return total, mx.concatenate(hidden_gradients), weight_gradient.astype(weight_VC.dtype)
