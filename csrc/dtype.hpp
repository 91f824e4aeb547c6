// The 16-bit floats, in plain arithmetic that any compiler vectorizes.
#pragma once
#include <bit>
#include <cstdint>

namespace pylm {

enum class Dtype { float32, float16, bfloat16 };

inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t to_bfloat16(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN stays NaN
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

inline float from_float16(uint16_t bits) {
    const uint32_t rest = (bits & 0x7fffu) << 13;
    // the exponent's bias is mended by a multiplication, which also normalizes subnormals; infinities and NaN keep
    // an exponent of all ones
    const auto scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f);
    const uint32_t special = rest >= 0x0f800000u ? 0x7f800000u : 0;
    return std::bit_cast<float>((bits & 0x8000u) << 16 | scaled | special);
}

}  // namespace pylm
