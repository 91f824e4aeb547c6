// The memory in which a pass computes.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/memory.hpp"

namespace pylm::cpu {

/// Activations of a pass, kept from one to the next.
struct Workspace {
    std::vector<float> stream, normal, packed, queries, attended, inner, scales, lse;
    std::vector<int8_t> high, low;
    std::vector<int32_t> sums, first;
    std::vector<uint16_t> narrow;
    std::vector<float> partial;
    std::vector<Block> scratch;  // one a thread
    int64_t scratch_bytes = 0;
};

}  // namespace pylm::cpu
