// One vector type of floats, as wide as the variant that this file is compiled for, and the loops over it. Everything
// lives in the variant's own namespace and nothing of the standard library's templates is used in these files: an
// inline function compiled for AVX-512 must never be the copy that the linker keeps for a machine without it.
#pragma once
#include <stdint.h>
#include <string.h>

#if PYLM_LEVEL == 512
#include "cpu/simd/avx512.hpp"
#elif PYLM_LEVEL == 2
#include "cpu/simd/avx2.hpp"
#elif PYLM_LEVEL == 128
#include "cpu/simd/neon.hpp"
#else
#include "cpu/simd/scalar.hpp"
#endif

namespace pylm::cpu::PYLM_VARIANT {

/// body(i, n) over [0, count): n is Vec::W but for the last.
template <class Body>
inline void each(int64_t count, Body body) {
    int64_t i = 0;
    for (; i + Vec::W <= count; i += Vec::W) body(i, static_cast<int64_t>(Vec::W));
    if (i < count) body(i, count - i);
}
template <class T>
inline Vec load_n(const T* p, int64_t n) {
    return n == Vec::W ? load(p) : load_some(p, n);
}
template <class T>
inline void store_n(T* p, Vec a, int64_t n) {
    if (n == Vec::W)
        store(p, a);
    else
        store_some(p, a, n);
}

/// The same around the caches where `streaming`: what they cannot hold until it is read need not be fetched to be
/// written.
template <bool streaming, class T>
inline void store_n(T* p, Vec a, int64_t n) {
    if (streaming && n == Vec::W)
        stream(p, a);
    else
        store_n(p, a, n);
}
// Rows that are read together end soon, too soon for the processor to see four streams in them: memory is asked for in
// the order in which it lies, this many bytes ahead.
constexpr int64_t FETCH_AHEAD = 4096;

/// Prefetches what so many vectors hold; x may lie past the end of what there is.
template <int vectors, class T>
inline void prefetch(const T* x) {
    constexpr int64_t LINE = 64 / sizeof(T);
    for (int64_t i = 0; i < vectors * Vec::W; i += LINE) __builtin_prefetch(x + i, 0, 2);
}
/// Whether whole vectors of rows of this width may be streamed to p.
template <class T>
inline bool streamable(const T* p, int64_t width) {
    constexpr uintptr_t bytes = Vec::W * sizeof(T);
    return reinterpret_cast<uintptr_t>(p) % bytes == 0 && width % Vec::W == 0;
}

}  // namespace pylm::cpu::PYLM_VARIANT
