// Muon's step of one matrix, by one thread: momentum, its nearly orthogonal factor by Newton and Schulz's iteration in
// bf16, and the weights moved along it. All that the iteration touches lies in L2; the two squares of a round are
// symmetric, and only what lies on and below their diagonals is multiplied.
#pragma once
#include "cpu/args.hpp"
#include "cpu/kernels/packing.hpp"

namespace pylm::cpu::PYLM_VARIANT {

#if PYLM_LEVEL == 512

constexpr int64_t PANEL_COLUMNS = TILE_VECTORS * Vec::W;

struct MuonWorkspace {
    bf16 *x, *turned, *square;  // [rows][columns] of the flat matrix, the same as it came, [rows][rows]
    uint32_t* right;            // a right operand: pairs of at most rows x columns
    float* sums;                // [rows][rows], or [rows][PANEL_COLUMNS]
    int64_t size;
    MuonWorkspace(char* base, int64_t rows, int64_t columns) {
        ScratchLayout layout{base};
        x = layout.take<bf16>(rows * columns), turned = layout.take<bf16>(rows * columns);
        square = layout.take<bf16>(rows * rows);
        right = layout.take<uint32_t>(rows * columns / 2);
        sums = layout.take<float>(rows * (rows > PANEL_COLUMNS ? rows : PANEL_COLUMNS));
        size = layout.used;
    }
};

/// to[columns][rows] = from[rows][columns]: pairs of rows, turned, are rows of pairs.
inline void transpose_bf16(const bf16* from, int64_t rows, int64_t columns, bf16* to, uint32_t* pairs) {
    pack_rows<PairUnits>(from, columns, rows, columns, pairs, columns, rows / 2);
    transpose(pairs, columns, rows / 2, columns, reinterpret_cast<uint32_t*>(to), rows / 2);
}

/// sums[size][size] = left[size][2 · depth] · right, where that is symmetric.
inline void symmetric_product(const bf16* left, const uint32_t* right, float* sums, int64_t size, int64_t depth) {
    const auto* units = reinterpret_cast<const uint32_t*>(left);
    for (int64_t n = 0; n < size; n += PANEL_COLUMNS) {
        const int64_t width = size - n < PANEL_COLUMNS ? size - n : PANEL_COLUMNS, below = n + width;
        product<PairUnits>(units + n * depth, depth, right + n, size, sums + n * size + n, size, size - n, width, depth,
                           false);
        transpose(sums + below * size + n, size, size - below, width, sums + n * size + below, size);
    }
}

/// One round of the iteration: x <- a x + (b x xᵀ + c (x xᵀ)²) x, for x[rows][columns], rows <= columns.
inline void muon_round(const MuonWorkspace& work, int64_t rows, int64_t columns, const float* quintic) {
    const Vec a = splat(quintic[0]), b = splat(quintic[1]), c = splat(quintic[2]);
    pack_transposed<PairUnits>(work.x, columns, rows, columns, work.right, rows, columns / 2);
    symmetric_product(work.x, work.right, work.sums, rows, columns / 2);
    for (int64_t i = 0; i < rows * rows; i += Vec::W) store(work.square + i, load(work.sums + i));
    pack_rows<PairUnits>(work.square, rows, rows, rows, work.right, rows, rows / 2);
    symmetric_product(work.square, work.right, work.sums, rows, rows / 2);
    for (int64_t i = 0; i < rows * rows; i += Vec::W)
        store(work.square + i, fma(load(work.square + i), b, load(work.sums + i) * c));
    pack_rows<PairUnits>(work.x, columns, rows, columns, work.right, columns, rows / 2);
    for (int64_t n = 0; n < columns; n += PANEL_COLUMNS) {
        const int64_t width = columns - n < PANEL_COLUMNS ? columns - n : PANEL_COLUMNS;
        product<PairUnits>(reinterpret_cast<const uint32_t*>(work.square), rows / 2, work.right + n, columns, work.sums,
                           PANEL_COLUMNS, rows, width, rows / 2, false);
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < width; i += Vec::W) {
                bf16* at = work.x + r * columns + n + i;
                store(at, fma(load(at), a, load(work.sums + r * PANEL_COLUMNS + i)));
            }
    }
}

template <class G>
void muon(const Muon& s, char* scratch) {
    const bool tall = s.rows > s.columns;  // its transpose has the smaller squares
    const int64_t rows = tall ? s.columns : s.rows, columns = tall ? s.rows : s.columns, count = rows * columns;
    const MuonWorkspace work(scratch, rows, columns);
    // SAFETY: all have rows x columns elements, both multiples of Vec::W; scratch holds work.size bytes
    const auto* gradient = static_cast<const G*>(s.gradient);
    const Vec scale = splat(s.scale), beta = splat(s.beta), rest = splat(1 - s.beta);
    double squares = 0;
    for (int64_t from = 0; from < count; from += s.columns) {
        Vec total = splat(0);
        for (int64_t i = from; i < from + s.columns; i += Vec::W) {
            const Vec g = load(gradient + i) * scale, before = load(s.momentum + i);
            const Vec momentum = fma(g - before, rest, before), ahead = fma(momentum - g, beta, g);
            store(s.momentum + i, momentum);
            total = fma(ahead, ahead, total);
        }
        squares += static_cast<double>(sum(total));
    }
    const Vec inverse = splat(static_cast<float>(1 / (__builtin_sqrt(squares) + 1e-7)));
    bf16* start = tall ? work.turned : work.x;
    for (int64_t i = 0; i < count; i += Vec::W) {  // Nesterov's look ahead once more: cheaper than keeping it in fp32
        const Vec g = load(gradient + i) * scale;
        store(start + i, fma(load(s.momentum + i) - g, beta, g) * inverse);
    }
    if (tall) transpose_bf16(work.turned, s.rows, s.columns, work.x, work.right);
    for (int64_t round = 0; round < s.rounds; ++round) muon_round(work, rows, columns, s.quintics + 3 * round);
    if (tall) transpose_bf16(work.x, rows, columns, work.turned, work.right);
    const Vec keep = splat(s.keep), step = splat(-s.step);
    for (int64_t i = 0; i < count; i += Vec::W) {
        const Vec moved = fma(load(start + i), step, load(s.parameter + i) * keep);
        store(s.parameter + i, moved);
        if (s.copy) store(static_cast<bf16*>(s.copy) + i, moved);
    }
}

inline int64_t muon_scratch(int64_t rows, int64_t columns) {
    return MuonWorkspace(nullptr, rows < columns ? rows : columns, rows < columns ? columns : rows).size;
}

#endif

}  // namespace pylm::cpu::PYLM_VARIANT
