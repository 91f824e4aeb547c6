// Exponentials of whole vectors, by polynomials: a few units in the last place from the true ones.
#pragma once
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr float LOG2E = 1.44269504089f, LN2 = 0.69314718056f;

/// A polynomial of x by Horner's rule, the highest coefficient first.
template <class... Rest>
inline Vec polynomial(Vec x, float first, Rest... rest) {
    Vec p = splat(first);
    ((p = fma(p, x, splat(rest))), ...);
    return p;
}

/// 2^t to a few units in the last place; 2^-126 below that, t at most 127.
inline Vec exp2(Vec t) {
    t = max(splat(-126.0f), t);  // in this order NaN stays NaN
#if PYLM_LEVEL == 512
    // t less its floor by one instruction; scalef takes the floor by itself
    const Vec f = {_mm512_reduce_ps(t.v, 0x09)};
    return scale2(
        polynomial(f, 1.867130515e-3f, 9.017029777e-3f, 5.579991266e-2f, 2.401644439e-1f, 6.931512952e-1f, 1.0f), t);
#else
    const Vec n = round(t);
    return scale2(polynomial(t - n, 1.535336188319500e-4f, 1.339887440266574e-3f, 9.618437357674640e-3f,
                             5.550332471162809e-2f, 2.402264791363012e-1f, 6.931472028550421e-1f, 1.0f),
                  n);
#endif
}

/// tanh, as 1 - 2 / (e^2y + 1).
inline Vec tanh(Vec y) { return splat(1) - splat(2) / (exp2(min(y * splat(2 * LOG2E), splat(120))) + splat(1)); }

/// 1 / (1 + e^-x).
inline Vec sigmoid(Vec x) { return splat(1) / (splat(1) + exp2(min(splat(0) - x, splat(80)) * splat(LOG2E))); }

}  // namespace pylm::cpu::PYLM_VARIANT
