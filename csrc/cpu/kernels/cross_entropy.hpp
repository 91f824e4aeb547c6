// Cross-entropy over rows of logits. Where the gradient is wanted with the loss, memory is read once: a row lies in L2
// for its second reading. The gradient is written around the caches where it would not stay in them.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/math.hpp"

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
    Vec operator()(Vec x) const { return cap * tanh(x * inverse); }
    Vec slope(Vec x) const {
        const Vec t = tanh(x * inverse);
        return splat(1) - t * t;
    }
};
template <class Cap>
inline float cap_one(const Cap& cap, float x) {
    return highest(cap(splat(x)));
}

template <class T>
inline float row_highest(const T* x, int64_t count) {
    Vec a = splat(-__builtin_inff()), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * Vec::W <= count; i += 4 * Vec::W) {
        a = max(a, load(x + i)), b = max(b, load(x + i + Vec::W));
        c = max(c, load(x + i + 2 * Vec::W)), d = max(d, load(x + i + 3 * Vec::W));
    }
    for (; i + Vec::W <= count; i += Vec::W) a = max(a, load(x + i));
    float top = highest(max(max(a, b), max(c, d)));
    for (; i < count; ++i) top = widen(x[i]) > top ? widen(x[i]) : top;
    return top;
}

constexpr int64_t BLOCK = 2048;  // of logits: lies in L1 for its two passes while memory brings the next

// The highest logit of a row, and the sum of powers less it, of one reading, block by block. x - top is exact where it
// matters: scaling by log2(e) first would round logits of thousands before they meet. Blocks are summed in fp32, which
// stays short, the row in double.
struct Powers {
    double total = 0;
    float top = -__builtin_inff();

    template <class T, class Cap>
    void add(const T* x, int64_t count, const Cap& cap) {
        const float here = cap_one(cap, row_highest(x, count));
        if (here == -__builtin_inff()) return;
        if (here > top) {
            total *= __builtin_exp(static_cast<double>(top) - static_cast<double>(here));
            top = here;
        }
        const Vec log2e = splat(LOG2E), shift = splat(top);
        Vec s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
        int64_t i = 0;
        for (; i + 4 * Vec::W <= count; i += 4 * Vec::W) {
            prefetch<4>(x + 2 * BLOCK + i);  // or memory idles while exponentials are made: twice as long on one thread
            s0 = s0 + exp2((cap(load(x + i)) - shift) * log2e);
            s1 = s1 + exp2((cap(load(x + i + Vec::W)) - shift) * log2e);
            s2 = s2 + exp2((cap(load(x + i + 2 * Vec::W)) - shift) * log2e);
            s3 = s3 + exp2((cap(load(x + i + 3 * Vec::W)) - shift) * log2e);
        }
        total += static_cast<double>(sum((s0 + s1) + (s2 + s3)));
        for (; i < count; i += Vec::W) {
            const int64_t n = count - i < Vec::W ? count - i : Vec::W;
            float lanes[Vec::W];  // those past the end hold no logit
            store(lanes, exp2((cap(load_n(x + i, n)) - shift) * log2e));
            for (int64_t l = 0; l < n; ++l) total += static_cast<double>(lanes[l]);
        }
    }
};

// The loss of a row and its lse, once all of its blocks have been added.
template <class Cap>
inline void conclude(const CrossEntropy& a, int64_t row, float target, const Cap& cap, const Powers& powers) {
    const double log_sum = __builtin_log(powers.total), top = static_cast<double>(powers.top);
    const auto lse = static_cast<float>(top + log_sum);
    a.lse[row] = lse;
    // from the difference, not from lse: an lse of thousands has lost the loss's digits
    a.losses[row] =
        static_cast<float>(top - static_cast<double>(cap_one(cap, target)) + log_sum) + a.z_loss * lse * lse;
}

// The gradient of one row's loss times `grad`, block by block.
template <class T, class Cap, bool streaming>
struct Gradient {
    const T* x;
    T* out;
    int64_t target;
    float grad, lse, weight;

    Gradient(const CrossEntropy& a, int64_t row, float wanted) {
        // SAFETY: dlogits has the logits' shape and may be the logits, each element is read before written
        x = static_cast<const T*>(a.logits) + row * a.stride;
        out = static_cast<T*>(a.dlogits) + row * a.stride;
        target = a.targets[row], lse = a.lse[row];
        grad = target == a.ignore_index ? 0 : wanted;
        weight = grad * (1 + 2 * a.z_loss * lse);
    }
    void write(int64_t begin, int64_t end, const Cap& cap) const {
        if (grad == 0) {
            memset(static_cast<void*>(out + begin), 0, static_cast<size_t>(end - begin) * sizeof(T));
            return;
        }
        if (target < begin || target >= end) return write_others<streaming>(begin, end, cap);
        const Vec right = splat(widen(x[target]));
        const int64_t from = target / Vec::W * Vec::W, to = from + Vec::W < end ? from + Vec::W : end;
        write_others<streaming>(begin, from, cap);
        write_others<false>(from, to, cap);
        write_others<streaming>(to, end, cap);
        const float p = __builtin_expf(cap_one(cap, highest(right)) - lse);
        narrow(out + target, (p * weight - grad) * highest(cap.slope(right)));
    }
    template <bool streamed>
    void write_others(int64_t begin, int64_t end, const Cap& cap) const {
        const Vec log2e = splat(LOG2E), shift = splat(lse), scale = splat(weight);
        const T* from = x + begin;
        T* to = out + begin;
        each(end - begin, [&](int64_t i, int64_t n) {
            const Vec v = load_n(from + i, n);
            store_n<streamed>(to + i, exp2((cap(v) - shift) * log2e) * scale * cap.slope(v), n);
        });
    }
};

// Losses, and gradients where they are wanted: those of a row while the next one is read, so that memory is asked to
// read and to write at the same time, and each row lies in L2 for its second reading.
template <class T, class Cap, bool streaming>
void losses_of_rows(const CrossEntropy& a, int64_t begin, int64_t end) {
    const Cap cap(a.softcap);
    for (int64_t row = begin; row < end + (a.dlogits != nullptr); ++row) {
        const bool reads = row < end && a.targets[row] != a.ignore_index, writes = a.dlogits && row > begin;
        // SAFETY: rows of `vocab` logits lie `stride` apart; the driver has checked targets against the vocabulary
        const T* x = static_cast<const T*>(a.logits) + row * a.stride;
        const Gradient<T, Cap, streaming> before(a, writes ? row - 1 : begin, a.ahead);
        Powers powers;
        for (int64_t at = 0; at < a.vocab; at += BLOCK) {
            const int64_t stop = a.vocab - at < BLOCK ? a.vocab : at + BLOCK;
            if (reads) powers.add(x + at, stop - at, cap);
            if (writes) before.write(at, stop, cap);
        }
        if (reads)
            conclude(a, row, widen(x[a.targets[row]]), cap, powers);
        else if (row < end)
            a.lse[row] = a.losses[row] = 0;
    }
    if (streaming) fence();
}

template <class T, class Cap, bool streaming>
void gradients_of_rows(const CrossEntropy& a, int64_t begin, int64_t end) {
    const Cap cap(a.softcap);
    for (int64_t row = begin; row < end; ++row) {
        const Gradient<T, Cap, streaming> gradient(a, row, a.grads[row]);
        for (int64_t at = 0; at < a.vocab; at += BLOCK)
            gradient.write(at, a.vocab - at < BLOCK ? a.vocab : at + BLOCK, cap);
    }
    if (streaming) fence();
}

// Whether results may be written around the caches.
template <class T>
inline bool streams(const CrossEntropy& a) {
    return a.streaming && streamable(static_cast<const T*>(a.dlogits), a.vocab) && a.stride == a.vocab;
}
template <class T>
void cross_entropy_forward(const CrossEntropy& a, int64_t begin, int64_t end) {
    if (a.softcap > 0) return losses_of_rows<T, Capped, false>(a, begin, end);
    streams<T>(a) ? losses_of_rows<T, Plain, true>(a, begin, end) : losses_of_rows<T, Plain, false>(a, begin, end);
}
template <class T>
void cross_entropy_backward(const CrossEntropy& a, int64_t begin, int64_t end) {
    if (a.softcap > 0) return gradients_of_rows<T, Capped, false>(a, begin, end);
    streams<T>(a) ? gradients_of_rows<T, Plain, true>(a, begin, end)
                  : gradients_of_rows<T, Plain, false>(a, begin, end);
}

}  // namespace pylm::cpu::PYLM_VARIANT
