// Activations over all elements.
#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"

namespace pylm::cpu {

void activation_forward(Act act, Dtype type, const Activation& a, int64_t count, int threads) {
    const auto run = kernels().activation_forward[static_cast<int>(act)][slot(type)];
    blocks(threads, count, ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void activation_backward(Act act, Dtype type, const Activation& a, int64_t count, int threads) {
    const auto run = kernels().activation_backward[static_cast<int>(act)][slot(type)];
    blocks(threads, count, ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

}  // namespace pylm::cpu
