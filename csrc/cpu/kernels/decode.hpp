// One new token's attention over a cache, split along the keys: memory is read once, heads that share keys share the
// reading.
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
void decode_attention(const Decode& a, int64_t g, int64_t begin, int64_t end, float* partial) {
    const int64_t dim = a.dim, share = a.heads / a.kv_heads, count = end - begin;
    // SAFETY: the strides were checked against the tensors and `end` against the cache's length
    const T* k = static_cast<const T*>(a.k) + g * a.sk.head + begin * a.sk.time;
    const T* v = static_cast<const T*>(a.v) + g * a.sv.head + begin * a.sv.time;
    float scores[KEYS_AT_ONCE], query[DECODE_DIM];
    for (int64_t h = 0; h < share; ++h) {
        float* out = partial + h * (dim + 2);
        const int64_t at = (g * share + h) * dim;
        const float* wide = static_cast<const float*>(a.q) + at;
        const T* q = static_cast<const T*>(a.q) + at;
        const float scale = a.softcap > 0 ? a.scale / a.softcap : a.scale * LOG2E;
        for (int64_t i = 0; i < dim; ++i) query[i] = (a.wide ? wide[i] : widen(q[i])) * scale;
        float top = -__builtin_inff();
        for (int64_t s = 0; s < count; ++s) {
            if (h == 0) {
                __builtin_prefetch(k + (s + AHEAD) * a.sk.time);
                __builtin_prefetch(v + (s + AHEAD) * a.sv.time);
            }
            scores[s] = dot(query, k + s * a.sk.time, dim);
            if (a.softcap > 0) scores[s] = highest(tangent(splat(scores[s]))) * a.softcap * LOG2E;
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
