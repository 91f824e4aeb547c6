// Heads of q and k: RMS-normalised where there is a weight, then rotated by their position, in one pass. A head is
// staged in fp32 with its pairs apart (all first elements, all second ones, the rest), whatever the layout.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

template <class T>
inline void stage(const Rotation& a, const T* x, float* to) {
    if (!a.interleaved) {
        each(a.dim, [&](int64_t i, int64_t n) { store_n(to + i, load_n(x + i, n), n); });
        return;
    }
    for (int64_t i = 0; i < a.half; ++i) to[i] = widen(x[2 * i]), to[a.half + i] = widen(x[2 * i + 1]);
    for (int64_t i = 2 * a.half; i < a.dim; ++i) to[i] = widen(x[i]);
}

template <class T>
inline void unstage(const Rotation& a, const float* from, T* x) {
    if (!a.interleaved) {
        each(a.dim, [&](int64_t i, int64_t n) { store_n(x + i, load_n(from + i, n), n); });
        return;
    }
    for (int64_t i = 0; i < a.half; ++i) narrow(x + 2 * i, from[i]), narrow(x + 2 * i + 1, from[a.half + i]);
    for (int64_t i = 2 * a.half; i < a.dim; ++i) narrow(x + i, from[i]);
}

struct Angles {
    const float *cos, *sin;
    Angles(const Rotation& a, int64_t b, int64_t t) {
        // SAFETY: the driver has held every position against the table
        const int64_t at = (a.positions ? a.positions[b * a.position_stride + t] : t) + a.offset;
        cos = a.cos + at * a.half, sin = a.sin + at * a.half;
    }
    /// Rotates the staged head by the angles (sign 1) or back (sign -1).
    void rope(const Rotation& a, float* head, float sign) const {
        float* other = head + a.half;
        const Vec direction = splat(sign);
        each(a.half, [&](int64_t i, int64_t n) {
            const Vec c = load_n(cos + i, n), s = load_n(sin + i, n) * direction;
            const Vec p = load_n(head + i, n), q = load_n(other + i, n);
            store_n(head + i, p * c - q * s, n);
            store_n(other + i, fma(p, s, q * c), n);
        });
    }
};

/// Whether a head is all pairs, each half of it whole vectors: it is then turned in registers, without being staged.
inline bool whole_halves(const Rotation& a) { return !a.interleaved && a.dim == 2 * a.half && a.half % Vec::W == 0; }

template <class T>
inline void turn_head(const Rotation& a, const Angles& angles, const T* x, T* out, float* rstd) {
    const int64_t half = a.half;
    Vec scale = splat(1);
    if (a.weight) {
        Vec p2 = splat(0), q2 = splat(0);
        for (int64_t i = 0; i < half; i += Vec::W) {
            const Vec p = load(x + i), q = load(x + half + i);
            p2 = fma(p, p, p2), q2 = fma(q, q, q2);
        }
        *rstd = 1 / __builtin_sqrtf(sum(p2 + q2) / static_cast<float>(a.dim) + a.eps);
        scale = splat(*rstd);
    }
    for (int64_t i = 0; i < half; i += Vec::W) {
        Vec p = load(x + i), q = load(x + half + i);
        if (a.weight) p = p * scale * load(a.weight + i), q = q * scale * load(a.weight + half + i);
        const Vec c = load(angles.cos + i), s = load(angles.sin + i);
        store(out + i, p * c - q * s);
        store(out + half + i, fma(p, s, q * c));
    }
}

template <class T>
inline void turn_head_back(const Rotation& a, const Angles& angles, const T* dy, const T* x, T* dx, float rstd,
                           float* sums) {
    const int64_t half = a.half;
    const Vec scale = splat(rstd);
    Vec along = splat(0);
    float grad[ROTATED_DIM];
    for (int64_t i = 0; i < half; i += Vec::W) {
        const Vec p = load(dy + i), q = load(dy + half + i), c = load(angles.cos + i), s = load(angles.sin + i);
        const Vec first = p * c + q * s, second = q * c - p * s;
        if (!a.weight) {
            store(dx + i, first), store(dx + half + i, second);
            continue;
        }
        const Vec unit = load(x + i) * scale, other = load(x + half + i) * scale;
        store(sums + i, fma(first, unit, load(sums + i)));
        store(sums + half + i, fma(second, other, load(sums + half + i)));
        const Vec a1 = first * load(a.weight + i), a2 = second * load(a.weight + half + i);
        along = fma(a1, unit, fma(a2, other, along));
        store(grad + i, a1), store(grad + half + i, a2);
    }
    if (!a.weight) return;
    const Vec slope = splat(sum(along) / static_cast<float>(a.dim));
    for (int64_t i = 0; i < a.dim; i += Vec::W) store(dx + i, (load(grad + i) - load(x + i) * scale * slope) * scale);
}

template <class T>
void rotate_forward(const Rotation& a, int64_t begin, int64_t end) {
    float head[ROTATED_DIM], weight[ROTATED_DIM];
    const bool whole = whole_halves(a);
    if (a.weight) stage(a, a.weight, weight);
    for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / a.time, t = row % a.time;
        const Angles angles(a, b, t);
        for (int64_t h = 0; h < a.heads; ++h) {
            // SAFETY: strides and sizes were checked against the tensors
            const T* x = static_cast<const T*>(a.x) + b * a.sx.batch + t * a.sx.time + h * a.sx.head;
            T* out = static_cast<T*>(a.out) + b * a.so.batch + t * a.so.time + h * a.so.head;
            if (whole) {
                turn_head(a, angles, x, out, a.weight ? a.rstd + row * a.heads + h : nullptr);
                continue;
            }
            stage(a, x, head);
            if (a.weight) {
                float squares = 0;
                Vec total = splat(0);
                int64_t i = 0;
                for (; i + Vec::W <= a.dim; i += Vec::W) total = fma(load(head + i), load(head + i), total);
                for (; i < a.dim; ++i) squares += head[i] * head[i];
                const float rstd = 1 / __builtin_sqrtf((sum(total) + squares) / static_cast<float>(a.dim) + a.eps);
                a.rstd[row * a.heads + h] = rstd;
                const Vec scale = splat(rstd);
                each(a.dim, [&](int64_t j, int64_t n) {
                    store_n(head + j, load_n(head + j, n) * scale * load_n(weight + j, n), n);
                });
            }
            angles.rope(a, head, 1);
            unstage(a, head, out);
        }
    }
}

template <class T>
void rotate_backward(const Rotation& a, int64_t begin, int64_t end) {
    float head[ROTATED_DIM], grad[ROTATED_DIM], weight[ROTATED_DIM], sums[ROTATED_DIM];
    const bool whole = whole_halves(a);
    if (a.weight) {
        stage(a, a.weight, weight);
        for (int64_t i = 0; i < a.dim; ++i) sums[i] = 0;
    }
    for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / a.time, t = row % a.time;
        const Angles angles(a, b, t);
        for (int64_t h = 0; h < a.heads; ++h) {
            // SAFETY: as above
            const T* dy = static_cast<const T*>(a.dy) + b * a.sdy.batch + t * a.sdy.time + h * a.sdy.head;
            const T* x = static_cast<const T*>(a.x) + b * a.sx.batch + t * a.sx.time + h * a.sx.head;
            T* dx = static_cast<T*>(a.dx) + b * a.sdx.batch + t * a.sdx.time + h * a.sdx.head;
            if (whole) {
                turn_head_back(a, angles, dy, x, dx, a.weight ? a.rstd[row * a.heads + h] : 0, sums);
                continue;
            }
            stage(a, dy, grad);
            angles.rope(a, grad, -1);
            if (a.weight) {
                stage(a, x, head);
                const float rstd = a.rstd[row * a.heads + h];
                const Vec scale = splat(rstd);
                float rest = 0;
                Vec along = splat(0);
                int64_t i = 0;
                for (; i + Vec::W <= a.dim; i += Vec::W) {
                    const Vec unit = load(head + i) * scale, g = load(grad + i);
                    store(sums + i, fma(g, unit, load(sums + i)));
                    along = fma(g * load(weight + i), unit, along);
                }
                for (; i < a.dim; ++i) {
                    const float unit = head[i] * rstd;
                    sums[i] += grad[i] * unit, rest += grad[i] * weight[i] * unit;
                }
                const Vec slope = splat((sum(along) + rest) / static_cast<float>(a.dim));
                each(a.dim, [&](int64_t j, int64_t n) {
                    const Vec unit = load_n(head + j, n) * scale;
                    store_n(grad + j, (load_n(grad + j, n) * load_n(weight + j, n) - unit * slope) * scale, n);
                });
            }
            unstage(a, grad, dx);
        }
    }
    if (!a.dweight) return;
    unstage(a, sums, head);
    for (int64_t i = 0; i < a.dim; ++i) a.dweight[i] += head[i];
}

}  // namespace pylm::cpu::PYLM_VARIANT
