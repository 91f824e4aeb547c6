// Calls with tokens become passes through a decoder's layers; what does not fit is refused before anything is written.
#include "cpu/engine/engine.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/engine/pass.hpp"
#include "error.hpp"

namespace pylm::cpu {
namespace {

constexpr int64_t TOKENS_A_PASS = 512;

}  // namespace

Engine::Engine(const Shape& shape, const std::map<std::string, Source>& tensors, Quantise how, int threads)
    : cache_type(how == Quantise::none ? Dtype::float32 : Dtype::bfloat16), decoder(shape, tensors, how, threads) {}

void Engine::check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const {
    if (!cache.fits(decoder.shape, cache_type)) throw Error(Kind::usage, "the cache is of another model");
    for (int64_t i = 0; i < count; ++i)
        if (ids[i] < 0 || ids[i] >= decoder.shape.vocab)
            throw Error(Kind::usage, "token " + std::to_string(ids[i]) + " is not in the vocabulary of " +
                                         std::to_string(decoder.shape.vocab));
    if (cache.length + more > cache.capacity)
        throw Error(Kind::usage, std::to_string(more) + " more tokens do not fit: the cache holds " +
                                     std::to_string(cache.length) + " of " + std::to_string(cache.capacity));
}

void Engine::read(const int64_t* ids, int64_t count, Cache& cache, bool every, float* logits) {
    const std::lock_guard lock(one_call);
    if (count < 1) throw Error(Kind::usage, "there are no tokens to read");
    const Cache::Use use(cache);
    check(ids, count, cache, count);
    const int64_t begin = cache.length;
    for (int64_t first = 0; first < count; first += TOKENS_A_PASS) {
        const int64_t many = std::min(count - first, TOKENS_A_PASS);
        std::vector<Token> tokens;
        std::vector<int64_t> wanted;
        for (int64_t i = 0; i < many; ++i) {
            tokens.push_back({ids[first + i], &cache, begin + first + i});
            if (every || first + i + 1 == count) wanted.push_back(i);
        }
        Pass(decoder, tokens, wanted, every ? logits + first * decoder.shape.vocab : logits).run();
        cache.length = begin + first + many;
    }
}

void Engine::decode(const int64_t* ids, Cache* const* caches, int64_t count, float* logits) {
    const std::lock_guard lock(one_call);
    std::vector<Cache::Use> uses;
    std::vector<Token> tokens;
    std::vector<int64_t> wanted;
    for (int64_t i = 0; i < count; ++i) {
        if (std::find(caches, caches + i, caches[i]) != caches + i)
            throw Error(Kind::usage, "the same cache is given twice");
        uses.emplace_back(*caches[i]);
        check(ids + i, 1, *caches[i], 1);
        tokens.push_back({ids[i], caches[i], caches[i]->length});
        wanted.push_back(i);
    }
    if (tokens.empty()) return;
    Pass(decoder, tokens, wanted, logits).run();
    for (int64_t i = 0; i < count; ++i) ++caches[i]->length;
}

}  // namespace pylm::cpu
