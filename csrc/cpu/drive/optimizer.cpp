// Steps of AdamW and Muon over all tensors, and the norm of their gradients.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/drive/blocks.hpp"
#include "cpu/drive/operations.hpp"
#include "cpu/memory.hpp"
#include "threads.hpp"

namespace pylm::cpu {
namespace {

template <class Tensor>
struct Piece {
    const Tensor* tensor;
    int64_t begin, end;
};

template <class Tensor>
std::vector<Piece<Tensor>> pieces_of(const Tensor* tensors, int64_t count) {
    constexpr int64_t SIZE = 4 * ELEMENTS;
    std::vector<Piece<Tensor>> pieces;
    for (int64_t t = 0; t < count; ++t)
        for (int64_t at = 0; at < tensors[t].count; at += SIZE)
            pieces.push_back({&tensors[t], at, std::min(tensors[t].count, at + SIZE)});
    return pieces;
}

}  // namespace

double norm_of(const Elements* tensors, int64_t count, int threads) {
    const auto pieces = pieces_of(tensors, count);
    const Kernels& table = kernels();
    std::vector<double> squares(pieces.size());
    parallel(threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
        const auto& piece = pieces[i];
        squares[i] = table.sum_squares[slot(piece.tensor->type)](piece.tensor->data, piece.begin, piece.end);
    });
    return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

bool has_muon() { return kernels().muon_scratch != nullptr; }

void muon_step(const Muon* matrices, const Dtype* types, int64_t count, int threads) {
    const Kernels& table = kernels();
    std::vector<int64_t> order(count);  // the largest first, so that no thread begins one when all others are done
    std::iota(order.begin(), order.end(), 0);
    const auto work = [&](int64_t i) {
        return matrices[i].rows * matrices[i].columns * std::min(matrices[i].rows, matrices[i].columns);
    };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return work(a) > work(b); });
    parallel(threads, count, [&](int64_t i) {
        const Muon& one = matrices[order[i]];
        table.muon[slot(types[order[i]])](one, scratch(table.muon_scratch(one.rows, one.columns)));
    });
}

double adamw_step(const Flat* tensors, int64_t count, const AdamWSettings& s, int threads) {
    const auto pieces = pieces_of(tensors, count);
    for (int64_t t = 0; t < count; ++t) {  // moments that nobody has written to yet get them at once
        const int64_t bytes = tensors[t].count * (tensors[t].types == 2 ? 2 : 4);
        for (void* data : {tensors[t].p, tensors[t].m, tensors[t].v}) advise_huge_pages(data, bytes);
    }
    const auto many = static_cast<int64_t>(pieces.size());
    const Kernels& table = kernels();
    std::vector<Elements> gradients(count);
    std::transform(tensors, tensors + count, gradients.begin(), [](const Flat& tensor) {
        return Elements{tensor.g, tensor.count, tensor.types == 0 ? Dtype::float32 : Dtype::bfloat16};
    });
    const double norm = norm_of(gradients.data(), count, threads) * std::abs(s.grad_scale);
    if (!std::isfinite(norm)) return norm;
    const double clip = s.clip > 0 ? std::min(1.0, s.clip / (norm + 1e-6)) : 1.0;
    AdamW settings{};
    settings.lr = s.lr, settings.beta1 = s.beta1, settings.beta2 = s.beta2, settings.eps = s.eps;
    settings.scale = static_cast<float>(clip * s.grad_scale);
    settings.correction1 = static_cast<float>(1 - std::pow(s.beta1, static_cast<double>(s.step)));
    settings.correction2 = static_cast<float>(1 - std::pow(s.beta2, static_cast<double>(s.step)));
    parallel(threads, many, [&](int64_t i) {
        const auto& piece = pieces[many - 1 - i];  // from the end: there gradients are still in the caches
        const Flat& tensor = *piece.tensor;
        AdamW mine = settings;
        mine.p = tensor.p, mine.g = tensor.g, mine.m = tensor.m, mine.v = tensor.v, mine.copy = tensor.copy;
        mine.decay = tensor.decay;
        table.adamw[tensor.types](mine, piece.begin, piece.end);
    });
    return norm;
}

}  // namespace pylm::cpu
