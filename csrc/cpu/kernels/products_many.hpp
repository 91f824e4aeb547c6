// Products with an engine's weights for many tokens, when arithmetic counts. PANEL rows of weights at a time:
//
//   weights                     lines                   panel                      tile
//   [PANEL][width]  ── widen ─► [LINES][depth] units ─► [depth][PANEL]: columns ─► [48 tokens][PANEL] = tokens · panel
//                                                                                  ─► scaled, biased, added into y
#pragma once
#include "cpu/kernels/packing.hpp"
#include "cpu/kernels/quantise.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t TOKENS_AT_ONCE = 48;  // rows of a tile
constexpr int64_t LINES = 16;           // rows of weights that are packed together

/// Scratch of product_many: a packed panel, rows widened and in units, a tile of results.
inline int64_t product_scratch(int64_t width) {
    const auto floats = (width + 2) * PANEL + (LINES + 1) * (width + 64) + TOKENS_AT_ONCE * PANEL;
    return floats * static_cast<int64_t>(sizeof(float));
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
            if (r % LINES == LINES - 1) transpose(lines, depth, LINES, depth, panel + r - LINES + 1, PANEL);
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
