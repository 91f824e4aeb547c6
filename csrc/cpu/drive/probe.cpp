// How fast memory can be read.
#include <atomic>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"

namespace pylm::cpu {

uint64_t read_all(const void* data, int64_t bytes, int threads) {
    const auto run = kernels().read_all;
    std::atomic<uint64_t> total{0};
    blocks(threads, bytes, 8 * ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { total += run(data, begin, end); });
    return total;
}

}  // namespace pylm::cpu
