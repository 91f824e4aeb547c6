// How work is cut into blocks. Those of sums do not depend on the number of threads, so neither do results; where each
// row is its own, a driver may cut by threads (head_gradients does).
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "cpu/drive/operations.hpp"
#include "threads.hpp"

namespace pylm::cpu {

constexpr int64_t ELEMENTS = 16384;  // of a block: a few microseconds of work, far above the cost of a claim

template <class Body>
void blocks(int threads, int64_t count, int64_t size, const Body& body) {
    parallel(threads, (count + size - 1) / size,
             [&](int64_t b) { body(b, b * size, std::min(count, (b + 1) * size)); });
}

// Runs body(begin, end, sums) over blocks of rows; what each adds to sums[0] and sums[1], null where `to` is, is added
// up in the blocks' order: the same bits for any number of threads.
template <class Body>
void summed_blocks(int threads, int64_t rows, int64_t width, const std::array<float*, 2>& to, const Body& body) {
    constexpr int64_t BLOCKS = 32;
    const int64_t size = std::max<int64_t>(16, (rows + BLOCKS - 1) / BLOCKS), many = (rows + size - 1) / size;
    std::vector<float> partial(many * 2 * width);
    blocks(threads, rows, size, [&](int64_t b, int64_t begin, int64_t end) {
        float* mine = partial.data() + b * 2 * width;
        float* const sums[2] = {to[0] ? mine : nullptr, to[1] ? mine + width : nullptr};
        body(begin, end, sums);
    });
    for (int which : {0, 1}) {
        if (!to[which]) continue;
        std::fill_n(to[which], width, 0.0f);
        for (int64_t b = 0; b < many; ++b) {
            const float* from = partial.data() + (b * 2 + which) * width;
            for (int64_t i = 0; i < width; ++i) to[which][i] += from[i];
        }
    }
}

/// A buffer that each thread keeps: fresh memory costs a page fault every 4 KiB.
char* scratch(int64_t size);

/// Whether so many bytes, read and written, leave the last cache before anybody reads the results. Then they are
/// written around it, or every line would be fetched only to be overwritten.
bool leaves_the_caches(int64_t bytes);

inline int64_t rows_of(int64_t width) { return std::max<int64_t>(1, ELEMENTS / std::max<int64_t>(1, width)); }

}  // namespace pylm::cpu
