// One vector type of floats, as wide as the variant that this file is compiled for. Everything lives in the variant's
// own namespace and nothing of the standard library's templates is used in these files: an inline function compiled
// for AVX-512 must never be the copy that the linker keeps for a machine without it.
#pragma once
#include <stdint.h>
#include <string.h>

// The levels: 0 scalar, 2 AVX2, 512 AVX-512 with VNNI and BF16, 128 NEON.
#if PYLM_LEVEL == 128
#include <arm_neon.h>
#elif PYLM_LEVEL > 0
#include <immintrin.h>
#endif

namespace pylm::cpu::PYLM_VARIANT {

struct bf16 {
    uint16_t bits;
};

inline float widen(float x) { return x; }
inline float widen(bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline uint16_t round_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN stays NaN
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
inline void narrow(float* at, float x) { *at = x; }
inline void narrow(bf16* at, float x) { at->bits = round_bf16(x); }

#if PYLM_LEVEL == 512

struct Vec {
    static constexpr int W = 16;
    __m512 v;
};
inline __mmask16 first(int64_t n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1); }
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const bf16* p) {
    const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16))};
}
inline Vec load_some(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline Vec load_some(const bf16* p, int64_t n) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p)), 16))};
}
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void store(bf16* p, Vec a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
inline void stream(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
inline void stream(bf16* p, Vec a) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
inline void fence() { _mm_sfence(); }
inline void store_some(float* p, Vec a, int64_t n) { _mm512_mask_storeu_ps(p, first(n), a.v); }
inline void store_some(bf16* p, Vec a, int64_t n) {
    _mm256_mask_storeu_epi16(p, first(n), (__m256i)_mm512_cvtneps_pbh(a.v));
}
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, 8)}; }
inline Vec scale2(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline Vec where_negative(Vec x, Vec a, Vec b) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_LT_OQ), b.v, a.v)};
}
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float highest(Vec a) { return _mm512_reduce_max_ps(a.v); }

#elif PYLM_LEVEL == 2

struct Vec {
    static constexpr int W = 8;
    __m256 v;
};
inline __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec splat(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const bf16* p) {
    const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16))};
}
inline Vec load_some(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first(n))}; }
inline Vec load_some(const bf16* p, int64_t n) {
    bf16 few[8] = {};
    memcpy(few, p, static_cast<size_t>(n < 8 ? n : 8) * 2);
    return load(few);
}
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline __m128i narrowed(Vec a) {
    const __m256i bits = _mm256_castps_si256(a.v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, nan);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08));
}
inline void store(bf16* p, Vec a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrowed(a)); }
inline void stream(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
inline void stream(bf16* p, Vec a) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrowed(a)); }
inline void fence() { _mm_sfence(); }
inline void store_some(float* p, Vec a, int64_t n) { _mm256_maskstore_ps(p, first(n), a.v); }
inline void store_some(bf16* p, Vec a, int64_t n) {
    bf16 few[8];
    store(few, a);
    memcpy(p, few, static_cast<size_t>(n < 8 ? n : 8) * 2);
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec root(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec scale2(Vec a, Vec n) {  // n in [-126, 127]
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
    return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(exponent))};
}
inline Vec where_negative(Vec x, Vec a, Vec b) {
    return {_mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_LT_OQ))};
}
inline float sum(Vec a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float highest(Vec a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

#elif PYLM_LEVEL == 128

struct Vec {
    static constexpr int W = 4;
    float32x4_t v;
};
inline Vec splat(float x) { return {vdupq_n_f32(x)}; }
inline Vec load(const float* p) { return {vld1q_f32(p)}; }
inline Vec load(const bf16* p) {
    return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16))};
}
inline Vec load_some(const float* p, int64_t n) {
    float few[4] = {};
    memcpy(few, p, static_cast<size_t>(n < 4 ? n : 4) * 4);
    return load(few);
}
inline Vec load_some(const bf16* p, int64_t n) {
    bf16 few[4] = {};
    memcpy(few, p, static_cast<size_t>(n < 4 ? n : 4) * 2);
    return load(few);
}
inline void store(float* p, Vec a) { vst1q_f32(p, a.v); }
inline void store(bf16* p, Vec a) {
    const uint32x4_t bits = vreinterpretq_u32_f32(a.v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t number = vceqq_f32(a.v, a.v);  // false where NaN, which stays NaN
    vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(vbslq_u32(number, rounded, quiet), 16));
}
template <class T>
inline void stream(T* p, Vec a) {
    store(p, a);
}
inline void fence() {}
template <class T>
inline void store_some(T* p, Vec a, int64_t n) {
    T few[4];
    store(few, a);
    memcpy(p, few, static_cast<size_t>(n < 4 ? n : 4) * sizeof(T));
}
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
inline Vec root(Vec a) { return {vsqrtq_f32(a.v)}; }
inline Vec round(Vec a) { return {vrndnq_f32(a.v)}; }
inline Vec scale2(Vec a, Vec n) {  // n in [-126, 127]
    const int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127)), 23);
    return {vmulq_f32(a.v, vreinterpretq_f32_s32(exponent))};
}
inline Vec where_negative(Vec x, Vec a, Vec b) { return {vbslq_f32(vcltq_f32(x.v, vdupq_n_f32(0)), a.v, b.v)}; }
inline float sum(Vec a) { return vaddvq_f32(a.v); }
inline float highest(Vec a) { return vmaxvq_f32(a.v); }

#else

struct Vec {
    static constexpr int W = 1;
    float v;
};
inline Vec splat(float x) { return {x}; }
template <class T>
inline Vec load(const T* p) {
    return {widen(*p)};
}
template <class T>
inline Vec load_some(const T* p, int64_t) {
    return {widen(*p)};
}
template <class T>
inline void store(T* p, Vec a) {
    narrow(p, a.v);
}
template <class T>
inline void stream(T* p, Vec a) {
    narrow(p, a.v);
}
inline void fence() {}
template <class T>
inline void store_some(T* p, Vec a, int64_t) {
    narrow(p, a.v);
}
inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
inline Vec root(Vec a) { return {__builtin_sqrtf(a.v)}; }
inline Vec round(Vec a) { return {__builtin_rintf(a.v)}; }
inline Vec scale2(Vec a, Vec n) {
    const uint32_t exponent = static_cast<uint32_t>(static_cast<int32_t>(n.v) + 127) << 23;
    float power;
    memcpy(&power, &exponent, 4);
    return {a.v * power};
}
inline Vec where_negative(Vec x, Vec a, Vec b) { return x.v < 0 ? a : b; }
inline float sum(Vec a) { return a.v; }
inline float highest(Vec a) { return a.v; }

#endif

constexpr float LOG2E = 1.44269504089f, LN2 = 0.69314718056f;

/// A polynomial of x by Horner's rule, the highest coefficient first.
template <class... Rest>
inline Vec polynomial(Vec x, float first, Rest... rest) {
    Vec p = splat(first);
    ((p = fma(p, x, splat(rest))), ...);
    return p;
}

/// 2^t to a few units in the last place; 2^-126 below that, t at most 127.
inline Vec exp2(Vec t) {
    t = max(splat(-126.0f), t);  // in this order NaN stays NaN
#if PYLM_LEVEL == 512
    // t less its floor by one instruction; scalef takes the floor by itself
    const Vec f = {_mm512_reduce_ps(t.v, 0x09)};
    return scale2(
        polynomial(f, 1.867130515e-3f, 9.017029777e-3f, 5.579991266e-2f, 2.401644439e-1f, 6.931512952e-1f, 1.0f), t);
#else
    const Vec n = round(t);
    return scale2(polynomial(t - n, 1.535336188319500e-4f, 1.339887440266574e-3f, 9.618437357674640e-3f,
                             5.550332471162809e-2f, 2.402264791363012e-1f, 6.931472028550421e-1f, 1.0f),
                  n);
#endif
}

/// tanh, as 1 - 2 / (e^2y + 1).
inline Vec tangent(Vec y) { return splat(1) - splat(2) / (exp2(min(y * splat(2 * LOG2E), splat(120))) + splat(1)); }

/// body(i, n) over [0, count): n is Vec::W but for the last.
template <class Body>
inline void each(int64_t count, Body body) {
    int64_t i = 0;
    for (; i + Vec::W <= count; i += Vec::W) body(i, static_cast<int64_t>(Vec::W));
    if (i < count) body(i, count - i);
}
template <class T>
inline Vec take(const T* p, int64_t n) {
    return n == Vec::W ? load(p) : load_some(p, n);
}
template <class T>
inline void put(T* p, Vec a, int64_t n) {
    if (n == Vec::W)
        store(p, a);
    else
        store_some(p, a, n);
}

/// The same past the caches where `past`: what they cannot hold until it is read need not be fetched to be written.
template <bool past, class T>
inline void put(T* p, Vec a, int64_t n) {
    if (past && n == Vec::W)
        stream(p, a);
    else
        put(p, a, n);
}
/// Asks for what so many vectors hold; x may lie past the end of what there is.
template <int vectors, class T>
inline void ask(const T* x) {
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
