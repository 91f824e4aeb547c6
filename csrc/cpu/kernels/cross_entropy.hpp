// Cross-entropy over rows of logits: memory is read once for the loss and once for the gradient, which is written
// around the caches where it would not stay in them.
#pragma once
#include "cpu/kernels/simd.hpp"
#include "cpu/kernels/table.hpp"

namespace pylm::cpu::PYLM_VARIANT {

// Logits as the loss sees them: cap · tanh(x / cap), or as they are.
struct Plain {
    explicit Plain(float) {}
    Vec operator()(Vec x) const { return x; }
    Vec slope(Vec) const { return splat(1); }
};
struct Capped {
    Vec cap, inverse;
    explicit Capped(float softcap) : cap(splat(softcap)), inverse(splat(1 / softcap)) {}
    Vec operator()(Vec x) const { return cap * tangent(x * inverse); }
    Vec slope(Vec x) const {
        const Vec t = tangent(x * inverse);
        return splat(1) - t * t;
    }
};
template <class Cap>
inline float cap_one(const Cap& cap, float x) {
    return highest(cap(splat(x)));
}

template <class T>
inline float row_highest(const T* x, int64_t count) {
    Vec a = splat(-__builtin_inff()), b = a;
    int64_t i = 0;
    for (; i + 2 * Vec::W <= count; i += 2 * Vec::W) a = max(a, load(x + i)), b = max(b, load(x + i + Vec::W));
    for (; i + Vec::W <= count; i += Vec::W) a = max(a, load(x + i));
    float top = highest(max(a, b));
    for (; i < count; ++i) top = widen(x[i]) > top ? widen(x[i]) : top;
    return top;
}

// The highest logit, and the sum of powers less it, of one reading: a block lies in L1 for its two passes while memory
// brings the next. x - top is exact where it matters: scaling by log2(e) first would round logits of thousands before
// they meet. Blocks are summed in fp32, which stays short, the row in double.
template <class T, class Cap>
inline double sum_of_powers(const T* x, int64_t count, const Cap& cap, float& top) {
    constexpr int64_t BLOCK = 2048;
    const Vec log2e = splat(LOG2E);
    double total = 0;
    top = -__builtin_inff();
    for (int64_t at = 0; at < count; at += BLOCK) {
        const int64_t end = count - at < BLOCK ? count : at + BLOCK;
        const float here = cap_one(cap, row_highest(x + at, end - at));
        if (here == -__builtin_inff()) continue;
        if (here > top) {
            total *= __builtin_exp(static_cast<double>(top) - static_cast<double>(here));
            top = here;
        }
        const Vec shift = splat(top);
        Vec s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
        int64_t i = at;
        for (; i + 4 * Vec::W <= end; i += 4 * Vec::W) {
            s0 = s0 + exp2((cap(load(x + i)) - shift) * log2e);
            s1 = s1 + exp2((cap(load(x + i + Vec::W)) - shift) * log2e);
            s2 = s2 + exp2((cap(load(x + i + 2 * Vec::W)) - shift) * log2e);
            s3 = s3 + exp2((cap(load(x + i + 3 * Vec::W)) - shift) * log2e);
        }
        total += static_cast<double>(sum((s0 + s1) + (s2 + s3)));
        for (; i < end; i += Vec::W) {
            const int64_t n = end - i < Vec::W ? end - i : Vec::W;
            float lanes[Vec::W];  // those past the end hold no logit
            store(lanes, exp2((cap(take(x + i, n)) - shift) * log2e));
            for (int64_t l = 0; l < n; ++l) total += static_cast<double>(lanes[l]);
        }
    }
    return total;
}

template <class T, class Cap>
void losses_of_rows(const CrossEntropy& a, int64_t begin, int64_t end) {
    const Cap cap(a.softcap);
    for (int64_t row = begin; row < end; ++row) {
        // SAFETY: rows of `vocab` logits lie `stride` apart; the driver has checked targets against the vocabulary
        const T* x = static_cast<const T*>(a.logits) + row * a.stride;
        const int64_t target = a.targets[row];
        if (target == a.ignore_index) {
            a.lse[row] = a.losses[row] = 0;
            continue;
        }
        float top;
        const double log_sum = __builtin_log(sum_of_powers(x, a.vocab, cap, top));
        const auto lse = static_cast<float>(static_cast<double>(top) + log_sum);
        a.lse[row] = lse;
        // from the difference, not from lse: an lse of thousands has lost the loss's digits
        const double below = static_cast<double>(top) - static_cast<double>(cap_one(cap, widen(x[target])));
        a.losses[row] = static_cast<float>(below + log_sum) + a.z_loss * lse * lse;
    }
}

template <class T, class Cap, bool past>
void gradients_of_rows(const CrossEntropy& a, int64_t begin, int64_t end) {
    const Cap cap(a.softcap);
    for (int64_t row = begin; row < end; ++row) {
        // SAFETY: as above; dlogits has the logits' shape and may be the logits, each element is read before written
        const T* x = static_cast<const T*>(a.logits) + row * a.stride;
        T* out = static_cast<T*>(a.dlogits) + row * a.stride;
        const int64_t target = a.targets[row];
        const float grad = target == a.ignore_index ? 0 : a.grads[row], lse = a.lse[row];
        if (grad == 0) {
            memset(static_cast<void*>(out), 0, static_cast<size_t>(a.vocab) * sizeof(T));
            continue;
        }
        const float weight = grad * (1 + 2 * a.z_loss * lse);
        const Vec log2e = splat(LOG2E), shift = splat(lse), scale = splat(weight);
        const Vec right = splat(widen(x[target]));
        each(a.vocab, [&](int64_t i, int64_t n) {
            const Vec v = take(x + i, n);
            put<past>(out + i, exp2((cap(v) - shift) * log2e) * scale * cap.slope(v), n);
        });
        const float chance = __builtin_expf(cap_one(cap, highest(right)) - lse);
        if (past) fence();
        narrow(out + target, (chance * weight - grad) * highest(cap.slope(right)));
    }
}

template <class T>
void cross_entropy_forward(const CrossEntropy& a, int64_t begin, int64_t end) {
    a.softcap > 0 ? losses_of_rows<T, Capped>(a, begin, end) : losses_of_rows<T, Plain>(a, begin, end);
}
template <class T>
void cross_entropy_backward(const CrossEntropy& a, int64_t begin, int64_t end) {
    if (a.softcap > 0) return gradients_of_rows<T, Capped, false>(a, begin, end);
    const bool past = a.past && streamable(static_cast<const T*>(a.dlogits), a.vocab) && a.stride == a.vocab;
    past ? gradients_of_rows<T, Plain, true>(a, begin, end) : gradients_of_rows<T, Plain, false>(a, begin, end);
}

}  // namespace pylm::cpu::PYLM_VARIANT
