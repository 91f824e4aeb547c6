// Tensors rearranged into the operands of gemm.hpp's products, and squares of units transposed in registers.
#pragma once
#include "cpu/kernels/gemm.hpp"

namespace pylm::cpu::PYLM_VARIANT {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Hands out the pieces of one scratch buffer; with a null base it only counts.
struct ScratchLayout {
    char* base;
    int64_t used = 0;
    template <class U>
    U* take(int64_t count) {
        U* found = base ? reinterpret_cast<U*>(base + used) : nullptr;
        used += round_up(count * static_cast<int64_t>(sizeof(U)), 64);
        return found;
    }
};

constexpr int64_t SQUARE = 16;  // units of 32 bits in a row of what is transposed at once

/// to[c][r] = from[r][c] for SQUARE rows and columns.
template <class Unit>
inline void transpose_square(const Unit* from, int64_t ld, Unit* to, int64_t ldt) {
    static_assert(sizeof(Unit) == 4);
#if PYLM_LEVEL == 512
    __m512i a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * ld);
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
        _mm512_storeu_si512(to + c * ldt, _mm512_shuffle_i32x4(low, high, 0x88));
        _mm512_storeu_si512(to + (4 + c) * ldt, _mm512_shuffle_i32x4(lower, higher, 0x88));
        _mm512_storeu_si512(to + (8 + c) * ldt, _mm512_shuffle_i32x4(low, high, 0xdd));
        _mm512_storeu_si512(to + (12 + c) * ldt, _mm512_shuffle_i32x4(lower, higher, 0xdd));
    }
#else
    for (int64_t c = 0; c < SQUARE; ++c)
        for (int64_t r = 0; r < SQUARE; ++r) to[c * ldt + r] = from[r * ld + c];
#endif
}

/// to[c][r] = from[r][c].
template <class Unit>
inline void transpose(const Unit* from, int64_t ld, int64_t rows, int64_t columns, Unit* to, int64_t ldt) {
    for (int64_t c0 = 0; c0 < columns; c0 += SQUARE)
        for (int64_t r0 = 0; r0 < rows; r0 += SQUARE) {
            const Unit* square = from + r0 * ld + c0;
            Unit* across = to + c0 * ldt + r0;
            if (c0 + SQUARE <= columns && r0 + SQUARE <= rows) {
                transpose_square(square, ld, across, ldt);
                continue;
            }
            for (int64_t c = 0; c < SQUARE && c0 + c < columns; ++c)
                for (int64_t r = 0; r < SQUARE && r0 + r < rows; ++r) across[c * ldt + r] = square[r * ld + c];
        }
}

inline void copy_row(const float* from, int64_t count, float* to) {
    memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}
inline void copy_row(const bf16* from, int64_t count, bf16* to) {
    memcpy(to, from, static_cast<size_t>(count) * sizeof(bf16));
}
inline void copy_row(const bf16* from, int64_t count, float* to) {
    each(count, [&](int64_t i, int64_t n) { store_n(to + i, load_n(from + i, n), n); });
}

/// x[rows, width] as the left operand: units along the width, [rows][stride] of them, zero past the width.
template <class Units, class T>
void pack_left(const T* x, int64_t ld, int64_t rows, int64_t width, typename Units::Unit* out, int64_t stride) {
    for (int64_t r = 0; r < rows; ++r) {
        auto* to = reinterpret_cast<typename Units::Element*>(out + r * stride);
        copy_row(x + r * ld, width, to);
        for (int64_t i = width; i < stride * Units::STEP; ++i) to[i] = {};
    }
}

#if PYLM_LEVEL == 512
/// Two rows of bf16 (`odd` may be null) as one of pairs, zero past the width; `padded` is a multiple of 16.
inline void pair_row(const void* even, const void* odd, int64_t width, uint32_t* to, int64_t padded) {
    for (int64_t i = 0; i < padded; i += 16) {
        const __mmask16 some = i < width ? first(width - i) : 0;
        const __m256i low = _mm256_maskz_loadu_epi16(some, static_cast<const uint16_t*>(even) + i);
        const __m256i high =
            odd ? _mm256_maskz_loadu_epi16(some, static_cast<const uint16_t*>(odd) + i) : _mm256_setzero_si256();
        _mm512_storeu_si512(
            to + i, _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
    }
}
#endif

/// x[rows, width] as the right operand of a sum over its rows: [units][stride], zero past rows and width.
template <class Units, class T>
void pack_rows(const T* x, int64_t ld, int64_t rows, int64_t width, typename Units::Unit* out, int64_t stride,
               int64_t units) {
    const int64_t used = (rows + Units::STEP - 1) / Units::STEP;
    if constexpr (Units::STEP == 1) pack_left<Units>(x, ld, rows, width, out, stride);
#if PYLM_LEVEL == 512
    if constexpr (Units::STEP == 2)
        for (int64_t u = 0; u < used; ++u)
            pair_row(x + 2 * u * ld, 2 * u + 1 < rows ? x + (2 * u + 1) * ld : nullptr, width, out + u * stride,
                     stride);
#endif
    memset(out + used * stride, 0, static_cast<size_t>((units - used) * stride) * sizeof(*out));
}

/// x[rows, width] transposed, as the right operand of a sum over its width: [ceil(width / STEP)][stride].
template <class Units, class T>
void pack_transposed(const T* x, int64_t ld, int64_t rows, int64_t width, typename Units::Unit* out, int64_t stride,
                     int64_t units) {
    constexpr int64_t PART = 64;  // units of a row: SQUARE rows of them stay in L1
    typename Units::Unit lines[SQUARE * PART];
    for (int64_t r = 0; r < stride; r += SQUARE) {
        const int64_t columns = stride - r < SQUARE ? stride - r : SQUARE;
        const int64_t real = rows - r < 0 ? 0 : rows - r < columns ? rows - r : columns;
        for (int64_t u = 0; u < units; u += PART) {
            const int64_t many = units - u < PART ? units - u : PART, left = width - u * Units::STEP;
            pack_left<Units>(x + r * ld + u * Units::STEP, ld, real,
                             left < many * Units::STEP ? left : many * Units::STEP, lines, many);
            memset(lines + real * many, 0, static_cast<size_t>((columns - real) * many) * sizeof(*lines));
            transpose(lines, many, columns, many, out + u * stride + r, stride);
        }
    }
}

}  // namespace pylm::cpu::PYLM_VARIANT
