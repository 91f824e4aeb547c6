// The gradients of a language model's head from a chunk of its logits' gradients.
#include <algorithm>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "threads.hpp"

namespace pylm::cpu {
namespace {

void pair_rows(const Pairs& a, int threads) {
    const auto run = kernels().pair_rows;
    blocks(threads, (a.rows + 1) / 2, rows_of(2 * a.width),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

}  // namespace

bool has_head_products() { return kernels().head_dx != nullptr; }

void head_gradients(Head a, const void* x, int threads) {
    const Kernels& table = kernels();
    thread_local std::vector<uint32_t> pairs;  // of the caller: kept, for a chunk comes after a chunk
    const int64_t units = (a.rows + 1) / 2;
    pairs.resize(std::max<size_t>(pairs.size(), units * a.padded));
    a.x_pairs = pairs.data();
    pair_rows({x, pairs.data(), a.rows, a.dim, a.padded}, threads);
    const int64_t floats = static_cast<int64_t>(sizeof(float)) * a.padded;
    // the more rows at once, the less often the weight is read: as many as L2 holds, and some for each thread
    constexpr int64_t MOST = 4 * HEAD_ROWS;
    const int64_t share = a.rows / std::max(1, threads > 0 ? threads : cores());
    const int64_t many = std::clamp((share + HEAD_ROWS - 1) / HEAD_ROWS * HEAD_ROWS, HEAD_ROWS, MOST);
    blocks(threads, a.rows, many, [&](int64_t, int64_t begin, int64_t end) {
        table.head_dx(a, begin, end, scratch((many + HEAD_UNITS) * floats));
    });
    const int64_t bytes = HEAD_CLASSES * floats + units * HEAD_CLASSES * static_cast<int64_t>(sizeof(uint32_t));
    blocks(threads, a.vocab, HEAD_CLASSES,
           [&](int64_t, int64_t begin, int64_t end) { table.head_dweight(a, begin, end, scratch(bytes)); });
}

}  // namespace pylm::cpu
