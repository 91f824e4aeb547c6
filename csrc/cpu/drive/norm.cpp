// Norms over all rows, and the sums of their weights' gradients.
#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "cpu/memory.hpp"

namespace pylm::cpu {

void norm_forward(Dtype type, const NormForward& given, int64_t rows, int threads) {
    const auto run = kernels().norm_forward[slot(type)];
    NormForward a = given;
    const int64_t bytes = rows * a.width * size_of(type);
    a.streaming = leaves_the_caches(bytes * (a.h ? 4 : 2));
    if (a.streaming) advise_huge_pages(a.y, bytes), advise_huge_pages(a.h, a.h ? bytes : 0);
    blocks(threads, rows, rows_of(a.width), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void norm_backward(Dtype type, const NormBackward& given, int64_t rows, int threads) {
    const auto run = kernels().norm_backward[slot(type)];
    NormBackward a = given;
    const int64_t bytes = rows * a.width * size_of(type);
    a.streaming = leaves_the_caches(bytes * (a.dh ? 4 : 3));
    if (a.streaming) advise_huge_pages(a.dx, bytes);
    if (!a.dweight && !a.dbias) {
        blocks(threads, rows, rows_of(a.width), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
        return;
    }
    summed_blocks(threads, rows, a.width, {a.dweight, a.dbias}, [&](int64_t begin, int64_t end, float* const* sums) {
        NormBackward mine = a;
        mine.dweight = sums[0], mine.dbias = sums[1];
        run(mine, begin, end);
    });
}

}  // namespace pylm::cpu
