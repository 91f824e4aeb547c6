// Rows of weights as fp32 again, and activations in the forms that products with quantised weights read.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/simd.hpp"

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

}  // namespace pylm::cpu::PYLM_VARIANT
