"""The gradients of attention on Apple GPUs: no T × T, no atomics, the same bits every time.

One kernel has rows and walks over keys (dQ, and on its way delta = Σ o · do), the other has keys and walks over the
rows of all heads that share them (dK, dV). p and its gradient stay in floats.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.heads import Mask
from pylm_kernels.mlx.launch import SIMD, Kernel, launch
from pylm_kernels.ops.rope_attention.metal import HEADER, KEYS, PLACES, ROWS, UNDEFINE, Where, numbers, template

# s of eight rows and eight keys, p, and the gradient of s but for the scale
_GRADIENT_OF_S = """
                const float s = capped(weights.thread_elements()[j], scale, cap);
                const float p = whole || SEEN_HERE ? exp2((s - LSE_HERE) * LOG2E) : 0.0f;
                float ds = p * (gradients.thread_elements()[j] - DELTA_HERE);
                if (cap > 0.0f) ds *= 1.0f - (s / cap) * (s / cap);
"""

ROWS_BACKWARD = Kernel(
    name="attention_dq",
    inputs=("q", "k", "v", "o", "do_", "lse", "starts", "ends", "numbers"),
    outputs=("dq", "delta"),
    optional=("starts", "ends"),
    header=HEADER,
    source=PLACES
    + KEYS
    + """
    threadgroup T keys[BLOCK * LD];
    threadgroup T values[BLOCK * LD];
    simdgroup_float8x8 rows[PIECES];
    simdgroup_float8x8 given[PIECES];
    simdgroup_float8x8 sums[PIECES];
    float product = 0.0f;
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            const bool there = inside && i < D;
            const float from_above = there ? float(do_[O_AT(row, h) + i]) : 0.0f;
            rows[n].thread_elements()[j] = there ? float(q[Q_AT(row, h) + i]) : 0.0f;
            given[n].thread_elements()[j] = from_above;
            sums[n].thread_elements()[j] = 0.0f;
            product += there ? from_above * float(o[O_AT(row, h) + i]) : 0.0f;
        }
    product = row_sum(product);
    const size_t at = (b * H + h) * tq + row;
    if (inside && column == 0) delta[at] = product;
    const float of_row = inside ? lse[at] : 0.0f;
    for (int key0 = low; key0 < high; key0 += BLOCK) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint e = thread_number; e < BLOCK * PIECES * 8; e += 128) {
            const int key = key0 + int(e / (PIECES * 8));
            const uint i = e % (PIECES * 8);
            const bool there = key < tk && i < D;
            keys[e / (PIECES * 8) * LD + i] = there ? k[K_AT(key, g) + i] : static_cast<T>(0.0f);
            values[e / (PIECES * 8) * LD + i] = there ? v[V_AT(key, g) + i] : static_cast<T>(0.0f);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const bool whole = WHOLE(key0);
        UNROLL
        for (int m = 0; m < BLOCK / 8; m++) {
            simdgroup_float8x8 weights(0.0f);
            simdgroup_float8x8 gradients(0.0f);
            UNROLL
            for (int n = 0; n < PIECES; n++) {
                simdgroup_multiply_accumulate(weights, rows[n], turned(keys, LD, m * 8, n * 8, lane), weights);
                simdgroup_multiply_accumulate(gradients, given[n], turned(values, LD, m * 8, n * 8, lane), gradients);
            }
            UNROLL
            for (int j = 0; j < 2; j++) {
                const int key = key0 + m * 8 + int(column) + j;
#define SEEN_HERE SEEN(key)
#define LSE_HERE of_row
#define DELTA_HERE product"""
    + _GRADIENT_OF_S
    + """
                gradients.thread_elements()[j] = ds;
#undef SEEN_HERE
#undef LSE_HERE
#undef DELTA_HERE
            }
            UNROLL
            for (int n = 0; n < PIECES; n++)
                simdgroup_multiply_accumulate(sums[n], gradients, piece(keys, LD, m * 8, n * 8, lane), sums[n]);
        }
    }
    if (!inside) return;
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            if (i < D) dq[O_AT(row, h) + i] = static_cast<T>(sums[n].thread_elements()[j] * scale);
        }
"""
    + UNDEFINE,
)

KEYS_BACKWARD = Kernel(
    name="attention_dkdv",
    inputs=("q", "k", "v", "do_", "lse", "delta", "starts", "ends", "numbers"),
    outputs=("dk", "dv"),
    optional=("starts", "ends"),
    header=HEADER,
    source=PLACES
    + """
    const int first = int(threadgroup_position_in_grid.x) * 32;  // under a causal mask the longest walks first
    const int last = min(first + 32, tk) - 1;
    const int key = first + int(mine);
    const bool inside = key < tk;
    const uint g = threadgroup_position_in_grid.y;
    int low = 0;
    int high = tq;
    if (CAUSAL) low = max(low, first - shift);
    if (WINDOW > 0) {
        low = max(low, first - shift - WINDOW + 1);
        high = min(high, last - shift + WINDOW);
    }
#if HAS_STARTS
    low = max(low, starts[b * tq + first]);
    high = min(high, ends[b * tq + last]);
#endif
    threadgroup T rows[BLOCK * LD];
    threadgroup T given[BLOCK * LD];
    threadgroup float sums[BLOCK];
    threadgroup float deltas[BLOCK];
    threadgroup int from[BLOCK];
    threadgroup int until[BLOCK];
    simdgroup_float8x8 keys[PIECES];
    simdgroup_float8x8 values[PIECES];
    simdgroup_float8x8 key_sums[PIECES];
    simdgroup_float8x8 value_sums[PIECES];
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            keys[n].thread_elements()[j] = inside && i < D ? float(k[K_AT(key, g) + i]) : 0.0f;
            values[n].thread_elements()[j] = inside && i < D ? float(v[V_AT(key, g) + i]) : 0.0f;
            key_sums[n].thread_elements()[j] = 0.0f;
            value_sums[n].thread_elements()[j] = 0.0f;
        }
    for (uint h = g * (H / KV); h < (g + 1) * (H / KV); h++)
        for (int row0 = low; row0 < high; row0 += BLOCK) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            for (uint e = thread_number; e < BLOCK * PIECES * 8; e += 128) {
                const int row = row0 + int(e / (PIECES * 8));
                const uint i = e % (PIECES * 8);
                const bool there = row < tq && i < D;
                rows[e / (PIECES * 8) * LD + i] = there ? q[Q_AT(row, h) + i] : static_cast<T>(0.0f);
                given[e / (PIECES * 8) * LD + i] = there ? do_[O_AT(row, h) + i] : static_cast<T>(0.0f);
            }
            if (thread_number < BLOCK) {
                const int row = row0 + int(thread_number);
                const bool there = row < tq;
                sums[thread_number] = there ? lse[(b * H + h) * tq + row] : 0.0f;
                deltas[thread_number] = there ? delta[(b * H + h) * tq + row] : 0.0f;
#if HAS_STARTS
                from[thread_number] = there ? starts[b * tq + row] : 0;
                until[thread_number] = there ? ends[b * tq + row] : 0;
#else
                from[thread_number] = 0;
                until[thread_number] = there ? tk : 0;
#endif
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const bool whole = row0 + BLOCK <= tq && from[BLOCK - 1] <= first && until[0] > last &&
                sees<CAUSAL, WINDOW>(row0 + shift, last) && sees<CAUSAL, WINDOW>(row0 + BLOCK - 1 + shift, first);
            UNROLL
            for (int m = 0; m < BLOCK / 8; m++) {
                simdgroup_float8x8 weights(0.0f);
                simdgroup_float8x8 gradients(0.0f);
                UNROLL
                for (int n = 0; n < PIECES; n++) {
                    simdgroup_multiply_accumulate(weights, keys[n], turned(rows, LD, m * 8, n * 8, lane), weights);
                    const simdgroup_float8x8 above = turned(given, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(gradients, values[n], above, gradients);
                }
                UNROLL
                for (int j = 0; j < 2; j++) {
                    const uint r = m * 8 + column + j;
#define SEEN_HERE (key >= from[r] && key < until[r] && sees<CAUSAL, WINDOW>(row0 + int(r) + shift, key))
#define LSE_HERE sums[r]
#define DELTA_HERE deltas[r]"""
    + _GRADIENT_OF_S
    + """
                    weights.thread_elements()[j] = p;
                    gradients.thread_elements()[j] = ds;
#undef SEEN_HERE
#undef LSE_HERE
#undef DELTA_HERE
                }
                UNROLL
                for (int n = 0; n < PIECES; n++) {
                    const simdgroup_float8x8 above = piece(given, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(value_sums[n], weights, above, value_sums[n]);
                    const simdgroup_float8x8 queries = piece(rows, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(key_sums[n], gradients, queries, key_sums[n]);
                }
            }
        }
    if (!inside) return;
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            const size_t at = ((b * tk + key) * KV + g) * D + i;
            if (i < D) dk[at] = static_cast<T>(key_sums[n].thread_elements()[j] * scale);
            if (i < D) dv[at] = static_cast<T>(value_sums[n].thread_elements()[j]);
        }
"""
    + UNDEFINE,
)


def backward(do: Any, o: Any, lse: Any, where: Where, mask: Mask) -> tuple[Any, Any, Any, Any]:
    """Return dQ [B, Tq, H, D], dK and dV [B, Tk, kv heads, D], and delta [B, H, Tq]."""
    b, t, _, d = where.q.shape
    keys = where.k.shape[1]
    every = {"q": where.q, "k": where.k, "v": where.v, "do_": do, "lse": lse, "starts": mask.starts, "ends": mask.ends,
             "numbers": numbers(mask)}  # fmt: skip
    of_rows = launch(
        ROWS_BACKWARD,
        every | {"o": o},
        {"dq": ((b, t, where.n_heads, d), do.dtype), "delta": (lse.shape, mx.float32)},
        template=template(where, mask, 2),
        threadgroups=(-(-t // ROWS), where.n_heads, b),
        threads=SIMD * ROWS // 8,
    )
    shape = (b, keys, where.n_kv_heads, d)
    of_keys = launch(
        KEYS_BACKWARD,
        every | {"delta": of_rows["delta"]},
        {"dk": (shape, do.dtype), "dv": (shape, do.dtype)},
        template=template(where, mask, 2),
        threadgroups=(-(-keys // ROWS), where.n_kv_heads, b),
        threads=SIMD * ROWS // 8,
    )
    return of_rows["dq"], of_keys["dk"], of_keys["dv"], of_rows["delta"]
