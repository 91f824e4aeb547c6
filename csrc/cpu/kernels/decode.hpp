// One new token: attention over a cache, split along the keys, and the product of a weight matrix of int8 with a
// vector. Both read memory once and are as fast as it is; heads that share keys share the reading.
#pragma once
#include "cpu/kernels/simd.hpp"
#include "cpu/kernels/table.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t AHEAD = 8;  // rows of the cache that are fetched before they are needed

template <class T>
inline float dot(const float* q, const T* k, int64_t dim) {
    Vec a = splat(0), b = splat(0);
    int64_t i = 0;
    for (; i + 2 * Vec::W <= dim; i += 2 * Vec::W) {
        a = fma(load(q + i), load(k + i), a);
        b = fma(load(q + i + Vec::W), load(k + i + Vec::W), b);
    }
    for (; i < dim; i += Vec::W) {
        const int64_t n = dim - i < Vec::W ? dim - i : Vec::W;
        a = fma(take(q + i, n), take(k + i, n), a);
    }
    return sum(a + b);
}

/// Keys [begin, end) of one head of keys, at most KEYS_AT_ONCE, for every query head that shares it: each gives its
/// maximum, its sum and its weighted values to `partial`, dim + 2 numbers.
template <class T>
void decode_attention(const Decode& a, int64_t b, int64_t g, int64_t begin, int64_t end, float* partial) {
    const int64_t dim = a.dim, share = a.heads / a.kv_heads, count = end - begin;
    // SAFETY: the strides were checked against the tensors and `end` against the cache's length
    const T* k = static_cast<const T*>(a.k) + b * a.sk.batch + g * a.sk.head + begin * a.sk.time;
    const T* v = static_cast<const T*>(a.v) + b * a.sv.batch + g * a.sv.head + begin * a.sv.time;
    float scores[KEYS_AT_ONCE], query[DECODE_DIM];
    for (int64_t h = 0; h < share; ++h) {
        const T* q = static_cast<const T*>(a.q) + (b * a.heads + g * share + h) * dim;
        float* out = partial + h * (dim + 2);
        for (int64_t i = 0; i < dim; ++i) query[i] = widen(q[i]) * a.scale * LOG2E;
        float top = -__builtin_inff();
        for (int64_t s = 0; s < count; ++s) {
            if (h == 0) {
                __builtin_prefetch(k + (s + AHEAD) * a.sk.time);
                __builtin_prefetch(v + (s + AHEAD) * a.sv.time);
            }
            scores[s] = dot(query, k + s * a.sk.time, dim);
            top = scores[s] > top ? scores[s] : top;
        }
        Vec total = splat(0);
        const Vec shift = splat(top);
        int64_t s = 0;
        for (; s + Vec::W <= count; s += Vec::W) {
            const Vec e = exp2(load(scores + s) - shift);
            store(scores + s, e);
            total = total + e;
        }
        float all = sum(total);
        if (s < count) {
            float lanes[Vec::W];
            store(lanes, exp2(load_some(scores + s, count - s) - shift));
            for (int64_t l = 0; s + l < count; ++l) all += scores[s + l] = lanes[l];
        }
        out[0] = top, out[1] = all;
        float* values = out + 2;
        int64_t i = 0;
        for (; i + 4 * Vec::W <= dim; i += 4 * Vec::W) {
            Vec acc[4] = {splat(0), splat(0), splat(0), splat(0)};
            for (int64_t r = 0; r < count; ++r) {
                const T* row = v + r * a.sv.time + i;
                const Vec p = splat(scores[r]);
                for (int j = 0; j < 4; ++j) acc[j] = fma(p, load(row + j * Vec::W), acc[j]);
            }
            for (int j = 0; j < 4; ++j) store(values + i + j * Vec::W, acc[j]);
        }
        for (; i < dim; i += Vec::W) {
            const int64_t n = dim - i < Vec::W ? dim - i : Vec::W;
            Vec acc = splat(0);
            for (int64_t r = 0; r < count; ++r) acc = fma(splat(scores[r]), take(v + r * a.sv.time + i, n), acc);
            put(values + i, acc, n);
        }
    }
}

inline Vec load_int8(const int8_t* p) {
#if PYLM_LEVEL == 512
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
#elif PYLM_LEVEL == 2
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
#else
    return {static_cast<float>(*p)};
#endif
}

/// y[row] = scale[row] · w[row] · x for rows [begin, end); x stays fp32, so only the weights are rounded.
inline void gemv_int8(const Gemv& a, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        const int8_t* w = a.weights + row * a.width;
        Vec s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
        int64_t i = 0;
        for (; i + 4 * Vec::W <= a.width; i += 4 * Vec::W) {
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

/// Bytes [begin, end), in whole cache lines, added up: as fast as this memory can be read.
inline uint64_t read_all(const void* data, int64_t begin, int64_t end) {
    const char* bytes = static_cast<const char*>(data);
    uint64_t sums[8] = {};
    for (int64_t i = begin; i + 64 <= end; i += 64)
        for (int l = 0; l < 8; ++l) {
            uint64_t word;
            memcpy(&word, bytes + i + 8 * l, 8);
            sums[l] += word;
        }
    uint64_t total = 0;
    for (uint64_t sum : sums) total += sum;
    return total;
}

}  // namespace pylm::cpu::PYLM_VARIANT
