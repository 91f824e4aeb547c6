"""qk_norm_rope on Apple GPUs: one launch forward, one backward (and a sum of lines for the weights).

A head of a token belongs to a simdgroup, and a pair of dimensions that turn together to a lane, so nothing is exchanged
but the two sums of the norm. Backward, each simdgroup keeps to q or to k, takes many heads and its share of that
weight's gradient along in registers. Angles outside the tables are zeros.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.heads import Heads
from pylm_kernels.mlx.launch import SIMD, UNROLL, Kernel, launch
from pylm_kernels.mlx.rope import Rope, Rotation

SIMDGROUPS = 4  # in a threadgroup
TEAMS = 4096  # simdgroups at most where the weights have gradients: each has a line of them

_HEADER = (
    UNROLL
    + """
template <bool INTERLEAVED>
inline uint first_of(uint pair) { return INTERLEAVED ? 2 * pair : pair; }
template <bool INTERLEAVED, int HALF>
inline uint second_of(uint pair) { return INTERLEAVED ? 2 * pair + 1 : pair + HALF; }
"""
)
# where the angles of a token stand, as `turn`, or that they are not there
_ANGLES = """
        int position = int(token % time);
#if HAS_POSITIONS
        position = positions[(positions_shape[0] > 1 ? token / time : 0) * time + token % time];
#endif
        position += whole[0];
        const bool there = position >= 0 && position < cos_shape[0];
        const size_t turn = there ? size_t(position) * HALF : 0;
"""

FORWARD = Kernel(
    name="qk_norm_rope",
    inputs=("q", "k", "cos", "sin", "positions", "q_weight", "k_weight", "eps", "whole"),
    outputs=("q_out", "k_out"),
    optional=("k", "positions", "q_weight", "k_weight"),
    header=_HEADER,
    source="""
    const uint lane = thread_index_in_simdgroup;
    const uint time = uint(q_shape[1]);
    const size_t group = threadgroup_position_in_grid.x;
    const size_t number = group * simdgroups_per_threadgroup + simdgroup_index_in_threadgroup;
    if (number >= size_t(q_shape[0]) * time * (H + KV)) return;
    const size_t token = number / (H + KV);
    const uint head = uint(number % (H + KV));
    const bool is_q = head < H;
    {"""
    + _ANGLES
    + """
#if HAS_K
#define LOAD(i) (is_q ? float(q[(token * H + head) * D + (i)]) : float(k[(token * KV + head - H) * D + (i)]))
#else
#define LOAD(i) float(q[(token * (H + 2 * KV) + head) * D + (i)])
#endif
#if HAS_Q_WEIGHT
#define WEIGHTED(i, value) ((value) * rstd * (is_q ? float(q_weight[i]) : float(k_weight[i])))
        float square = 0.0f;
        for (uint i = lane; i < D; i += 32) square += LOAD(i) * LOAD(i);
        const float rstd = metal::precise::rsqrt(simd_sum(square) / D + eps[0]);
#else
#define WEIGHTED(i, value) (value)
#endif
#define STORE(i, value)                                                                 \\
        if (is_q) q_out[(token * H + head) * D + (i)] = static_cast<T>(value);          \\
        else k_out[(token * KV + head - H) * D + (i)] = static_cast<T>(value);
        for (uint p = lane; p < HALF; p += 32) {
            const uint i = first_of<INTERLEAVED>(p);
            const uint j = second_of<INTERLEAVED, HALF>(p);
            const float a = WEIGHTED(i, LOAD(i));
            const float b = WEIGHTED(j, LOAD(j));
            const float c = there ? float(cos[turn + p]) : 0.0f;
            const float s = there ? float(sin[turn + p]) : 0.0f;
            STORE(i, a * c - b * s)
            STORE(j, b * c + a * s)
        }
        for (uint i = 2 * HALF + lane; i < D; i += 32) {
            const float rest = WEIGHTED(i, LOAD(i));
            STORE(i, rest)
        }
    }
#undef LOAD
#undef WEIGHTED
#undef STORE
""",
)

BACKWARD = Kernel(
    name="qk_norm_rope_backward",
    inputs=("gq", "gk", "gv", "q", "k", "cos", "sin", "positions", "q_weight", "k_weight", "eps", "whole"),
    outputs=("dq", "dk", "lines"),
    optional=("gv", "k", "positions", "q_weight", "k_weight", "dk", "lines"),
    header=_HEADER,
    source="""
    const uint lane = thread_index_in_simdgroup;
    const uint time = uint(q_shape[1]);
    const size_t tokens = size_t(q_shape[0]) * time;
    const uint team = threadgroup_position_in_grid.x * simdgroups_per_threadgroup + simdgroup_index_in_threadgroup;
    const uint q_teams = uint(whole[1]);
    const bool is_q = team < q_teams;
    const uint heads = is_q ? H : KV;
    const uint others = is_q ? q_teams : threadgroups_per_grid.x * simdgroups_per_threadgroup - q_teams;
#if HAS_Q_WEIGHT
    float first_share[PAIRS];
    float second_share[PAIRS];
    float rest_share[RESTS];
    for (int n = 0; n < PAIRS; n++) first_share[n] = second_share[n] = 0.0f;
    for (int n = 0; n < RESTS; n++) rest_share[n] = 0.0f;
#endif
    for (size_t number = is_q ? team : team - q_teams; number < tokens * heads; number += others) {
        const size_t token = number / heads;
"""
    + _ANGLES
    + """
#if HAS_K
#define LOAD(i) (is_q ? float(q[number * D + (i)]) : float(k[number * D + (i)]))
#define STORE(i, value)                                          \\
        if (is_q) dq[number * D + (i)] = static_cast<T>(value);  \\
        else dk[number * D + (i)] = static_cast<T>(value);
#else
        const size_t place = token * (H + 2 * KV) + (is_q ? 0 : H) + number % heads;
#define LOAD(i) float(q[place * D + (i)])
#define STORE(i, value) dq[place * D + (i)] = static_cast<T>(value);
        if (!is_q)
            for (uint i = lane; i < D; i += 32)
#if HAS_GV
                dq[(place + KV) * D + i] = gv[number * D + i];
#else
                dq[(place + KV) * D + i] = static_cast<T>(0.0f);
#endif
#endif
#define GRADIENT(i) (is_q ? float(gq[number * D + (i)]) : float(gk[number * D + (i)]))
#define TURN_BACK                                              \\
            const uint i = first_of<INTERLEAVED>(p);           \\
            const uint j = second_of<INTERLEAVED, HALF>(p);    \\
            const float c = there ? float(cos[turn + p]) : 0.0f;  \\
            const float s = there ? float(sin[turn + p]) : 0.0f;  \\
            float a = GRADIENT(i) * c + GRADIENT(j) * s;       \\
            float b = GRADIENT(j) * c - GRADIENT(i) * s;
#if HAS_Q_WEIGHT
#define WEIGHT(i) (is_q ? float(q_weight[i]) : float(k_weight[i]))
        float square = 0.0f;
        float product = 0.0f;
        for (uint p = lane; p < HALF; p += 32) {
            TURN_BACK
            square += LOAD(i) * LOAD(i) + LOAD(j) * LOAD(j);
            product += a * WEIGHT(i) * LOAD(i) + b * WEIGHT(j) * LOAD(j);
        }
        for (uint i = 2 * HALF + lane; i < D; i += 32) {
            square += LOAD(i) * LOAD(i);
            product += GRADIENT(i) * WEIGHT(i) * LOAD(i);
        }
        const float rstd = metal::precise::rsqrt(simd_sum(square) / D + eps[0]);
        const float mean = simd_sum(product) / D * rstd * rstd;
#endif
        UNROLL
        for (uint n = 0; n < PAIRS; n++) {
            const uint p = lane + n * 32;
            if (p >= HALF) continue;
            TURN_BACK
#if HAS_Q_WEIGHT
            first_share[n] += a * LOAD(i) * rstd;
            second_share[n] += b * LOAD(j) * rstd;
            a = rstd * (a * WEIGHT(i) - LOAD(i) * mean);
            b = rstd * (b * WEIGHT(j) - LOAD(j) * mean);
#endif
            STORE(i, a)
            STORE(j, b)
        }
        UNROLL
        for (uint n = 0; n < RESTS; n++) {
            const uint i = 2 * HALF + lane + n * 32;
            if (i >= D) continue;
            float rest = GRADIENT(i);
#if HAS_Q_WEIGHT
            rest_share[n] += rest * LOAD(i) * rstd;
            rest = rstd * (rest * WEIGHT(i) - LOAD(i) * mean);
#endif
            STORE(i, rest)
        }
    }
#if HAS_Q_WEIGHT
    UNROLL
    for (uint n = 0; n < PAIRS; n++) {
        const uint p = lane + n * 32;
        if (p >= HALF) continue;
        lines[size_t(team) * D + first_of<INTERLEAVED>(p)] = first_share[n];
        lines[size_t(team) * D + second_of<INTERLEAVED, HALF>(p)] = second_share[n];
    }
    UNROLL
    for (uint n = 0; n < RESTS; n++) {
        const uint i = 2 * HALF + lane + n * 32;
        if (i < D) lines[size_t(team) * D + i] = rest_share[n];
    }
#undef WEIGHT
#endif
#undef LOAD
#undef STORE
#undef GRADIENT
#undef TURN_BACK
""",
)


def _template(heads: Heads, rope: Rope) -> dict[str, Any]:
    return {
        "T": heads.q.dtype, "H": heads.n_heads, "KV": heads.n_kv_heads, "D": heads.q.shape[3],
        "HALF": rope.cos.shape[1], "INTERLEAVED": rope.layout == "interleaved",
    }  # fmt: skip


def _inputs(heads: Heads, rotation: Rotation, whole: list[int]) -> dict[str, Any]:
    """Return the arrays that both kernels read, and their numbers."""
    rope, positions, q_weight, k_weight, eps = rotation
    return {
        "q": heads.q, "k": heads.k, "cos": rope.cos, "sin": rope.sin, "positions": positions, "q_weight": q_weight,
        "k_weight": k_weight, "eps": mx.array([eps]), "whole": mx.array(whole, dtype=mx.int32),
    }  # fmt: skip


def forward(heads: Heads, rotation: Rotation) -> tuple[Any, Any]:
    """Return q and k [B, T, heads, D], normalised and rotated.

    They come from q and k of that shape, or from q with everything packed in it.
    """
    q, _, _, n_heads, n_kv_heads = heads
    b, t, _, d = q.shape
    count = b * t * (n_heads + n_kv_heads)
    found = launch(
        FORWARD,
        _inputs(heads, rotation, [rotation.rope.offset]),
        {"q_out": ((b, t, n_heads, d), q.dtype), "k_out": ((b, t, n_kv_heads, d), q.dtype)},
        template=_template(heads, rotation.rope),
        threadgroups=(-(-count // SIMDGROUPS), 1, 1),
        threads=SIMD * SIMDGROUPS,
    )
    return found["q_out"], found["k_out"]


def backward(gq: Any, gk: Any, gv: Any, heads: Heads, rotation: Rotation) -> tuple[Any, Any, Any, Any]:
    """Return the gradients of q, k, q_weight and k_weight, None for what was not given.

    With q packed its gradient is too: gv, the gradient of v, takes its place in it, or zeros do.
    """
    q, k, _, n_heads, n_kv_heads = heads
    rope, _, q_weight, k_weight, _ = rotation
    b, t, _, d = q.shape
    half = rope.cos.shape[1]
    every = n_heads + n_kv_heads
    limit = b * t * every if q_weight is None else min(b * t * every, TEAMS)
    groups = -(-max(limit, 2) // SIMDGROUPS)
    teams = groups * SIMDGROUPS
    q_teams = min(max(teams * n_heads // every, 1), teams - 1)
    found = launch(
        BACKWARD,
        {"gq": gq, "gk": gk, "gv": gv, **_inputs(heads, rotation, [rope.offset, q_teams])},
        {"dq": (q.shape, q.dtype), "dk": None if k is None else (k.shape, k.dtype),
         "lines": None if q_weight is None else ((teams, d), mx.float32)},
        template=_template(heads, rope) | {"PAIRS": -(-half // SIMD), "RESTS": max(1, -(-(d - 2 * half) // SIMD))},
        threadgroups=(groups, 1, 1),
        threads=SIMD * SIMDGROUPS,
    )  # fmt: skip
    lines = found["lines"]
    if lines is None or q_weight is None or k_weight is None:
        return found["dq"], found["dk"], None, None
    return (
        found["dq"], found["dk"], lines[:q_teams].sum(0).astype(q_weight.dtype),
        lines[q_teams:].sum(0).astype(k_weight.dtype),
    )  # fmt: skip
