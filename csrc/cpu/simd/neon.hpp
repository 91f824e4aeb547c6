// Four floats a vector: NEON, which every 64-bit ARM has (level 128).
#pragma once
#include <arm_neon.h>

#include "cpu/simd/bf16.hpp"

namespace pylm::cpu::PYLM_VARIANT {

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
inline Vec sqrt(Vec a) { return {vsqrtq_f32(a.v)}; }
inline Vec round(Vec a) { return {vrndnq_f32(a.v)}; }
inline Vec scale2(Vec a, Vec n) {  // n in [-126, 127]
    const int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127)), 23);
    return {vmulq_f32(a.v, vreinterpretq_f32_s32(exponent))};
}
inline Vec where_negative(Vec x, Vec a, Vec b) { return {vbslq_f32(vcltq_f32(x.v, vdupq_n_f32(0)), a.v, b.v)}; }
inline float sum(Vec a) { return vaddvq_f32(a.v); }
inline float highest(Vec a) { return vmaxvq_f32(a.v); }
inline Vec load_byte(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p, 4);
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))))};
}
inline Vec load_int8(const int8_t* p) {
    uint32_t four;
    memcpy(&four, p, 4);
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))))};
}

}  // namespace pylm::cpu::PYLM_VARIANT
