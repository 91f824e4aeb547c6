// Cross-entropy over all rows.
#include <algorithm>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "cpu/memory.hpp"

namespace pylm::cpu {
namespace {

bool streams(Dtype type, const CrossEntropy& a, int64_t rows) {
    // in place nothing is fetched for nothing, and a chunk of logits is read again at once
    return a.dlogits && a.dlogits != a.logits && leaves_the_caches(2 * rows * a.vocab * size_of(type));
}

}  // namespace

void cross_entropy_forward(Dtype type, const CrossEntropy& given, int64_t rows, int threads) {
    const auto run = kernels().cross_entropy_forward[slot(type)];
    CrossEntropy a = given;
    a.streaming = streams(type, a, rows);
    if (a.streaming) advise_huge_pages(a.dlogits, rows * a.vocab * size_of(type));
    // a row's gradient is written while the next of its block is read
    const int64_t many = a.dlogits ? std::clamp<int64_t>(rows / 16, 1, 32) : 1;
    blocks(threads, rows, std::max(many, rows_of(a.vocab)),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void cross_entropy_backward(Dtype type, const CrossEntropy& given, int64_t rows, int threads) {
    const auto run = kernels().cross_entropy_backward[slot(type)];
    CrossEntropy a = given;
    a.streaming = streams(type, a, rows);
    if (a.streaming) advise_huge_pages(a.dlogits, rows * a.vocab * size_of(type));
    blocks(threads, rows, rows_of(a.vocab), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

}  // namespace pylm::cpu
