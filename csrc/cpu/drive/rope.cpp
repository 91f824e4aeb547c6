// Rotations over all heads.
#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"

namespace pylm::cpu {

void rotate_forward(Dtype type, const Rotation& a, int threads) {
    const auto run = kernels().rotate_forward[slot(type)];
    blocks(threads, a.batch * a.time, rows_of(a.heads * a.dim),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void rotate_backward(Dtype type, const Rotation& a, int threads) {
    const auto run = kernels().rotate_backward[slot(type)];
    if (!a.dweight) {
        blocks(threads, a.batch * a.time, rows_of(a.heads * a.dim),
               [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
        return;
    }
    summed_blocks(threads, a.batch * a.time, a.dim, {a.dweight, nullptr},
                  [&](int64_t begin, int64_t end, float* const* sums) {
                      Rotation mine = a;
                      mine.dweight = sums[0];
                      run(mine, begin, end);
                  });
}

}  // namespace pylm::cpu
