// The gradients of a language model's head from a chunk of its logits' gradients, in bf16: dx = dlogits · weight and
// dweight += dlogitsᵀ · x. Sums stay in fp32 registers and operands in L2, which a general product cannot arrange
// (docs/log.md has what that gains).
#pragma once
#include "cpu/args.hpp"
#include "cpu/kernels/packing.hpp"

namespace pylm::cpu::PYLM_VARIANT {

#if PYLM_LEVEL == 512

/// Rows of bf16 as the right operand of a sum over them: rows [2 · begin, 2 · end) become `end - begin` rows of pairs.
inline void pair_rows(const Pairs& a, int64_t begin, int64_t end) {
    const auto* x = static_cast<const uint16_t*>(a.x);
    for (int64_t u = begin; u < end; ++u) {
        // SAFETY: x holds rows × width elements, pairs a row of `padded` units for each two of them
        const uint16_t* even = x + 2 * u * a.width;
        pair_row(even, 2 * u + 1 < a.rows ? even + a.width : nullptr, a.width, a.pairs + u * a.padded, a.padded);
    }
}

/// Rows [begin, end) of dx; scratch holds as many rows of padded floats, and HEAD_UNITS of the weight in pairs, which
/// are made as they are needed: of the whole weight they would take as much memory as its gradient.
inline void head_dx(const Head& a, int64_t begin, int64_t end, char* scratch) {
    auto* sums = reinterpret_cast<float*>(scratch);
    auto* pairs = reinterpret_cast<uint32_t*>(sums + (end - begin) * a.padded);
    const auto* weight = static_cast<const uint16_t*>(a.weight);
    const auto* dlogits = static_cast<const uint32_t*>(a.dlogits);  // the vocabulary is even: rows are whole units
    const int64_t units = a.vocab / 2, rows = end - begin;
    for (int64_t k = 0; k < units; k += HEAD_UNITS) {
        const int64_t many = units - k < HEAD_UNITS ? units - k : HEAD_UNITS;
        pair_rows({weight + 2 * k * a.dim, pairs, 2 * many, a.dim, a.padded}, 0, many);
        product<PairUnits>(dlogits + begin * units + k, units, pairs, a.padded, sums, a.padded, rows, a.padded, many,
                           k > 0);
    }
    auto* dx = static_cast<bf16*>(a.dx);
    for (int64_t r = 0; r < rows; ++r)
        each(a.dim, [&](int64_t i, int64_t n) {
            store_n(dx + (begin + r) * a.dim + i, load_n(sums + r * a.padded + i, n), n);
        });
}

/// Rows [begin, end) of dweight, at most HEAD_CLASSES of them; scratch holds their sums and dlogits in pairs of rows.
inline void head_dweight(const Head& a, int64_t begin, int64_t end, char* scratch) {
    auto* sums = reinterpret_cast<float*>(scratch);
    auto* pairs = reinterpret_cast<uint32_t*>(sums + HEAD_CLASSES * a.padded);
    const auto* dlogits = static_cast<const uint16_t*>(a.dlogits);
    const int64_t classes = end - begin, units = (a.rows + 1) / 2;
    for (int64_t u = 0; u < units; ++u) {
        const uint16_t* even = dlogits + 2 * u * a.vocab + begin;
        pair_row(even, 2 * u + 1 < a.rows ? even + a.vocab : nullptr, classes, pairs + u * HEAD_CLASSES,
                 (classes + 15) / 16 * 16);
    }
    auto* dweight = static_cast<bf16*>(a.dweight) + begin * a.dim;
    for (int64_t c = 0; c < classes; ++c)
        each(a.padded, [&](int64_t i, int64_t) {
            const int64_t n = a.dim - i;
            store(sums + c * a.padded + i,
                  n >= Vec::W ? load(dweight + c * a.dim + i) : load_some(dweight + c * a.dim + i, n > 0 ? n : 0));
        });
    product<PairUnits, true>(pairs, HEAD_CLASSES, a.x_pairs, a.padded, sums, a.padded, classes, a.padded, units, true);
    for (int64_t c = 0; c < classes; ++c)
        each(a.dim,
             [&](int64_t i, int64_t n) { store_n(dweight + c * a.dim + i, load_n(sums + c * a.padded + i, n), n); });
}

#endif

}  // namespace pylm::cpu::PYLM_VARIANT
