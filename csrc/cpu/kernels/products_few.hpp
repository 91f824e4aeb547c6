// Products with an engine's weights for one token or a few, when all that counts is how fast the weights are read: each
// row meets the tokens one by one. Quantised weights meet activations of 14 bits in two bytes where the processor
// multiplies bytes (VNNI), and fp32 activations elsewhere.
#pragma once
#include "cpu/kernels/quantise.hpp"

namespace pylm::cpu::PYLM_VARIANT {

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

}  // namespace pylm::cpu::PYLM_VARIANT
