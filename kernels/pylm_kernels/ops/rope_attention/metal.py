"""rope_attention on Apple GPUs, forward, and what its backward (metal_backward.py) shares with it.

A threadgroup of four simdgroups has 32 rows of one head, eight rows a simdgroup, and walks over tiles of keys that lie
in threadgroup memory, K first and V in its place. Products are simdgroup matrices of floats, whatever the arrays hold,
so p is never rounded. Tiles that nobody sees are not walked over, and masks are looked at only in tiles that some row
sees in part.

q, k and v may lie in one packed projection: each is found by how many heads a token has in its buffer and which is its
first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx.heads import Mask
from pylm_kernels.mlx.launch import SIMD, UNROLL, Kernel, launch

WIDEST = 256  # head that the kernels' registers hold
ROWS = 32  # of a threadgroup: eight for each of its simdgroups

HEADER = (
    UNROLL
    + """#include <metal_simdgroup_matrix>
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
    UNROLL
    for (uint j = 0; j < 2; j++) m.thread_elements()[j] = float(tile[at + j]);
    return m;
}
template <typename Tile>
inline simdgroup_float8x8 turned(Tile tile, uint ld, uint i, uint d, uint lane) {
    simdgroup_float8x8 m;
    const uint at = (i + column_of(lane)) * ld + d + row_of(lane);
    UNROLL
    for (uint j = 0; j < 2; j++) m.thread_elements()[j] = float(tile[at + j * ld]);
    return m;
}
"""
)

PLACES = """
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
KEYS = """
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
UNDEFINE = """
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
    header=HEADER,
    source=PLACES
    + KEYS
    + """
    threadgroup T tile[BLOCK * LD];
    simdgroup_float8x8 rows[PIECES];
    simdgroup_float8x8 sums[PIECES];
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
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
        UNROLL
        for (int m = 0; m < BLOCK / 8; m++) {
            weights[m] = simdgroup_float8x8(0.0f);
            UNROLL
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
        UNROLL
        for (int m = 0; m < BLOCK / 8; m++)
            UNROLL
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
        UNROLL
        for (int m = 0; m < BLOCK / 8; m++)
            UNROLL
            for (int j = 0; j < 2; j++) {
                const float p = exp2(weights[m].thread_elements()[j] - base);
                weights[m].thread_elements()[j] = p;
                sum += p;
            }
        const float fade = exp2(top - base);
        total = total * fade + row_sum(sum);
        top = highest;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        UNROLL
        for (int n = 0; n < PIECES; n++) {
            UNROLL
            for (int j = 0; j < 2; j++) sums[n].thread_elements()[j] *= fade;
            UNROLL
            for (int m = 0; m < BLOCK / 8; m++)
                simdgroup_multiply_accumulate(sums[n], weights[m], piece(tile, LD, m * 8, n * 8, lane), sums[n]);
        }
    }
    if (!inside) return;
    const bool alone = total == 0.0f;
    if (column == 0) lse[(b * H + h) * tq + row] = alone ? 0.0f : (top + log2(total)) / LOG2E;
    UNROLL
    for (int n = 0; n < PIECES; n++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            const uint i = n * 8 + column + j;
            if (i < D) o[O_AT(row, h) + i] = static_cast<T>(alone ? 0.0f : sums[n].thread_elements()[j] / total);
        }
"""
    + UNDEFINE,
)


class Where(NamedTuple):
    """Arrays [B, T, heads, D] of q, k and v, which may be one and the same, and each one's first head in its array."""

    q: Any
    k: Any
    v: Any
    first: tuple[int, int, int]
    n_heads: int
    n_kv_heads: int


def refusal(head_dim: int) -> str:
    """Return why these kernels cannot serve heads of this width, or an empty string where they can."""
    return f"its tiles hold heads of up to {WIDEST}, not {head_dim}" if head_dim > WIDEST else ""


def template(where: Where, mask: Mask, tiles: int) -> dict[str, Any]:
    """Return the kernels' constants, with so many tiles of keys or rows in threadgroup memory."""
    d = where.q.shape[3]
    pieces = -(-d // 8)
    return {
        "T": where.q.dtype, "D": d, "PIECES": pieces, "LD": pieces * 8 + 4, "H": where.n_heads, "KV": where.n_kv_heads,
        "Q_ALL": where.q.shape[2], "Q_FIRST": where.first[0], "K_ALL": where.k.shape[2], "K_FIRST": where.first[1],
        "V_ALL": where.v.shape[2], "V_FIRST": where.first[2], "CAUSAL": mask.causal, "WINDOW": mask.window,
        # two tiles of floats take 17 KB of the 32 KB that a threadgroup has
        "BLOCK": max(8, min(32, 4096 // tiles // (pieces * 8) // 8 * 8)),
    }  # fmt: skip


def numbers(mask: Mask) -> Any:
    """Return what the kernels find as numbers[0] and numbers[1]: the scale and the soft cap."""
    return mx.array([mask.scale, mask.softcap])


def forward(where: Where, mask: Mask, sinks: Any) -> tuple[Any, Any]:
    """Return O [B, Tq, H, D] and the logarithm of each row's sum [B, H, Tq], 0 where a row sees no key."""
    b, t, _, d = where.q.shape
    found = launch(
        FORWARD,
        {"q": where.q, "k": where.k, "v": where.v, "starts": mask.starts, "ends": mask.ends, "sinks": sinks,
         "numbers": numbers(mask)},
        {"o": ((b, t, where.n_heads, d), where.q.dtype), "lse": ((b, where.n_heads, t), mx.float32)},
        template=template(where, mask, 1),
        threadgroups=(-(-t // ROWS), where.n_heads, b),
        threads=SIMD * ROWS // 8,
    )  # fmt: skip
    return found["o"], found["lse"]
