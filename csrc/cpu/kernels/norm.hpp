// rms_norm and layer_norm with the residual fused. A row stays in L1, so passes over it cost little; arithmetic is
// fp32.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t AHEAD = 2048;  // elements: rows are too short for the processor to ask for the next in time

template <class T>
inline Vec summed(const T* x, const T* residual, int64_t i, int64_t n) {
    const Vec a = load_n(x + i, n);
    return residual ? a + load_n(residual + i, n) : a;
}

template <class T, bool streaming>
void normalise_rows(const NormForward& a, int64_t begin, int64_t end) {
    const int64_t width = a.width;
    for (int64_t row = begin; row < end; ++row) {
        // SAFETY: every tensor was seen to hold rows × width elements, weight and bias `width`
        const T* x = static_cast<const T*>(a.x) + row * width;
        const T* residual = a.residual ? static_cast<const T*>(a.residual) + row * width : nullptr;
        T* y = static_cast<T*>(a.y) + row * width;
        T* h = a.h ? static_cast<T*>(a.h) + row * width : nullptr;
        Vec total = splat(0), squares = splat(0), second = splat(0);
        float mean = 0, rest = 0;
        if (a.mean) {
            each(width, [&](int64_t i, int64_t n) { total = total + summed(x, residual, i, n); });
            mean = sum(total) / static_cast<float>(width);
            a.mean[row] = mean;
        }
        const Vec center = splat(mean);
        int64_t i = 0;
        for (; i + 2 * Vec::W <= width; i += 2 * Vec::W) {
            prefetch<2>(x + AHEAD + i);
            if (residual) prefetch<2>(residual + AHEAD + i);
            const Vec p = summed(x, residual, i, Vec::W), q = summed(x, residual, i + Vec::W, Vec::W);
            if (h) store_n<streaming>(h + i, p, Vec::W), store_n<streaming>(h + i + Vec::W, q, Vec::W);
            squares = fma(p - center, p - center, squares);
            second = fma(q - center, q - center, second);
        }
        for (; i < width; i += Vec::W) {
            const int64_t n = width - i < Vec::W ? width - i : Vec::W;
            const Vec p = summed(x, residual, i, n);
            if (h) store_n(h + i, p, n);
            float lanes[Vec::W];  // those past the end hold no element
            store(lanes, p - center);
            for (int64_t l = 0; l < n; ++l) rest += lanes[l] * lanes[l];
        }
        const float rstd = 1.0f / __builtin_sqrtf((sum(squares + second) + rest) / static_cast<float>(width) + a.eps);
        a.rstd[row] = rstd;
        const Vec scale = splat(rstd), offset = splat(a.offset);
        each(width, [&](int64_t j, int64_t n) {
            Vec value = (summed(x, residual, j, n) - center) * scale;
            if (a.weight) value = value * (load_n(a.weight + j, n) + offset);
            if (a.bias) value = value + load_n(a.bias + j, n);
            store_n<streaming>(y + j, value, n);
        });
    }
    if (streaming) fence();
}

template <class T>
void norm_forward(const NormForward& a, int64_t begin, int64_t end) {
    const bool streaming = a.streaming && streamable(static_cast<const T*>(a.y), a.width) &&
                           (!a.h || streamable(static_cast<const T*>(a.h), a.width));
    streaming ? normalise_rows<T, true>(a, begin, end) : normalise_rows<T, false>(a, begin, end);
}

template <class T, bool streaming>
void gradients_of_norm(const NormBackward& a, int64_t begin, int64_t end) {
    const int64_t width = a.width;
    const Vec offset = splat(a.offset);
    for (int64_t row = begin; row < end; ++row) {
        // SAFETY: as in norm_forward; dweight and dbias hold `width` sums that this block alone adds to
        const T *dy = static_cast<const T*>(a.dy) + row * width, *h = static_cast<const T*>(a.h) + row * width;
        const T* dh = a.dh ? static_cast<const T*>(a.dh) + row * width : nullptr;
        T* dx = static_cast<T*>(a.dx) + row * width;
        const Vec center = splat(a.mean ? a.mean[row] : 0), scale = splat(a.rstd[row]);
        Vec along = splat(0), total = splat(0);
        each(width, [&](int64_t i, int64_t n) {
            const Vec unit = (load_n(h + i, n) - center) * scale, d = load_n(dy + i, n);
            const Vec g = a.weight ? d * (load_n(a.weight + i, n) + offset) : d;
            along = fma(g, unit, along);
            total = total + g;
            if (a.dweight) store_n(a.dweight + i, fma(d, unit, load_n(a.dweight + i, n)), n);
            if (a.dbias) store_n(a.dbias + i, d + load_n(a.dbias + i, n), n);
        });
        const Vec slope = splat(sum(along) / static_cast<float>(width));
        const Vec level = splat(a.mean ? sum(total) / static_cast<float>(width) : 0);
        each(width, [&](int64_t i, int64_t n) {
            const Vec unit = (load_n(h + i, n) - center) * scale, d = load_n(dy + i, n);
            const Vec g = a.weight ? d * (load_n(a.weight + i, n) + offset) : d;
            Vec value = (g - level - unit * slope) * scale;
            if (dh) value = value + load_n(dh + i, n);
            store_n<streaming>(dx + i, value, n);
        });
    }
    if (streaming) fence();
}

template <class T>
void norm_backward(const NormBackward& a, int64_t begin, int64_t end) {
    const bool streaming = a.streaming && streamable(static_cast<const T*>(a.dx), a.width);
    streaming ? gradients_of_norm<T, true>(a, begin, end) : gradients_of_norm<T, false>(a, begin, end);
}

}  // namespace pylm::cpu::PYLM_VARIANT
