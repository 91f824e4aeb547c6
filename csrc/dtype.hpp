// The types of numbers that cross borders, and the 16-bit floats in plain arithmetic that any compiler vectorizes.
// cpu/simd/bf16.hpp repeats a part of it for the kernels, and says why.
#pragma once
#include <bit>
#include <cstdint>
#include <string_view>

namespace pylm {

enum class Dtype { float32, bfloat16, float16, int64, int32, int8, other };

/// The type of this name as numpy and torch write it; `other` where csrc has no use for it.
inline Dtype dtype_named(std::string_view name) {
    if (name == "float32") return Dtype::float32;
    if (name == "bfloat16") return Dtype::bfloat16;
    if (name == "float16") return Dtype::float16;
    if (name == "int64") return Dtype::int64;
    if (name == "int32") return Dtype::int32;
    if (name == "int8") return Dtype::int8;
    return Dtype::other;
}

inline bool is_float(Dtype type) { return type == Dtype::float32 || type == Dtype::bfloat16 || type == Dtype::float16; }

/// Bytes of one; of what is not known, 1.
inline int64_t size_of(Dtype type) {
    switch (type) {
        case Dtype::int64:
            return 8;
        case Dtype::float32:
        case Dtype::int32:
            return 4;
        case Dtype::bfloat16:
        case Dtype::float16:
            return 2;
        default:
            return 1;
    }
}

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
