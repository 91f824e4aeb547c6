// Small products for attention, from operands packed in units of 32 bits: a float, or (AVX-512 with BF16) two bf16
// neighbours along the dimension that is summed over.
#pragma once
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

template <bool condition, class A, class B>
struct Choose {
    using type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
    using type = B;
};

struct FloatUnits {
    using Unit = float;
    using Element = float;
    static constexpr int STEP = 1;  // elements of the summed dimension in a unit
    static inline Vec load_b(const Unit* p) { return load(p); }
    static inline Vec mul_add(Vec acc, const Unit* a, Vec b) { return fma(splat(*a), b, acc); }
};

#if PYLM_LEVEL == 512
struct PairUnits {
    using Unit = uint32_t;
    using Element = bf16;
    static constexpr int STEP = 2;
    static inline __m512i load_b(const Unit* p) { return _mm512_loadu_si512(p); }
    static inline Vec mul_add(Vec acc, const Unit* a, __m512i b) {
        return {_mm512_dpbf16_ps(acc.v, (__m512bh)_mm512_set1_epi32(static_cast<int>(*a)), (__m512bh)b)};
    }
};
template <class T>
struct UnitsOf {
    using type = FloatUnits;
};
template <>
struct UnitsOf<bf16> {
    using type = PairUnits;
};
constexpr int TILE_ROWS = 6, TILE_VECTORS = 4;
#else
template <class T>
struct UnitsOf {
    using type = FloatUnits;
};
constexpr int TILE_ROWS = 6, TILE_VECTORS = PYLM_LEVEL == 128 ? 4 : 2;  // of 32 registers, or 16
#endif

// `across`: the left operand lies by columns, [depth][lda].
template <class Units, int ROWS, int VECTORS, bool across>
inline void tile(const typename Units::Unit* a, int64_t lda, const typename Units::Unit* b, int64_t ldb, float* c,
                 int64_t ldc, int64_t depth, bool add) {
    Vec acc[ROWS][VECTORS];
    for (int m = 0; m < ROWS; ++m)
        for (int n = 0; n < VECTORS; ++n) acc[m][n] = add ? load(c + m * ldc + n * Vec::W) : splat(0);
    for (int64_t k = 0; k < depth; ++k) {
        decltype(Units::load_b(b)) row[VECTORS];
        for (int n = 0; n < VECTORS; ++n) row[n] = Units::load_b(b + k * ldb + n * Vec::W);
        for (int m = 0; m < ROWS; ++m)
            for (int n = 0; n < VECTORS; ++n)
                acc[m][n] = Units::mul_add(acc[m][n], across ? a + k * lda + m : a + m * lda + k, row[n]);
    }
    for (int m = 0; m < ROWS; ++m)
        for (int n = 0; n < VECTORS; ++n) store(c + m * ldc + n * Vec::W, acc[m][n]);
}

template <class Units, int VECTORS, bool across>
inline void column(const typename Units::Unit* a, int64_t lda, const typename Units::Unit* b, int64_t ldb, float* c,
                   int64_t ldc, int64_t rows, int64_t depth, bool add) {
    const int64_t step = across ? 1 : lda;
    int64_t m = 0;
    for (; m + TILE_ROWS <= rows; m += TILE_ROWS)
        tile<Units, TILE_ROWS, VECTORS, across>(a + m * step, lda, b, ldb, c + m * ldc, ldc, depth, add);
    a += m * step, c += m * ldc;
    switch (rows - m) {
        case 5:
            return tile<Units, 5, VECTORS, across>(a, lda, b, ldb, c, ldc, depth, add);
        case 4:
            return tile<Units, 4, VECTORS, across>(a, lda, b, ldb, c, ldc, depth, add);
        case 3:
            return tile<Units, 3, VECTORS, across>(a, lda, b, ldb, c, ldc, depth, add);
        case 2:
            return tile<Units, 2, VECTORS, across>(a, lda, b, ldb, c, ldc, depth, add);
        case 1:
            return tile<Units, 1, VECTORS, across>(a, lda, b, ldb, c, ldc, depth, add);
        default:
            return;
    }
}

/// c[rows, width] (+)= a[rows, depth units] · b[depth units, width]; width is a multiple of Vec::W, and b and c have
/// it. With `across` a is [depth units, rows].
template <class Units, bool across = false>
void product(const typename Units::Unit* a, int64_t lda, const typename Units::Unit* b, int64_t ldb, float* c,
             int64_t ldc, int64_t rows, int64_t width, int64_t depth, bool add) {
    constexpr int64_t BLOCK = TILE_VECTORS * Vec::W;
    int64_t n = 0;
    for (; n + BLOCK <= width; n += BLOCK)
        column<Units, TILE_VECTORS, across>(a, lda, b + n, ldb, c + n, ldc, rows, depth, add);
    for (; n < width; n += Vec::W) column<Units, 1, across>(a, lda, b + n, ldb, c + n, ldc, rows, depth, add);
}

}  // namespace pylm::cpu::PYLM_VARIANT
