// AdamW with the clip folded in: the gradient is scaled as it is read, so that no pass of its own is spent on it.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

template <class T>
double sum_squares(const void* data, int64_t begin, int64_t end) {
    const T* x = static_cast<const T*>(data) + begin;
    constexpr int64_t BLOCK = 4096;  // fp32 partial sums stay short, their sum is double
    double total = 0;
    for (int64_t at = 0; at < end - begin; at += BLOCK) {
        const int64_t count = end - begin - at < BLOCK ? end - begin - at : BLOCK;
        Vec a = splat(0), b = a, c = a, d = a;
        int64_t i = at;
        for (; i + 4 * Vec::W <= at + count; i += 4 * Vec::W) {
            const Vec p = load(x + i), q = load(x + i + Vec::W), r = load(x + i + 2 * Vec::W),
                      s = load(x + i + 3 * Vec::W);
            a = fma(p, p, a), b = fma(q, q, b), c = fma(r, r, c), d = fma(s, s, d);
        }
        for (; i < at + count; i += Vec::W) {
            const int64_t left = at + count - i;
            const Vec p = load_n(x + i, left < Vec::W ? left : static_cast<int64_t>(Vec::W));
            a = fma(p, p, a);
        }
        total += static_cast<double>(sum((a + b) + (c + d)));
    }
    return total;
}

template <class P, class G, class S>
void adamw(const AdamW& a, int64_t begin, int64_t end) {
    // SAFETY: the four tensors, and the copy where there is one, were seen to have the same number of elements
    P* p = static_cast<P*>(a.p) + begin;
    const G* g = static_cast<const G*>(a.g) + begin;
    S *m = static_cast<S*>(a.m) + begin, *v = static_cast<S*>(a.v) + begin;
    bf16* copy = a.copy ? static_cast<bf16*>(a.copy) + begin : nullptr;
    const Vec scale = splat(a.scale), b1 = splat(a.beta1), c1 = splat(1 - a.beta1), b2 = splat(a.beta2);
    const Vec c2 = splat(1 - a.beta2), step = splat(-a.lr / a.correction1);
    const Vec inverse = splat(1 / __builtin_sqrtf(a.correction2)), eps = splat(a.eps), keep = splat(1 - a.lr * a.decay);
    constexpr int64_t AHEAD = 1024;  // elements: roots and quotients take too long for the processor to ask in time
    each(end - begin, [&](int64_t i, int64_t n) {
        prefetch<1>(g + i + AHEAD), prefetch<1>(m + i + AHEAD), prefetch<1>(v + i + AHEAD), prefetch<1>(p + i + AHEAD);
        const Vec grad = load_n(g + i, n) * scale;
        const Vec first = fma(load_n(m + i, n), b1, grad * c1), second = fma(load_n(v + i, n), b2, grad * grad * c2);
        const Vec moved = fma(step, first / fma(sqrt(second), inverse, eps), load_n(p + i, n) * keep);
        store_n(m + i, first, n);
        store_n(v + i, second, n);
        store_n(p + i, moved, n);
        if (copy) store_n(copy + i, moved, n);
    });
}

}  // namespace pylm::cpu::PYLM_VARIANT
