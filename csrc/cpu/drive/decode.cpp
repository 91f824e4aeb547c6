// Attention of new tokens over caches: keys are cut into pieces, whose results are joined in order.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "dtype.hpp"
#include "threads.hpp"

namespace pylm::cpu {

void join_pieces(const float* partial, int64_t count, int64_t stride, int64_t dim, float* out) {
    float top = partial[0], total = 0;
    for (int64_t i = 1; i < count; ++i) top = std::max(top, partial[i * stride]);
    std::fill_n(out, dim, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
        const float* piece = partial + i * stride;
        const float weight = std::exp2(piece[0] - top);
        total += piece[1] * weight;
        for (int64_t d = 0; d < dim; ++d) out[d] += piece[2 + d] * weight;
    }
    const float inverse = 1 / total;
    for (int64_t d = 0; d < dim; ++d) out[d] *= inverse;
}

void decode_attention(Dtype type, const Decode& a, int64_t batch, const int64_t* lengths, void* out, int threads) {
    const auto run = kernels().decode_attention[slot(type)];
    const int64_t share = a.heads / a.kv_heads, stride = share * (a.dim + 2), size = size_of(type);
    struct Piece {
        int64_t sequence, head, begin, end;
    };
    std::vector<Piece> pieces;
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t g = 0; g < a.kv_heads; ++g)
            for (int64_t s = 0; s < lengths[b]; s += KEYS_AT_ONCE)
                pieces.push_back({b, g, s, std::min(lengths[b], s + KEYS_AT_ONCE)});
    std::vector<float> partial(pieces.size() * stride);
    parallel(threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
        const Piece& p = pieces[i];
        Decode mine = a;
        mine.q = static_cast<const char*>(a.q) + p.sequence * a.heads * a.dim * size;
        mine.k = static_cast<const char*>(a.k) + p.sequence * a.sk.batch * size;
        mine.v = static_cast<const char*>(a.v) + p.sequence * a.sv.batch * size;
        run(mine, p.head, p.begin, p.end, partial.data() + i * stride);
    });
    // the pieces of a head lie one after another; they are joined in order, whoever made them
    std::vector<float> sum(a.dim);
    for (size_t first = 0, next; first < pieces.size(); first = next) {
        const Piece& p = pieces[first];
        for (next = first + 1; next < pieces.size() && pieces[next].begin > 0;) ++next;
        for (int64_t h = 0; h < share; ++h) {
            join_pieces(partial.data() + first * stride + h * (a.dim + 2), static_cast<int64_t>(next - first), stride,
                        a.dim, sum.data());
            const int64_t at = (p.sequence * a.heads + p.head * share + h) * a.dim;
            for (int64_t d = 0; d < a.dim; ++d) {
                if (type == Dtype::float32)
                    static_cast<float*>(out)[at + d] = sum[d];
                else
                    static_cast<uint16_t*>(out)[at + d] = to_bfloat16(sum[d]);
            }
        }
    }
}

}  // namespace pylm::cpu
