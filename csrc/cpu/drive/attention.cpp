// Attention for training: one unit of work is a head of one sequence.
#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "threads.hpp"

namespace pylm::cpu {

void attention_forward(Dtype type, const Attention& a, int threads) {
    const Kernels& table = kernels();
    const int64_t size = table.attention_forward_scratch[slot(type)](a.time, a.dim);
    parallel(threads, a.batch * a.heads,
             [&](int64_t unit) { table.attention_forward[slot(type)](a, unit, scratch(size)); });
}

void attention_backward(Dtype type, const Attention& a, int threads) {
    const Kernels& table = kernels();
    const int64_t size = table.attention_backward_scratch[slot(type)](a.time, a.dim);
    parallel(threads, a.batch * a.kv_heads,
             [&](int64_t unit) { table.attention_backward[slot(type)](a, unit, scratch(size)); });
}

}  // namespace pylm::cpu
