// Products with an engine's weights: one token or a few at a time, when all that counts is how fast the weights are
// read, and many, when arithmetic counts. Quantised weights meet activations of 14 bits in two bytes where the
// processor multiplies bytes (VNNI), and fp32 activations elsewhere.
#pragma once
#include "cpu/args.hpp"
#include "cpu/kernels/gemm.hpp"

namespace pylm::cpu::PYLM_VARIANT {

inline const char* row_of(const Matrix& w, int64_t row) { return static_cast<const char*>(w.data) + row * w.row_bytes; }

// A row of weights as fp32, `width` of them. int4's values are 0 to 15 less 8, times their group's scale.
template <Stored stored>
inline void widen_row(const Matrix& w, int64_t row, float* out) {
    const char* from = row_of(w, row);
    const int64_t width = w.width;
    if constexpr (stored == Stored::float32) {
        memcpy(out, from, static_cast<size_t>(width) * sizeof(float));
    } else if constexpr (stored == Stored::bfloat16) {
        const auto* x = reinterpret_cast<const bf16*>(from);
        each(width, [&](int64_t i, int64_t n) { store_n(out + i, load_n(x + i, n), n); });
    } else if constexpr (stored == Stored::int8) {
        // a row's scale is left to the result; rows are whole blocks, so whole vectors may be read
        const auto* x = reinterpret_cast<const uint8_t*>(from);
        each(width, [&](int64_t i, int64_t n) { store_n(out + i, load_byte(x + i) - splat(128), n); });
    } else {
        const auto* x = reinterpret_cast<const uint8_t*>(from);
        const uint16_t* scales = w.group_scales + row * (w.row_bytes / QUANTISED_GROUP * 2);
        for (int64_t i = 0; i < width; ++i) {
            const int64_t block = i / QUANTISED_BLOCK, in = i % QUANTISED_BLOCK, group = in / QUANTISED_GROUP;
            const uint8_t byte = x[block * QUANTISED_GROUP + in % QUANTISED_GROUP];
            const int value = (group ? byte >> 4 : byte & 15) - 8;
            out[i] = static_cast<float>(value) * widen(bf16{scales[2 * block + group]});
        }
    }
}

// One group of activations in units of the scale, rounded, halves away from zero; `left` of them are there, the rest is
// zero. Returns their sum.
inline int32_t quantise_group(const float* x, int64_t left, float inverse, int8_t* high, int8_t* low) {
#if PYLM_LEVEL == 512
    static_assert(QUANTISED_GROUP == 32);
    const __m512 half = _mm512_set1_ps(0.5f), sign = _mm512_set1_ps(-0.0f);
    __m512i total = _mm512_setzero_si512();
    for (int64_t j = 0; j < QUANTISED_GROUP; j += 16) {
        const int64_t n = left - j < 0 ? 0 : left - j < 16 ? left - j : 16;
        const __m512 scaled = _mm512_mul_ps(load_n(x + j, n).v, _mm512_set1_ps(inverse));
        const __m512i value =
            _mm512_cvttps_epi32(_mm512_add_ps(scaled, _mm512_or_ps(half, _mm512_and_ps(scaled, sign))));
        const __m512i above = _mm512_srai_epi32(_mm512_add_epi32(value, _mm512_set1_epi32(64)), 7);
        const __m512i below = _mm512_sub_epi32(value, _mm512_slli_epi32(above, 7));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(high + j), _mm512_cvtepi32_epi8(above));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(low + j), _mm512_cvtepi32_epi8(below));
        total = _mm512_add_epi32(total, value);
    }
    return _mm512_reduce_add_epi32(total);
#else
    int32_t total = 0;
    for (int64_t j = 0; j < QUANTISED_GROUP; ++j) {
        const float scaled = j < left ? x[j] * inverse : 0.0f;
        const auto value = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
        const int32_t above = (value + 64) >> 7;  // the nearest multiple of 128: the rest is -64 to 63
        high[j] = static_cast<int8_t>(above);
        low[j] = static_cast<int8_t>(value - above * 128);
        total += value;
    }
    return total;
#endif
}

/// High and low bytes of a token's activations, sums of groups and the scale; the row is padded to whole blocks. Where
/// they are not all finite, the scale is NaN, and so is every product.
inline void quantise_activations(const float* x, int64_t width, int8_t* high, int8_t* low, int32_t* sums,
                                 float* scale) {
    float largest = 0;
    Vec top = splat(0), nothing = splat(0);  // x - x is 0, or NaN where x is not finite; a maximum may lose a NaN
    int64_t i = 0;
    for (; i + Vec::W <= width; i += Vec::W) {
        const Vec here = load(x + i);
        top = max(top, max(here, splat(0) - here));
        nothing = nothing + (here - here);
    }
    largest = highest(top);
    float rest = sum(nothing);
    for (; i < width; ++i) {
        largest = __builtin_fabsf(x[i]) > largest ? __builtin_fabsf(x[i]) : largest;
        rest += x[i] - x[i];
    }
    *scale = largest / 16256 + rest;  // 127 · 128: the high byte reaches 127
    const bool usable = rest == 0 && 1 / *scale <= __FLT_MAX__;
    const float inverse = usable ? 1 / *scale : 0;
    const int64_t whole = (width + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * QUANTISED_BLOCK;
    for (int64_t group = 0; group < whole; group += QUANTISED_GROUP)
        sums[group / QUANTISED_GROUP] =
            quantise_group(x + group, usable ? width - group : 0, inverse, high + group, low + group);
}

inline void narrow_activations(const float* x, int64_t width, uint16_t* narrow_to) {
    auto* to = reinterpret_cast<bf16*>(narrow_to);
    each(width, [&](int64_t i, int64_t n) { store_n(to + i, load_n(x + i, n), n); });
    if (width % 2) narrow_to[width] = 0;
}

template <int ROWS>
inline void prefetch_rows(const char* first_row, int64_t done, int64_t step) {
    const char* at = first_row + done * ROWS + FETCH_AHEAD;
    for (int64_t line = 0; line < step * ROWS; line += 64) __builtin_prefetch(at + line);
}

// ROWS rows at once, which share the reading of x: their sums go to `out`.
template <class T, int ROWS>
inline void dots(const Matrix& w, int64_t row, const float* x, float* out) {
    const T* rows[ROWS];
    Vec sums[ROWS];
    for (int r = 0; r < ROWS; ++r) rows[r] = reinterpret_cast<const T*>(row_of(w, row + r)), sums[r] = splat(0);
    int64_t i = 0;
    for (; i + 2 * Vec::W <= w.width; i += 2 * Vec::W) {
        const Vec a = load(x + i), b = load(x + i + Vec::W);
        prefetch_rows<ROWS>(row_of(w, row), i * static_cast<int64_t>(sizeof(T)),
                            2 * Vec::W * static_cast<int64_t>(sizeof(T)));
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(load(rows[r] + i + Vec::W), b, fma(load(rows[r] + i), a, sums[r]));
    }
    for (; i < w.width; i += Vec::W) {
        const int64_t n = w.width - i < Vec::W ? w.width - i : Vec::W;
        const Vec a = load_n(x + i, n);
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(load_n(rows[r] + i, n), a, sums[r]);
    }
    for (int r = 0; r < ROWS; ++r) out[r] = sum(sums[r]);
}

inline void write_one(const Product& p, int64_t token, int64_t row, float value) {
    float* y = p.y + token * p.stride + row;
    *y = value + (p.bias ? p.bias[row] : 0) + (p.add ? *y : 0);
}

template <class T>
void floats_few(const Product& p, int64_t begin, int64_t end) {
    constexpr int ROWS = 4;
    float found[ROWS];
    int64_t row = begin;
    for (; row + ROWS <= end; row += ROWS)
        for (int64_t t = 0; t < p.in.tokens; ++t) {
            dots<T, ROWS>(p.w, row, p.in.x + t * p.w.width, found);
            for (int r = 0; r < ROWS; ++r) write_one(p, t, row + r, found[r]);
        }
    for (; row < end; ++row)
        for (int64_t t = 0; t < p.in.tokens; ++t) {
            dots<T, 1>(p.w, row, p.in.x + t * p.w.width, found);
            write_one(p, t, row, found[0]);
        }
}

#if PYLM_LEVEL == 512

inline float sum_of(__m512i a) { return static_cast<float>(_mm512_reduce_add_epi32(a)); }

template <int ROWS>
inline void bytes_few(const Product& p, int64_t row) {
    const int64_t whole = p.w.row_bytes, groups = whole / QUANTISED_GROUP;
    for (int64_t t = 0; t < p.in.tokens; ++t) {
        const int8_t *high = p.in.high + t * whole, *low = p.in.low + t * whole;
        const char* rows[ROWS];
        __m512i above[ROWS], below[ROWS];
        for (int r = 0; r < ROWS; ++r) rows[r] = row_of(p.w, row + r), above[r] = below[r] = _mm512_setzero_si512();
        for (int64_t i = 0; i < whole; i += QUANTISED_BLOCK) {
            const __m512i a = _mm512_loadu_si512(high + i), b = _mm512_loadu_si512(low + i);
            prefetch_rows<ROWS>(rows[0], i, QUANTISED_BLOCK);
            for (int r = 0; r < ROWS; ++r) {
                const __m512i w = _mm512_loadu_si512(rows[r] + i);
                above[r] = _mm512_dpbusd_epi32(above[r], w, a);
                below[r] = _mm512_dpbusd_epi32(below[r], w, b);
            }
        }
        int64_t offset = 0;  // values are stored 128 too high
        for (int64_t g = 0; g < groups; ++g) offset += p.in.sums[t * groups + g];
        for (int r = 0; r < ROWS; ++r) {
            const int64_t total =
                int64_t{128} * _mm512_reduce_add_epi32(above[r]) + _mm512_reduce_add_epi32(below[r]) - 128 * offset;
            write_one(p, t, row + r, static_cast<float>(total) * p.in.scales[t] * p.w.row_scales[row + r]);
        }
    }
}

template <int ROWS>
inline void nibbles_few(const Product& p, int64_t row) {
    const int64_t blocks = p.w.row_bytes / QUANTISED_GROUP, whole = blocks * QUANTISED_BLOCK;
    const __m512i mask = _mm512_set1_epi8(15),
                  shift = _mm512_inserti64x4(_mm512_set1_epi32(16), _mm256_setzero_si256(), 1);
    const __m512i top = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (int64_t t = 0; t < p.in.tokens; ++t) {
        const int8_t *high = p.in.high + t * whole, *low = p.in.low + t * whole;
        const int32_t* sums = p.in.sums + t * 2 * blocks;
        const char* rows[ROWS];
        const uint16_t* scales[ROWS];
        __m512 totals[ROWS];
        for (int r = 0; r < ROWS; ++r) {
            rows[r] = row_of(p.w, row + r), totals[r] = _mm512_setzero_ps();
            scales[r] = p.w.group_scales + (row + r) * 2 * blocks;
        }
        for (int64_t b = 0; b < blocks; ++b) {
            const __m512i above = _mm512_loadu_si512(high + b * QUANTISED_BLOCK);
            const __m512i below = _mm512_loadu_si512(low + b * QUANTISED_BLOCK);
            prefetch_rows<ROWS>(rows[0], b * QUANTISED_GROUP, QUANTISED_GROUP);
            // 8 lanes share a group's sum: each takes an eighth of what the values are too high by, which is exact
            const __m512i offset =
                _mm512_inserti64x4(_mm512_set1_epi32(sums[2 * b]), _mm256_set1_epi32(sums[2 * b + 1]), 1);
            for (int r = 0; r < ROWS; ++r) {
                const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + b * QUANTISED_GROUP));
                const __m512i w = _mm512_and_si512(
                    _mm512_inserti64x4(_mm512_castsi256_si512(raw), _mm256_srli_epi16(raw, 4), 1), mask);
                const __m512i up = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, above);
                const __m512i both = _mm512_dpbusd_epi32(_mm512_slli_epi32(up, 7), w, below);
                int32_t pair;
                memcpy(&pair, scales[r] + 2 * b, 4);
                const __m512i bits = _mm512_and_si512(_mm512_sllv_epi32(_mm512_set1_epi32(pair), shift), top);
                totals[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(both, offset)),
                                            _mm512_castsi512_ps(bits), totals[r]);
            }
        }
        for (int r = 0; r < ROWS; ++r) write_one(p, t, row + r, _mm512_reduce_add_ps(totals[r]) * p.in.scales[t]);
    }
}

#else

template <Stored stored>
inline void one_widened(const Product& p, int64_t row) {
    float wide[256];
    static_assert(256 % QUANTISED_BLOCK == 0);
    const int64_t bytes = stored == Stored::int8 ? 256 : 128;
    for (int64_t t = 0; t < p.in.tokens; ++t) {
        const float* x = p.in.x + t * p.w.width;
        float total = 0;
        for (int64_t i = 0; i < p.w.width; i += 256) {
            Matrix part = p.w;
            part.width = p.w.width - i < 256 ? p.w.width - i : 256;
            part.data = row_of(p.w, row) + i / 256 * bytes;
            if (stored == Stored::int4)
                part.group_scales =
                    p.w.group_scales + row * (p.w.row_bytes / QUANTISED_GROUP * 2) + i / QUANTISED_GROUP;
            widen_row<stored>(part, 0, wide);
            Vec sums = splat(0);
            int64_t j = 0;
            for (; j + Vec::W <= part.width; j += Vec::W) sums = fma(load(wide + j), load(x + i + j), sums);
            total += sum(sums);
            for (; j < part.width; ++j) total += wide[j] * x[i + j];
        }
        write_one(p, t, row, stored == Stored::int8 ? total * p.w.row_scales[row] : total);
    }
}
template <int ROWS>
inline void bytes_few(const Product& p, int64_t row) {
    for (int r = 0; r < ROWS; ++r) one_widened<Stored::int8>(p, row + r);
}
template <int ROWS>
inline void nibbles_few(const Product& p, int64_t row) {
    for (int r = 0; r < ROWS; ++r) one_widened<Stored::int4>(p, row + r);
}

#endif

template <Stored stored>
void product_few(const Product& p, int64_t begin, int64_t end) {
    if constexpr (stored == Stored::float32) {
        floats_few<float>(p, begin, end);
    } else if constexpr (stored == Stored::bfloat16) {
        floats_few<bf16>(p, begin, end);
    } else {
        constexpr int ROWS = 4;
        int64_t row = begin;
        for (; row + ROWS <= end; row += ROWS)
            stored == Stored::int8 ? bytes_few<ROWS>(p, row) : nibbles_few<ROWS>(p, row);
        for (; row < end; ++row) stored == Stored::int8 ? bytes_few<1>(p, row) : nibbles_few<1>(p, row);
    }
}

constexpr int64_t TOKENS_AT_ONCE = 48;

constexpr int64_t LINES = 16;  // rows of weights that are packed together

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
