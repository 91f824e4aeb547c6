// One float a vector: plain C++ for every processor, and the reference that the other variants are held against (level
// 0).
#pragma once
#include "cpu/simd/bf16.hpp"

namespace pylm::cpu::PYLM_VARIANT {

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
inline Vec sqrt(Vec a) { return {__builtin_sqrtf(a.v)}; }
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
inline Vec load_byte(const uint8_t* p) { return {static_cast<float>(*p)}; }
inline Vec load_int8(const int8_t* p) { return {static_cast<float>(*p)}; }

}  // namespace pylm::cpu::PYLM_VARIANT
