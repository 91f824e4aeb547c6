// GELU (by the error function, or GPT-2's tanh), ReLU² and SwiGLU, with their gradients.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/math.hpp"

namespace pylm::cpu::PYLM_VARIANT {

// The normal distribution's cumulative probability and e^(-x²/2); Abramowitz and Stegun 7.1.26, good to 1.5e-7.
inline void normal(Vec x, Vec& below, Vec& bell) {
    const Vec z = max(x, splat(0) - x) * splat(0.70710678118f);
    bell = exp2(z * z * splat(-LOG2E));
    const Vec t = splat(1) / fma(z, splat(0.3275911f), splat(1));
    Vec p = splat(1.061405429f);
    p = fma(p, t, splat(-1.453152027f));
    p = fma(p, t, splat(1.421413741f));
    p = fma(p, t, splat(-0.284496736f));
    p = fma(p, t, splat(0.254829592f));
    p = p * t * bell * splat(0.5f);
    below = where_negative(x, p, splat(1) - p);
}

// GPT-2's share of the normal distribution below x, 0.5 (1 + tanh u) = sigmoid(2u), and the derivative of 2u.
inline Vec tanh_share(Vec x, Vec& slope) {
    const Vec twice = splat(1.5957691216f), cubic = splat(0.044715f), square = x * x;
    slope = twice * fma(splat(0.134145f), square, splat(1));
    return sigmoid(twice * x * fma(cubic, square, splat(1)));
}

template <class T, Act act>
void activation_forward(const Activation& a, int64_t begin, int64_t end) {
    // SAFETY: every tensor was seen to have as many elements as x
    const T *x = static_cast<const T*>(a.x) + begin, *gate = static_cast<const T*>(a.gate) + begin;
    T* y = static_cast<T*>(a.y) + begin;
    each(end - begin, [&](int64_t i, int64_t n) {
        const Vec v = load_n(x + i, n);
        if constexpr (act == Act::gelu) {
            Vec below, bell;
            normal(v, below, bell);
            store_n(y + i, v * below, n);
        } else if constexpr (act == Act::gelu_tanh) {
            Vec slope;
            store_n(y + i, v * tanh_share(v, slope), n);
        } else if constexpr (act == Act::relu2) {
            const Vec r = max(v, splat(0));
            store_n(y + i, r * r, n);
        } else {
            const Vec g = load_n(gate + i, n);
            store_n(y + i, g * sigmoid(g) * v, n);
        }
    });
}

template <class T, Act act>
void activation_backward(const Activation& a, int64_t begin, int64_t end) {
    const T *x = static_cast<const T*>(a.x) + begin, *gate = static_cast<const T*>(a.gate) + begin;
    const T* dy = static_cast<const T*>(a.dy) + begin;
    T *dx = static_cast<T*>(a.dx) + begin, *dgate = static_cast<T*>(a.dgate) + begin;
    each(end - begin, [&](int64_t i, int64_t n) {
        const Vec v = load_n(x + i, n), d = load_n(dy + i, n);
        if constexpr (act == Act::gelu) {
            Vec below, bell;
            normal(v, below, bell);
            store_n(dx + i, d * fma(v * bell, splat(0.39894228040f), below), n);
        } else if constexpr (act == Act::gelu_tanh) {
            Vec slope;
            const Vec share = tanh_share(v, slope);
            store_n(dx + i, d * share * fma(v * slope, splat(1) - share, splat(1)), n);
        } else if constexpr (act == Act::relu2) {
            store_n(dx + i, d * splat(2) * max(v, splat(0)), n);
        } else {
            const Vec g = load_n(gate + i, n), s = sigmoid(g), silu = g * s;
            store_n(dx + i, d * silu, n);
            store_n(dgate + i, d * v * fma(silu, splat(1) - s, s), n);
        }
    });
}

}  // namespace pylm::cpu::PYLM_VARIANT
