// How fast memory can be read: what decoding is measured against.
#pragma once
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

/// Bytes [begin, end), in whole cache lines, added up: as fast as this memory can be read.
inline uint64_t read_all(const void* data, int64_t begin, int64_t end) {
    const char* bytes = static_cast<const char*>(data);
    uint64_t sums[8] = {};
    for (int64_t i = begin; i + 64 <= end; i += 64)
        for (int l = 0; l < 8; ++l) {
            uint64_t word;
            memcpy(&word, bytes + i + 8 * l, 8);
            sums[l] += word;
        }
    uint64_t total = 0;
    for (uint64_t sum : sums) total += sum;
    return total;
}

}  // namespace pylm::cpu::PYLM_VARIANT
