// Causal attention for training. Scores of a block of queries lie whole in L2, so softmax is one plain pass; keys and
// values of a head are packed once. Arithmetic is fp32, products of bf16 tensors take bf16 where the processor can.
#pragma once
#include "cpu/args.hpp"
#include "cpu/kernels/packing.hpp"
#include "cpu/simd/math.hpp"

namespace pylm::cpu::PYLM_VARIANT {

constexpr int64_t QUERIES = 48;  // rows of a forward block: whole tiles of six

template <class Units>
struct ForwardWorkspace {
    using Unit = typename Units::Unit;
    Unit *keys, *values, *queries, *p;
    float *scores, *out;
    int64_t time, depth, width, size;  // padded: time and width to vectors, depth in units of the head's width
    ForwardWorkspace(char* base, int64_t length, int64_t dim) {
        ScratchLayout layout{base};
        time = round_up(length, Vec::W * Units::STEP);
        depth = (dim + Units::STEP - 1) / Units::STEP;
        width = round_up(dim, Vec::W);
        keys = layout.take<Unit>(depth * time);
        values = layout.take<Unit>(time / Units::STEP * width);
        queries = layout.take<Unit>(QUERIES * depth);
        p = layout.take<Unit>(QUERIES * (time / Units::STEP));
        scores = layout.take<float>(QUERIES * time);
        out = layout.take<float>(QUERIES * width);
        size = layout.used;
    }
};

// The scores of a row as softmax sees them, in place: cap · tanh(scale · score / cap), in units of log2.
inline void cap_row(float* s, int64_t count, float scale, float softcap) {
    const Vec inverse = splat(scale / softcap), cap = splat(softcap * LOG2E);
    for (int64_t i = 0; i < count; i += Vec::W) store(s + i, tanh(load(s + i) * inverse) * cap);
}

// One row of scores to probabilities P (the left operand of the product with the values); returns the sum, sets the
// maximum in units of log2. Columns [from, to] are allowed, `count` columns are written.
template <class Units>
inline float softmax_row(const float* s, typename Units::Unit* row, int64_t from, int64_t to, int64_t count,
                         float scale, float& top) {
    auto* p = reinterpret_cast<typename Units::Element*>(row);
    float highest_score = -__builtin_inff();
    int64_t i = from;
    Vec a = splat(highest_score);
    for (; i + Vec::W <= to + 1; i += Vec::W) a = max(a, load(s + i));
    highest_score = highest(a);
    for (; i <= to; ++i) highest_score = s[i] > highest_score ? s[i] : highest_score;
    top = highest_score * scale;
    const Vec factor = splat(scale), shift = splat(-top);
    Vec total = splat(0);
    const int64_t first_vector = from / Vec::W * Vec::W, end_vector = round_up(to + 1, Vec::W);
    for (i = 0; i < first_vector; i += Vec::W) store(p + i, splat(0));
    for (; i < end_vector; i += Vec::W) {
        Vec e = exp2(fma(load(s + i), factor, shift));
        if (i < from || i + Vec::W > to + 1) {
            float lanes[Vec::W];
            store(lanes, e);
            for (int64_t l = 0; l < Vec::W; ++l)
                if (i + l < from || i + l > to) lanes[l] = 0;
            e = load(lanes);
        }
        total = total + e;
        store(p + i, e);
    }
    for (; i < count; i += Vec::W) store(p + i, splat(0));
    return sum(total);
}

/// One head of one sequence: unit is sequence × heads + head.
template <class T>
void attention_forward(const Attention& a, int64_t unit, char* scratch) {
    using Units = typename UnitsOf<T>::type;
    const int64_t b = unit / a.heads, h = unit % a.heads, g = h / (a.heads / a.kv_heads);
    const ForwardWorkspace<Units> work(scratch, a.time, a.dim);
    // SAFETY: strides and sizes were checked against the tensors; scratch holds work.size bytes
    const T* q = static_cast<const T*>(a.q) + b * a.sq.batch + h * a.sq.head;
    const T* k = static_cast<const T*>(a.k) + b * a.sk.batch + g * a.sk.head;
    const T* v = static_cast<const T*>(a.v) + b * a.sv.batch + g * a.sv.head;
    T* o = static_cast<T*>(a.out) + b * a.so.batch + h * a.so.head;
    float* lse = a.lse + unit * a.time;
    const int32_t* first = a.first + b * a.time;
    pack_transposed<Units>(k, a.sk.time, a.time, a.dim, work.keys, work.time, work.depth);
    pack_rows<Units>(v, a.sv.time, a.time, a.dim, work.values, work.width, work.time / Units::STEP);
    const float scale = a.softcap > 0 ? 1 : a.scale * LOG2E;
    for (int64_t t = 0; t < a.time; t += QUERIES) {
        const int64_t rows = a.time - t < QUERIES ? a.time - t : QUERIES;
        // keys from which the block's first query (the earliest, for starts only grow) may attend
        const int64_t origin = first[t] / (Vec::W * Units::STEP) * (Vec::W * Units::STEP);
        const int64_t count = round_up(t + rows - origin, Vec::W * Units::STEP), units = count / Units::STEP;
        pack_left<Units>(q + t * a.sq.time, a.sq.time, rows, a.dim, work.queries, work.depth);
        product<Units>(work.queries, work.depth, work.keys + origin, work.time, work.scores, count, rows, count,
                       work.depth, false);
        float inverse[QUERIES];
        for (int64_t r = 0; r < rows; ++r) {
            float top = 0;
            if (a.softcap > 0) cap_row(work.scores + r * count, count, a.scale, a.softcap);
            const float total = softmax_row<Units>(work.scores + r * count, work.p + r * units, first[t + r] - origin,
                                                   t + r - origin, count, scale, top);
            inverse[r] = 1.0f / total;
            lse[t + r] = top * LN2 + __builtin_logf(total);
        }
        product<Units>(work.p, units, work.values + origin / Units::STEP * work.width, work.width, work.out, work.width,
                       rows, work.width, units, false);
        for (int64_t r = 0; r < rows; ++r) {
            const Vec factor = splat(inverse[r]);
            each(a.dim, [&](int64_t i, int64_t n) {
                store_n(o + (t + r) * a.so.time + i, load(work.out + r * work.width + i) * factor, n);
            });
        }
    }
}

template <class T>
int64_t attention_forward_scratch(int64_t time, int64_t dim) {
    return ForwardWorkspace<typename UnitsOf<T>::type>(nullptr, time, dim).size;
}

}  // namespace pylm::cpu::PYLM_VARIANT
