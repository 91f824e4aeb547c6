// bfloat16, one number at a time. dtype.hpp has the same arithmetic for the rest of csrc: it is repeated here because
// an inline function that is compiled for AVX-512 must never be the copy that the linker keeps for a machine without
// it, so that these files take nothing from outside and live in their variant's own namespace.
#pragma once
#include <stdint.h>
#include <string.h>

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

}  // namespace pylm::cpu::PYLM_VARIANT
