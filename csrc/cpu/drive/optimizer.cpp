// One step of AdamW over all tensors.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "cpu/memory.hpp"
#include "threads.hpp"

namespace pylm::cpu {

double adamw_step(const Flat* tensors, int64_t count, const AdamWSettings& s, int threads) {
    struct Piece {
        const Flat* tensor;
        int64_t begin, end;
    };
    constexpr int64_t SIZE = 4 * ELEMENTS;
    std::vector<Piece> pieces;
    for (int64_t t = 0; t < count; ++t)
        for (int64_t at = 0; at < tensors[t].count; at += SIZE)
            pieces.push_back({&tensors[t], at, std::min(tensors[t].count, at + SIZE)});
    for (int64_t t = 0; t < count; ++t) {  // moments that nobody has written to yet get them at once
        const int64_t bytes = tensors[t].count * (tensors[t].types == 2 ? 2 : 4);
        for (void* data : {tensors[t].p, tensors[t].m, tensors[t].v}) advise_huge_pages(data, bytes);
    }
    const auto many = static_cast<int64_t>(pieces.size());
    const Kernels& table = kernels();
    std::vector<double> squares(many);
    parallel(threads, many, [&](int64_t i) {
        const Piece& piece = pieces[i];
        squares[i] = table.sum_squares[slot(piece.tensor->types == 0 ? Dtype::float32 : Dtype::bfloat16)](
            piece.tensor->g, piece.begin, piece.end);
    });
    double total = 0;
    for (double part : squares) total += part;
    const double norm = std::sqrt(total) * std::abs(s.grad_scale);
    if (!std::isfinite(norm)) return norm;
    const double clip = s.clip > 0 ? std::min(1.0, s.clip / (norm + 1e-6)) : 1.0;
    AdamW settings{};
    settings.lr = s.lr, settings.beta1 = s.beta1, settings.beta2 = s.beta2, settings.eps = s.eps;
    settings.scale = static_cast<float>(clip * s.grad_scale);
    settings.correction1 = static_cast<float>(1 - std::pow(s.beta1, static_cast<double>(s.step)));
    settings.correction2 = static_cast<float>(1 - std::pow(s.beta2, static_cast<double>(s.step)));
    parallel(threads, many, [&](int64_t i) {
        const Piece& piece = pieces[many - 1 - i];  // from the end: there gradients are still in the caches
        const Flat& tensor = *piece.tensor;
        AdamW mine = settings;
        mine.p = tensor.p, mine.g = tensor.g, mine.m = tensor.m, mine.v = tensor.v, mine.copy = tensor.copy;
        mine.decay = tensor.decay;
        table.adamw[tensor.types](mine, piece.begin, piece.end);
    });
    return norm;
}

}  // namespace pylm::cpu
