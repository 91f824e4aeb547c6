// An int8 matrix times one vector, which torch has not.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/simd.hpp"

namespace pylm::cpu::PYLM_VARIANT {

/// y[row] = scale[row] · w[row] · x for rows [begin, end); x stays fp32, so only the weights are rounded.
inline void gemv_int8(const Gemv& a, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        const int8_t* w = a.weights + row * a.width;
        Vec s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
        int64_t i = 0;
        for (; i + 4 * Vec::W <= a.width; i += 4 * Vec::W) {
            __builtin_prefetch(w + i + FETCH_AHEAD);
            s0 = fma(load_int8(w + i), load(a.x + i), s0);
            s1 = fma(load_int8(w + i + Vec::W), load(a.x + i + Vec::W), s1);
            s2 = fma(load_int8(w + i + 2 * Vec::W), load(a.x + i + 2 * Vec::W), s2);
            s3 = fma(load_int8(w + i + 3 * Vec::W), load(a.x + i + 3 * Vec::W), s3);
        }
        float total = sum((s0 + s1) + (s2 + s3));
        for (; i < a.width; ++i) total += static_cast<float>(w[i]) * a.x[i];
        a.y[row] = total * a.scales[row];
    }
}

}  // namespace pylm::cpu::PYLM_VARIANT
