// Products with an engine's weights for many tokens, when arithmetic counts. PANEL rows of weights at a time:
//
//   weights                     lines                   panel                      tile
//   [PANEL][width]  ── widen ─► [LINES][depth] units ─► [depth][PANEL]: columns ─► [48 tokens][PANEL] = tokens · panel
//                                                                                  ─► scaled, biased, added into y
#pragma once
#include "cpu/kernels/gemm.hpp"
#include "cpu/kernels/quantise.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t TOKENS_AT_ONCE = 48;  // rows of a tile
constexpr int64_t LINES = 16;           // rows of weights that are packed together

/// Scratch of product_many: a packed panel, rows widened and in units, a tile of results.
inline int64_t product_scratch(int64_t width) {
    const auto floats = (width + 2) * PANEL + (LINES + 1) * (width + 64) + TOKENS_AT_ONCE * PANEL;
    return floats * static_cast<int64_t>(sizeof(float));
}

// LINES rows of `depth` units become columns of a panel.
template <class Unit>
inline void transpose_lines(const Unit* from, int64_t stride, int64_t depth, Unit* to) {
    int64_t k = 0;
#if PYLM_LEVEL == 512
    for (; k + 16 <= depth; k += 16) {
        __m512i a[16], b[16];
        for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * stride + k);
        for (int i = 0; i < 8; ++i) {
            b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
        }
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 2; ++j) {
                a[4 * i + 2 * j] = _mm512_unpacklo_epi64(b[4 * i + j], b[4 * i + j + 2]);
                a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(b[4 * i + j], b[4 * i + j + 2]);
            }
        // a[4i + c] holds column c of rows 4i to 4i + 3 in each quarter: quarter q is column 4q + c
        for (int c = 0; c < 4; ++c) {
            const __m512i low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88),
                          lower = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
            const __m512i high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
            const __m512i higher = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
            _mm512_storeu_si512(to + (k + c) * PANEL, _mm512_shuffle_i32x4(low, high, 0x88));
            _mm512_storeu_si512(to + (k + 4 + c) * PANEL, _mm512_shuffle_i32x4(lower, higher, 0x88));
            _mm512_storeu_si512(to + (k + 8 + c) * PANEL, _mm512_shuffle_i32x4(low, high, 0xdd));
            _mm512_storeu_si512(to + (k + 12 + c) * PANEL, _mm512_shuffle_i32x4(lower, higher, 0xdd));
        }
    }
#endif
    for (; k < depth; ++k)
        for (int64_t r = 0; r < LINES; ++r) to[k * PANEL + r] = from[r * stride + k];
}

// `narrow`: whether activations may be rounded to bfloat16, which the widest variant multiplies in pairs.
template <Stored stored, bool narrow = stored != Stored::float32>
void product_many(const Product& p, int64_t begin, int64_t end, char* scratch) {
    constexpr bool pairs = narrow && PYLM_LEVEL == 512;
    using Units = typename UnitsOf<typename Choose<pairs, bf16, float>::type>::type;
    using Unit = typename Units::Unit;
    const int64_t width = p.w.width, depth = (width + Units::STEP - 1) / Units::STEP;
    auto* panel = reinterpret_cast<Unit*>(scratch);
    Unit* lines = panel + depth * PANEL;
    auto* wide = reinterpret_cast<float*>(lines + LINES * depth);
    float* tile = wide + width + 64;
    for (int64_t first = begin; first < end; first += PANEL) {
        const int64_t rows = end - first < PANEL ? end - first : PANEL;
        for (int64_t r = 0; r < PANEL; ++r) {
            auto* line = reinterpret_cast<typename Units::Element*>(lines + r % LINES * depth);
            if (r >= rows) {
                memset(static_cast<void*>(line), 0, static_cast<size_t>(depth) * sizeof(Unit));
            } else if constexpr (pairs) {
                widen_row<stored>(p.w, first + r, wide);
                wide[width] = 0;
                each(depth * Units::STEP, [&](int64_t i, int64_t n) { store_n(line + i, load_n(wide + i, n), n); });
            } else {
                widen_row<stored>(p.w, first + r, line);
            }
            if (r % LINES == LINES - 1) transpose_lines(lines, depth, depth, panel + r - LINES + 1);
        }
        for (int64_t t = 0; t < p.in.tokens; t += TOKENS_AT_ONCE) {
            const int64_t many = p.in.tokens - t < TOKENS_AT_ONCE ? p.in.tokens - t : TOKENS_AT_ONCE;
            const Unit* left;
            if constexpr (pairs)
                left = reinterpret_cast<const Unit*>(p.in.narrow) + t * depth;
            else
                left = p.in.x + t * width;
            product<Units>(left, depth, panel, PANEL, tile, PANEL, many, PANEL, depth, false);
            for (int64_t m = 0; m < many; ++m) {
                float* y = p.y + (t + m) * p.stride + first;
                each(rows, [&](int64_t i, int64_t n) {
                    Vec value = load_n(tile + m * PANEL + i, n);
                    if (stored == Stored::int8) value = value * load_n(p.w.row_scales + first + i, n);
                    if (p.bias) value = value + load_n(p.bias + first + i, n);
                    if (p.add) value = value + load_n(y + i, n);
                    store_n(y + i, value, n);
                });
            }
        }
    }
}

}  // namespace pylm::cpu::PYLM_VARIANT
