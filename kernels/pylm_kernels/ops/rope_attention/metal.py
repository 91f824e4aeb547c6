"""rope_attention on Apple GPUs: forward, and a backward that keeps no T × T: three launches, the same bits every time.

Forward, a threadgroup of four simdgroups has 32 rows of one head, eight rows a simdgroup, and walks over tiles of keys
that lie in threadgroup memory, K first and V in its place. Backward, one kernel has rows and walks over keys (dQ, and
on its way delta = Σ o · do), the other has keys and walks over the rows of all heads that share them (dK, dV). Products
are simdgroup matrices of floats, whatever the arrays hold, so p and ds are never rounded. Tiles that nobody sees are
not walked over, and masks are looked at only in tiles that some row sees in part.

q, k and v may lie in one packed projection: each is found by how many heads a token has in its buffer and which is its
first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx_heads import Mask
from pylm_kernels.mlx_launch import SIMD, Kernel, launch

ROWS = 32  # of a threadgroup: eight for each of its simdgroups

_HEADER = """
#define LOG2E 1.4426950408889634f
// where a lane's two neighbouring elements of an 8 x 8 matrix stand
inline uint row_of(uint lane) { return ((lane / 4) & 4) + (lane / 2) % 4; }
inline uint column_of(uint lane) { return ((lane / 4) & 2) * 2 + (lane % 2) * 2; }
// over the four lanes that share a row
inline float row_sum(float x) {
    x += simd_shuffle_xor(x, ushort(1));
    return x + simd_shuffle_xor(x, ushort(8));
}
inline float row_max(float x) {
    x = max(x, simd_shuffle_xor(x, ushort(1)));
    return max(x, simd_shuffle_xor(x, ushort(8)));
}
template <bool CAUSAL, int WINDOW>
inline bool sees(int row, int key) {  // both counted among the keys
    return (!CAUSAL || key <= row) && (WINDOW == 0 || (key > row - WINDOW && key < row + WINDOW));
}
inline float capped(float s, float scale, float cap) {
    s *= scale;
    return cap > 0.0f ? cap * metal::precise::tanh(s / cap) : s;
}
// eight rows of a tile, element (i, d) first, or turned: (d, i)
template <typename Tile>
inline simdgroup_float8x8 piece(Tile tile, uint ld, uint i, uint d, uint lane) {
    simdgroup_float8x8 m;
    const uint at = (i + row_of(lane)) * ld + d + column_of(lane);
    for (uint j = 0; j < 2; j++) m.thread_elements()[j] = float(tile[at + j]);
    return m;
}
template <typename Tile>
inline simdgroup_float8x8 turned(Tile tile, uint ld, uint i, uint d, uint lane) {
    simdgroup_float8x8 m;
    const uint at = (i + column_of(lane)) * ld + d + row_of(lane);
    for (uint j = 0; j < 2; j++) m.thread_elements()[j] = float(tile[at + j * ld]);
    return m;
}
"""

_PLACES = """
    const uint lane = thread_index_in_simdgroup;
    const uint thread_number = thread_index_in_threadgroup;
    const uint mine = simdgroup_index_in_threadgroup * 8 + row_of(lane);
    const uint column = column_of(lane);
    const int tq = q_shape[1];
    const int tk = k_shape[1];
    const int shift = tk - tq;
    const size_t b = threadgroup_position_in_grid.z;
    const float scale = numbers[0];
    const float cap = numbers[1];
#define Q_AT(row, head) (((b * tq + (row)) * Q_ALL + Q_FIRST + (head)) * D)
#define K_AT(key, head) (((b * tk + (key)) * K_ALL + K_FIRST + (head)) * D)
#define V_AT(key, head) (((b * tk + (key)) * V_ALL + V_FIRST + (head)) * D)
#define O_AT(row, head) (((b * tq + (row)) * H + (head)) * D)
"""
# the keys that rows first … last see: low … high, and whether every row sees all of key0 … key0 + BLOCK
_KEYS = """
    const int first = int(threadgroups_per_grid.x - 1 - threadgroup_position_in_grid.x) * 32;  // longest walks first
    const int last = min(first + 32, tq) - 1;
    const int row = first + int(mine);
    const bool inside = row < tq;
    const uint h = threadgroup_position_in_grid.y;
    const uint g = h / (H / KV);
    int low = 0;
    int high = tk;
    if (CAUSAL) high = min(high, last + shift + 1);
    if (WINDOW > 0) {
        low = max(low, first + shift - WINDOW + 1);
        high = min(high, last + shift + WINDOW);
    }
#if HAS_STARTS
    low = max(low, starts[b * tq + first]);
    high = min(high, ends[b * tq + last]);
    const int start = inside ? starts[b * tq + row] : 0;
    const int end = inside ? ends[b * tq + row] : 0;
    const int last_start = starts[b * tq + last];
    const int first_end = ends[b * tq + first];
#else
    const int start = 0;
    const int end = tk;
    const int last_start = 0;
    const int first_end = tk;
#endif
#define WHOLE(key0)                                                      \\
    (key0 >= last_start && key0 + BLOCK <= first_end &&                  \\
     sees<CAUSAL, WINDOW>(first + shift, key0 + BLOCK - 1) && sees<CAUSAL, WINDOW>(last + shift, key0))
#define SEEN(key) (key >= start && key < end && sees<CAUSAL, WINDOW>(row + shift, key))
"""
_UNDEFINE = """
#undef Q_AT
#undef K_AT
#undef V_AT
#undef O_AT
#undef WHOLE
#undef SEEN
"""

FORWARD = Kernel(
    name="attention",
    inputs=("q", "k", "v", "starts", "ends", "sinks", "numbers"),
    outputs=("o", "lse"),
    optional=("starts", "ends", "sinks"),
    header=_HEADER,
    source=_PLACES
    + _KEYS
    + """
    threadgroup T tile[BLOCK * LD];
    simdgroup_float8x8 rows[PIECES];
    simdgroup_float8x8 sums[PIECES];
    for (int n = 0; n < PIECES; n++)
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            rows[n].thread_elements()[j] = inside && i < D ? float(q[Q_AT(row, h) + i]) : 0.0f;
            sums[n].thread_elements()[j] = 0.0f;
        }
#if HAS_SINKS
    float top = float(sinks[h]) * LOG2E;
    float total = 1.0f;
#else
    float top = -INFINITY;
    float total = 0.0f;
#endif
    for (int key0 = low; key0 < high; key0 += BLOCK) {
        threadgroup_barrier(mem_flags::mem_threadgroup);  // until the last tile of V has been used
        for (uint e = thread_number; e < BLOCK * PIECES * 8; e += 128) {
            const int key = key0 + int(e / (PIECES * 8));
            const uint i = e % (PIECES * 8);
            tile[e / (PIECES * 8) * LD + i] = key < high && i < D ? k[K_AT(key, g) + i] : static_cast<T>(0.0f);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        simdgroup_float8x8 weights[BLOCK / 8];
        for (int m = 0; m < BLOCK / 8; m++) {
            weights[m] = simdgroup_float8x8(0.0f);
            for (int n = 0; n < PIECES; n++)
                simdgroup_multiply_accumulate(weights[m], rows[n], turned(tile, LD, m * 8, n * 8, lane), weights[m]);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);  // K has been used; V takes its place
        for (uint e = thread_number; e < BLOCK * PIECES * 8; e += 128) {
            const int key = key0 + int(e / (PIECES * 8));
            const uint i = e % (PIECES * 8);
            tile[e / (PIECES * 8) * LD + i] = key < high && i < D ? v[V_AT(key, g) + i] : static_cast<T>(0.0f);
        }
        const bool whole = WHOLE(key0);
        float highest = top;
        for (int m = 0; m < BLOCK / 8; m++)
            for (int j = 0; j < 2; j++) {
                const int key = key0 + m * 8 + int(column) + j;
                float s = capped(weights[m].thread_elements()[j], scale, cap) * LOG2E;
                if (!whole && !SEEN(key)) s = -INFINITY;
                weights[m].thread_elements()[j] = s;
                highest = max(highest, s);
            }
        highest = row_max(highest);
        const float base = highest == -INFINITY ? 0.0f : highest;  // a row with no key yet: -inf - -inf is no number
        float sum = 0.0f;
        for (int m = 0; m < BLOCK / 8; m++)
            for (int j = 0; j < 2; j++) {
                const float p = exp2(weights[m].thread_elements()[j] - base);
                weights[m].thread_elements()[j] = p;
                sum += p;
            }
        const float fade = exp2(top - base);
        total = total * fade + row_sum(sum);
        top = highest;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int n = 0; n < PIECES; n++) {
            for (int j = 0; j < 2; j++) sums[n].thread_elements()[j] *= fade;
            for (int m = 0; m < BLOCK / 8; m++)
                simdgroup_multiply_accumulate(sums[n], weights[m], piece(tile, LD, m * 8, n * 8, lane), sums[n]);
        }
    }
    if (!inside) return;
    const bool alone = total == 0.0f;
    if (column == 0) lse[(b * H + h) * tq + row] = alone ? 0.0f : (top + log2(total)) / LOG2E;
    for (int n = 0; n < PIECES; n++)
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            if (i < D) o[O_AT(row, h) + i] = static_cast<T>(alone ? 0.0f : sums[n].thread_elements()[j] / total);
        }
"""
    + _UNDEFINE,
)

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
    header=_HEADER,
    source=_PLACES
    + _KEYS
    + """
    threadgroup T keys[BLOCK * LD];
    threadgroup T values[BLOCK * LD];
    simdgroup_float8x8 rows[PIECES];
    simdgroup_float8x8 given[PIECES];
    simdgroup_float8x8 sums[PIECES];
    float product = 0.0f;
    for (int n = 0; n < PIECES; n++)
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
        for (int m = 0; m < BLOCK / 8; m++) {
            simdgroup_float8x8 weights(0.0f);
            simdgroup_float8x8 gradients(0.0f);
            for (int n = 0; n < PIECES; n++) {
                simdgroup_multiply_accumulate(weights, rows[n], turned(keys, LD, m * 8, n * 8, lane), weights);
                simdgroup_multiply_accumulate(gradients, given[n], turned(values, LD, m * 8, n * 8, lane), gradients);
            }
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
            for (int n = 0; n < PIECES; n++)
                simdgroup_multiply_accumulate(sums[n], gradients, piece(keys, LD, m * 8, n * 8, lane), sums[n]);
        }
    }
    if (!inside) return;
    for (int n = 0; n < PIECES; n++)
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            if (i < D) dq[O_AT(row, h) + i] = static_cast<T>(sums[n].thread_elements()[j] * scale);
        }
"""
    + _UNDEFINE,
)

KEYS_BACKWARD = Kernel(
    name="attention_dkdv",
    inputs=("q", "k", "v", "do_", "lse", "delta", "starts", "ends", "numbers"),
    outputs=("dk", "dv"),
    optional=("starts", "ends"),
    header=_HEADER,
    source=_PLACES
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
    for (int n = 0; n < PIECES; n++)
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
            for (int m = 0; m < BLOCK / 8; m++) {
                simdgroup_float8x8 weights(0.0f);
                simdgroup_float8x8 gradients(0.0f);
                for (int n = 0; n < PIECES; n++) {
                    simdgroup_multiply_accumulate(weights, keys[n], turned(rows, LD, m * 8, n * 8, lane), weights);
                    const simdgroup_float8x8 above = turned(given, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(gradients, values[n], above, gradients);
                }
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
                for (int n = 0; n < PIECES; n++) {
                    const simdgroup_float8x8 above = piece(given, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(value_sums[n], weights, above, value_sums[n]);
                    const simdgroup_float8x8 queries = piece(rows, LD, m * 8, n * 8, lane);
                    simdgroup_multiply_accumulate(key_sums[n], gradients, queries, key_sums[n]);
                }
            }
        }
    if (!inside) return;
    for (int n = 0; n < PIECES; n++)
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            const size_t at = ((b * tk + key) * KV + g) * D + i;
            if (i < D) dk[at] = static_cast<T>(key_sums[n].thread_elements()[j] * scale);
            if (i < D) dv[at] = static_cast<T>(value_sums[n].thread_elements()[j]);
        }
"""
    + _UNDEFINE,
)


class Where(NamedTuple):
    """Arrays [B, T, heads, D] of q, k and v, which may be one and the same, and each one's first head in its array."""

    q: Any
    k: Any
    v: Any
    first: tuple[int, int, int]
    n_heads: int
    n_kv_heads: int


def _template(where: Where, mask: Mask, tiles: int) -> dict[str, Any]:
    d = where.q.shape[3]
    pieces = -(-d // 8)
    return {
        "T": where.q.dtype, "D": d, "PIECES": pieces, "LD": pieces * 8 + 4, "H": where.n_heads, "KV": where.n_kv_heads,
        "Q_ALL": where.q.shape[2], "Q_FIRST": where.first[0], "K_ALL": where.k.shape[2], "K_FIRST": where.first[1],
        "V_ALL": where.v.shape[2], "V_FIRST": where.first[2], "CAUSAL": mask.causal, "WINDOW": mask.window,
        # two tiles of floats take 17 KB of the 32 KB that a threadgroup has
        "BLOCK": max(8, min(32, 4096 // tiles // (pieces * 8) // 8 * 8)),
    }  # fmt: skip


def _numbers(mask: Mask) -> Any:
    return mx.array([mask.scale, mask.softcap])


def forward(where: Where, mask: Mask, sinks: Any) -> tuple[Any, Any]:
    """O [B, Tq, H, D] and the logarithm of each row's sum [B, H, Tq], 0 where a row sees no key."""
    b, t, _, d = where.q.shape
    found = launch(
        FORWARD,
        {"q": where.q, "k": where.k, "v": where.v, "starts": mask.starts, "ends": mask.ends, "sinks": sinks,
         "numbers": _numbers(mask)},
        {"o": ((b, t, where.n_heads, d), where.q.dtype), "lse": ((b, where.n_heads, t), mx.float32)},
        template=_template(where, mask, 1),
        threadgroups=(-(-t // ROWS), where.n_heads, b),
        threads=SIMD * ROWS // 8,
    )  # fmt: skip
    return found["o"], found["lse"]


def backward(do: Any, o: Any, lse: Any, where: Where, mask: Mask) -> tuple[Any, Any, Any, Any]:
    """DQ [B, Tq, H, D], dK and dV [B, Tk, kv heads, D], and delta [B, H, Tq]."""
    b, t, _, d = where.q.shape
    keys = where.k.shape[1]
    every = {"q": where.q, "k": where.k, "v": where.v, "do_": do, "lse": lse, "starts": mask.starts, "ends": mask.ends,
             "numbers": _numbers(mask)}  # fmt: skip
    of_rows = launch(
        ROWS_BACKWARD,
        every | {"o": o},
        {"dq": ((b, t, where.n_heads, d), do.dtype), "delta": (lse.shape, mx.float32)},
        template=_template(where, mask, 2),
        threadgroups=(-(-t // ROWS), where.n_heads, b),
        threads=SIMD * ROWS // 8,
    )
    shape = (b, keys, where.n_kv_heads, d)
    of_keys = launch(
        KEYS_BACKWARD,
        every | {"delta": of_rows["delta"]},
        {"dk": (shape, do.dtype), "dv": (shape, do.dtype)},
        template=_template(where, mask, 2),
        threadgroups=(-(-keys // ROWS), where.n_kv_heads, b),
        threads=SIMD * ROWS // 8,
    )
    return of_rows["dq"], of_keys["dk"], of_keys["dv"], of_rows["delta"]
