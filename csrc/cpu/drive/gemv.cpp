// An int8 matrix times one vector.
#include <algorithm>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"

namespace pylm::cpu {

void gemv_int8(const Gemv& a, int64_t rows, int threads) {
    const auto run = kernels().gemv_int8;
    blocks(threads, rows, std::max<int64_t>(16, 8 * rows_of(a.width)),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

}  // namespace pylm::cpu
