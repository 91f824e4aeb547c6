// The gradients of causal attention. Scores are computed anew, transposed (keys in rows): then the probabilities P and
// the gradients dS of the scores are left operands of dV = P·dO and dK = dS·Q as they stand, and row pairs of dS the
// right operand of dQ transposed.
#pragma once
#include "cpu/kernels/attention.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t KEYS = 48, CHUNK = 256;  // a block: keys in rows, queries in columns

template <class Units>
struct BackwardWorkspace {
    using Unit = typename Units::Unit;
    Unit *keys, *values, *keys_across;  // left operands: [time][depth] twice, [dim][time]
    Unit *queries, *grads;              // right operands, transposed: [depth][time]
    Unit *query_rows, *grad_rows;       // right operands: [time][width]
    Unit *p, *ds, *ds_rows;             // of a block: left, left, right
    float *scores, *dp, *dq, *dk, *dv, *delta, *shift;
    int64_t time, depth, width, size;
    BackwardWorkspace(char* base, int64_t length, int64_t dim) {
        ScratchLayout layout{base};
        time = round_up(length, CHUNK);
        depth = (dim + Units::STEP - 1) / Units::STEP;
        width = round_up(dim, Vec::W);
        const int64_t units = time / Units::STEP;
        keys = layout.take<Unit>(time * depth), values = layout.take<Unit>(time * depth);
        keys_across = layout.take<Unit>(dim * units);
        queries = layout.take<Unit>(depth * time), grads = layout.take<Unit>(depth * time);
        query_rows = layout.take<Unit>(units * width), grad_rows = layout.take<Unit>(units * width);
        p = layout.take<Unit>(KEYS * CHUNK / Units::STEP), ds = layout.take<Unit>(KEYS * CHUNK / Units::STEP);
        ds_rows = layout.take<Unit>(KEYS / Units::STEP * CHUNK);
        // later rows of dq lie in `scores`, a square of them at a time
        scores = layout.take<float>(KEYS * CHUNK > SQUARE * width ? KEYS * CHUNK : SQUARE * width);
        dp = layout.take<float>(KEYS * CHUNK);
        dq = layout.take<float>(dim * time);
        dk = layout.take<float>(time * width), dv = layout.take<float>(time * width);
        delta = layout.take<float>(time), shift = layout.take<float>(time);
        size = layout.used;
    }
};

// Scores and dP of a block become P and dS, in both the forms that the products want.
template <class Units>
inline void softmax_gradients(const BackwardWorkspace<Units>& work, const Attention& a, const int32_t* first,
                              int64_t key, int64_t rows, int64_t query, int64_t count) {
    using Element = typename Units::Element;
    const bool capped = a.softcap > 0;
    const Vec factor = splat(capped ? a.softcap * LOG2E : a.scale * LOG2E), weight = splat(a.scale);
    const Vec inverse = splat(capped ? a.scale / a.softcap : 0);
    const int64_t units = count / Units::STEP, length = a.time;
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t t = key + r;
        auto* p_row = reinterpret_cast<Element*>(work.p + r * units);
        auto* ds_row = reinterpret_cast<Element*>(work.ds + r * units);
        for (int64_t i = 0; i < count; i += Vec::W) {
            const int64_t at = query + i;
            Vec score = load(work.scores + r * count + i), derivative = weight;
            if (capped) {
                score = tanh(score * inverse);
                derivative = weight * (splat(1) - score * score);
            }
            Vec p = exp2(fma(score, factor, load(work.shift + at)));
            // queries before the key, past the end, or of a later document or window attend nothing here
            const bool whole = at >= t && at + Vec::W <= length && first[at + Vec::W - 1] <= t;
            if (!whole) {
                float lanes[Vec::W];
                store(lanes, p);
                for (int64_t l = 0; l < Vec::W; ++l)
                    if (at + l < t || at + l >= length || first[at + l] > t) lanes[l] = 0;
                p = load(lanes);
            }
            const Vec ds = p * derivative * (load(work.dp + r * count + i) - load(work.delta + at));
            store(p_row + i, p);
            store(ds_row + i, ds);
        }
    }
    if constexpr (Units::STEP == 1) {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < count; i += Vec::W)
                store(work.ds_rows + r * count + i, load(work.ds + r * count + i));
    } else {
#if PYLM_LEVEL == 512
        for (int64_t r = 0; r < rows; r += 2)
            pair_row(work.ds + r * units, r + 1 < rows ? work.ds + (r + 1) * units : nullptr, count,
                     work.ds_rows + r / 2 * count, count);
#endif
    }
}

/// The heads that share one head of keys: unit is sequence × kv_heads + kv head.
template <class T>
void attention_backward(const Attention& a, int64_t unit, char* scratch) {
    using Units = typename UnitsOf<T>::type;
    const int64_t b = unit / a.kv_heads, g = unit % a.kv_heads, share = a.heads / a.kv_heads, dim = a.dim;
    const BackwardWorkspace<Units> work(scratch, a.time, dim);
    // SAFETY: as in attention_forward; the gradients have their tensors' shapes and strides of their own
    const T* k = static_cast<const T*>(a.k) + b * a.sk.batch + g * a.sk.head;
    const T* v = static_cast<const T*>(a.v) + b * a.sv.batch + g * a.sv.head;
    const int32_t* first = a.first + b * a.time;
    const int64_t units = work.time / Units::STEP;
    pack_left<Units>(k, a.sk.time, a.time, dim, work.keys, work.depth);
    pack_left<Units>(v, a.sv.time, a.time, dim, work.values, work.depth);
    // across: pairs of rows, which lie where the queries' will, transposed
    pack_rows<Units>(k, a.sk.time, a.time, dim, work.query_rows, work.width, units);
    transpose(work.query_rows, work.width, units, dim, work.keys_across, units);
    memset(work.dk, 0, static_cast<size_t>(work.time * work.width) * sizeof(float));
    memset(work.dv, 0, static_cast<size_t>(work.time * work.width) * sizeof(float));
    for (int64_t h = g * share; h < (g + 1) * share; ++h) {
        const T* q = static_cast<const T*>(a.q) + b * a.sq.batch + h * a.sq.head;
        const T* o = static_cast<const T*>(a.out) + b * a.so.batch + h * a.so.head;
        const T* d = static_cast<const T*>(a.dout) + b * a.sd.batch + h * a.sd.head;
        const float* lse = a.lse + (b * a.heads + h) * a.time;
        pack_transposed<Units>(q, a.sq.time, a.time, dim, work.queries, work.time, work.depth);
        pack_transposed<Units>(d, a.sd.time, a.time, dim, work.grads, work.time, work.depth);
        pack_rows<Units>(q, a.sq.time, a.time, dim, work.query_rows, work.width, units);
        pack_rows<Units>(d, a.sd.time, a.time, dim, work.grad_rows, work.width, units);
        for (int64_t t = 0; t < work.time; ++t) {
            Vec dot = splat(0);
            if (t < a.time)
                each(dim, [&](int64_t i, int64_t n) {
                    dot = fma(load_n(d + t * a.sd.time + i, n), load_n(o + t * a.so.time + i, n), dot);
                });
            work.delta[t] = sum(dot);
            work.shift[t] = t < a.time ? -lse[t] * LOG2E : 0;
        }
        memset(work.dq, 0, static_cast<size_t>(dim * work.time) * sizeof(float));
        for (int64_t key = 0; key < a.time; key += KEYS) {
            const int64_t rows = a.time - key < KEYS ? a.time - key : KEYS, last = key + rows - 1;
            const int64_t pairs = (rows + Units::STEP - 1) / Units::STEP;
            for (int64_t query = key / CHUNK * CHUNK; query < a.time && first[query] <= last; query += CHUNK) {
                // the chunk from the first vector that any of these keys is seen from
                const int64_t from = query > key ? query : key / (Vec::W * Units::STEP) * (Vec::W * Units::STEP);
                const int64_t count = query + CHUNK - from, width = work.width;
                product<Units>(work.keys + key * work.depth, work.depth, work.queries + from, work.time, work.scores,
                               count, rows, count, work.depth, false);
                product<Units>(work.values + key * work.depth, work.depth, work.grads + from, work.time, work.dp, count,
                               rows, count, work.depth, false);
                softmax_gradients<Units>(work, a, first, key, rows, from, count);
                product<Units>(work.p, count / Units::STEP, work.grad_rows + from / Units::STEP * width, width,
                               work.dv + key * width, width, rows, width, count / Units::STEP, true);
                product<Units>(work.ds, count / Units::STEP, work.query_rows + from / Units::STEP * width, width,
                               work.dk + key * width, width, rows, width, count / Units::STEP, true);
                product<Units>(work.keys_across + key / Units::STEP, units, work.ds_rows, count, work.dq + from,
                               work.time, dim, count, pairs, true);
            }
        }
        T* dq = static_cast<T*>(a.dq) + b * a.sdq.batch + h * a.sdq.head;
        for (int64_t t = 0; t < a.time; t += SQUARE) {
            // work.time is a multiple of CHUNK: no square leaves it
            transpose(work.dq + t, work.time, dim, SQUARE, work.scores, work.width);
            for (int64_t r = 0; r < SQUARE && t + r < a.time; ++r)
                each(dim, [&](int64_t i, int64_t n) {
                    store_n(dq + (t + r) * a.sdq.time + i, load(work.scores + r * work.width + i), n);
                });
        }
    }
    T* dk = static_cast<T*>(a.dk) + b * a.sdk.batch + g * a.sdk.head;
    T* dv = static_cast<T*>(a.dv) + b * a.sdv.batch + g * a.sdv.head;
    for (int64_t t = 0; t < a.time; ++t)
        each(dim, [&](int64_t i, int64_t n) {
            store_n(dk + t * a.sdk.time + i, load(work.dk + t * work.width + i), n);
            store_n(dv + t * a.sdv.time + i, load(work.dv + t * work.width + i), n);
        });
}

template <class T>
int64_t attention_backward_scratch(int64_t time, int64_t dim) {
    return BackwardWorkspace<typename UnitsOf<T>::type>(nullptr, time, dim).size;
}

}  // namespace pylm::cpu::PYLM_VARIANT
