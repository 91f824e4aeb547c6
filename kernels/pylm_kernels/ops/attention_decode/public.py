"""The public attention_decode, and the backends that are registered for it.

Raw form, which a backend implements (operands.heads.Heads and Mask, operands.caches.Cache, operands.rope.Rotation):

    forward(heads, cache, rotation, mask) -> o

o is [B, T, H, D] contiguous. The cache is written in place: row b gets its T new keys, normalised and rotated, and its
T new values at positions lengths[b] … lengths[b] + T - 1. Row t of q sees the keys up to its own, lengths[b] + t.
Angles are those of rotation.positions where given, else of lengths[b] + t, plus offset; without rotation.cos nothing
turns. The mask is causal, without documents. lengths has been checked. There is no gradient, and no backward.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from pylm_kernels import autocast, transforms
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import caches
from pylm_kernels.operands import heads as _heads
from pylm_kernels.operands.caches import CACHE, Cache
from pylm_kernels.operands.heads import HEADS, MASK, Heads, Mask
from pylm_kernels.operands.rope import ROTATION, Rope, Rotation
from pylm_kernels.operation import define, gathered, refuse
from pylm_kernels.ops.attention_decode import reference
from pylm_kernels.ops.qk_norm_rope import reference as turning
from pylm_kernels.triton_runtime import launch

ROWS = 64  # new tokens times the heads that share a key: what one program of the kernel holds


def compose(heads: Heads, cache: Cache, rotation: Rotation, mask: Mask) -> torch.Tensor:
    """Compute the operation by its reference, from the arguments of the raw form."""
    q, k, v = heads.parts()
    if rotation.cos is not None:
        if rotation.positions is None:
            rotation = rotation._replace(positions=caches.positions_of(cache.lengths, q.shape[1]))
        q, k = turning.rotate(q, k, rotation)
    return reference.decode(q, k, v, cache, mask)


def _run(*inputs: Any) -> torch.Tensor:
    *raw, last, name = gathered(inputs, Heads, Cache, Rotation, Mask)
    q, cache = raw[0].q, raw[1]
    caches.check(cache.lengths, q.shape[1], cache.k.shape[1], last)
    run = compose if name == "reference" else implementation("attention_decode", name).forward
    with torch.no_grad(), autocast.off(q):
        o: torch.Tensor = run(*raw)
    return o


def _fake(q: Any, k: Any, v: Any, n_heads: int, *rest: Any) -> Any:
    return q.new_empty((q.shape[0], q.shape[1], n_heads, q.shape[3]))


_operation = define(
    "attention_decode",
    f"({HEADS}, {CACHE}, {ROTATION}, {MASK}, int? last, str backend) -> Tensor",
    _run,
    _fake,
)


def attention_decode(
    q: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    *,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    lengths: torch.Tensor,
    rope: Rope | None = None,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: torch.Tensor | None = None,
    k_weight: torch.Tensor | None = None,
    eps: float = 1e-5,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    scale: float | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Return the attention of a few new tokens a row over a cache, which gets their keys and values.

    There is no gradient.

    Args:
        q: [B, T, heads, D] of any strides, or with k and v left out the packed projection
            [B, T, (n_heads + 2 n_kv_heads) * D]. T is small: 1, or the tokens of a guess that is being verified.
        k: [B, T, kv heads, D], neither normalised nor rotated; kv heads divide heads.
        v: the values, in the shape of k.
        k_cache: [B, S, kv heads, D] by strides, holding keys as this function or qk_norm_rope wrote them. The new
            ones are written behind the filled ones. Nothing else is changed, and nothing beyond is read.
        v_cache: the same for values.
        lengths: [B] int32 or int64, how many positions of each row are filled before this call; the caller adds T.
        rope: a pylm_kernels.Rope, at lengths[b] + t unless `rope.at` says otherwise; None: no rotation.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D], RMS-normalises each head of q before the rotation; both weights or none.
        k_weight: [D], the same for k.
        eps: what that norm adds to the mean square.
        window: a row sees keys at a distance below this.
        softcap: scores s become softcap * tanh(s / softcap).
        sinks: [heads], a score beside the keys' that takes its share of the softmax and gives nothing.
        scale: the factor on the scores; 1 / sqrt(D) by default.
        backend: the backend for this call, such as "triton" or "reference".

    Returns:
        [B, T, heads, D].
    """
    q, k, v = autocast.cast(q, k, v)
    heads, problem = _heads.arrange(q, k, v, n_heads, n_kv_heads, wants_v=True)
    problem = problem or _heads.rotary(rope, heads) or _heads.norms(q_weight, k_weight, heads)
    problem = problem or _heads.scores(heads, rope, q_weight, window, softcap, sinks)
    problem = problem or caches.problem(k_cache, v_cache, lengths, heads)
    problem = problem or caches.gradients({"q": q, "k": k, "v": v, "q_weight": q_weight, "k_weight": k_weight})
    if not problem and heads.k is not None and heads.k.shape[1] != heads.q.shape[1]:
        problem = f"k: holds {heads.k.shape[1]} new tokens, q {heads.q.shape[1]}"
    if problem:
        return refuse(q, problem)
    t, d = heads.q.shape[1], heads.q.shape[3]
    facts = {
        "head_dim": d,
        "new": t,
        "rows": t * (heads.n_heads // heads.n_kv_heads),
        "softcap": softcap is not None,
        "sinks": sinks is not None,
        "window": window is not None,
        "rope": rope is not None,
    }
    name, refusal = choose("attention_decode", backend, q, facts)
    if refusal:
        return refuse(q, refusal)
    scale = 1 / math.sqrt(d) if scale is None else float(scale)
    rotation = Rotation.of(rope, None, q_weight, k_weight, eps, q.device)
    mask = Mask(sinks, None, None, True, window or 0, float(softcap or 0.0), scale)
    call = _operation if transforms.traced(q, k_cache) else _run
    o: torch.Tensor = call(*heads, k_cache, v_cache, lengths, *rotation, *mask, rotation.last(rope), name)
    return o


def _serves(device: str, dtype: torch.dtype, facts: Any) -> str | None:
    if facts and facts["head_dim"] > 256:
        return f"its tiles hold heads of up to 256, not {facts['head_dim']}"
    if facts and facts["rows"] > ROWS:
        return f"a program holds {ROWS} rows, not {facts['new']} new tokens times the heads that share a key"
    return launch.serves(device, dtype, facts)


register("attention_decode", "triton", lazily("pylm_kernels.ops.attention_decode.triton", "forward"), None, _serves)
