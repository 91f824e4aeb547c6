// One new token's attention over a cache, split along the keys: memory is read once, heads that share keys share the
// reading.
#pragma once
#include "cpu/args.hpp"
#include "cpu/simd/math.hpp"

namespace pylm::cpu::PYLM_VARIANT {

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
        a = fma(load_n(q + i, n), load_n(k + i, n), a);
    }
    return sum(a + b);
}

/// The sum of each of Vec::W vectors, side by side.
inline Vec sums(const Vec* a) {
#if PYLM_LEVEL == 512
    __m512 pairs[8], fours[4], eights[2];
    for (int i = 0; i < 8; ++i)
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(a[2 * i].v, a[2 * i + 1].v),
                                 _mm512_unpackhi_ps(a[2 * i].v, a[2 * i + 1].v));
    for (int i = 0; i < 4; ++i) {
        const __m512d p = _mm512_castps_pd(pairs[2 * i]), q = _mm512_castps_pd(pairs[2 * i + 1]);
        fours[i] =
            _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)), _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    }
    for (int i = 0; i < 2; ++i)
        eights[i] = _mm512_add_ps(_mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0x88),
                                  _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], 0xdd));
    return {_mm512_add_ps(_mm512_shuffle_f32x4(eights[0], eights[1], 0x88),
                          _mm512_shuffle_f32x4(eights[0], eights[1], 0xdd))};
#else
    float lanes[Vec::W];
    for (int i = 0; i < Vec::W; ++i) lanes[i] = sum(a[i]);
    return load(lanes);
#endif
}

// Products of one query with Vec::W keys: one reduction for all of them, and the query is read once. `narrow` is the
// query in bf16, where it came so and the processor multiplies pairs of them.
template <class T>
inline Vec dots_of(const float* q, const bf16* narrow, const T* k, int64_t stride, int64_t dim) {
    Vec acc[Vec::W];
    for (int r = 0; r < Vec::W; ++r) acc[r] = splat(0);
#if PYLM_LEVEL == 512
    if constexpr (sizeof(T) == 2) {
        if (narrow && dim % 32 == 0) {
            for (int64_t i = 0; i < dim; i += 32) {
                const __m512i query = _mm512_loadu_si512(narrow + i);
                for (int r = 0; r < Vec::W; ++r)
                    acc[r].v =
                        _mm512_dpbf16_ps(acc[r].v, (__m512bh)query, (__m512bh)_mm512_loadu_si512(k + r * stride + i));
            }
            return sums(acc);
        }
    }
#else
    (void)narrow;
#endif
    each(dim, [&](int64_t i, int64_t n) {
        const Vec query = load_n(q + i, n);
        for (int r = 0; r < Vec::W; ++r) acc[r] = fma(query, load_n(k + r * stride + i, n), acc[r]);
    });
    return sums(acc);
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
        const Vec scale = splat(a.softcap > 0 ? a.scale / a.softcap : a.scale * LOG2E);
        const Vec cap = splat(a.softcap * LOG2E);
        for (int64_t i = 0; i < dim; ++i) query[i] = a.wide ? wide[i] : widen(q[i]);
        const bf16* narrow = a.wide || sizeof(T) == 4 ? nullptr : reinterpret_cast<const bf16*>(q);
        Vec best = splat(-__builtin_inff());
        int64_t s = 0;
        for (; s + Vec::W <= count; s += Vec::W) {
            if (h == 0)
                for (int64_t r = s + Vec::W; r < s + 2 * Vec::W; ++r) {
                    __builtin_prefetch(k + r * a.sk.time);
                    __builtin_prefetch(v + r * a.sv.time);
                }
            Vec found = dots_of(query, narrow, k + s * a.sk.time, a.sk.time, dim) * scale;
            if (a.softcap > 0) found = tanh(found) * cap;
            store(scores + s, found);
            best = max(best, found);
        }
        float top = highest(best);
        for (; s < count; ++s) {
            Vec found = splat(dot(query, k + s * a.sk.time, dim)) * scale;
            if (a.softcap > 0) found = tanh(found) * cap;
            scores[s] = highest(found);
            top = scores[s] > top ? scores[s] : top;
        }
        Vec total = splat(0);
        const Vec shift = splat(top);
        s = 0;
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
            // two keys at a time: one chain of additions would wait for itself
            Vec acc[4] = {splat(0), splat(0), splat(0), splat(0)}, odd[4] = {splat(0), splat(0), splat(0), splat(0)};
            int64_t r = 0;
            for (; r + 2 <= count; r += 2) {
                const T* row = v + r * a.sv.time + i;
                const Vec p = splat(scores[r]), next = splat(scores[r + 1]);
                for (int j = 0; j < 4; ++j) {
                    acc[j] = fma(p, load(row + j * Vec::W), acc[j]);
                    odd[j] = fma(next, load(row + a.sv.time + j * Vec::W), odd[j]);
                }
            }
            if (r < count)
                for (int j = 0; j < 4; ++j)
                    acc[j] = fma(splat(scores[r]), load(v + r * a.sv.time + i + j * Vec::W), acc[j]);
            for (int j = 0; j < 4; ++j) store(values + i + j * Vec::W, acc[j] + odd[j]);
        }
        for (; i < dim; i += Vec::W) {
            const int64_t n = dim - i < Vec::W ? dim - i : Vec::W;
            Vec acc = splat(0);
            for (int64_t r = 0; r < count; ++r) acc = fma(splat(scores[r]), load_n(v + r * a.sv.time + i, n), acc);
            store_n(values + i, acc, n);
        }
    }
}

}  // namespace pylm::cpu::PYLM_VARIANT
