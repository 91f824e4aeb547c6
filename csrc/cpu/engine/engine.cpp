// Calls with tokens become passes through a decoder's layers; what does not fit is refused before anything is written.
#include "cpu/engine/engine.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cpu/drive/operations.hpp"
#include "cpu/engine/pass.hpp"
#include "error.hpp"
#include "threads.hpp"

namespace pylm::cpu {
namespace {

constexpr int64_t TOKENS_A_PASS = 512;
// What begins a sequence attends within its pass, several times as fast as over a cache: so that pass is larger
constexpr int64_t TOKENS_FIRST = 1024;

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
    const bool packed = begin == 0 && decoder.shape.attention_softcap == 0;
    for (int64_t first = 0, many = 0; first < count; first += many) {
        many = std::min(count - first, first == 0 && packed ? TOKENS_FIRST : TOKENS_A_PASS);
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

void Engine::score(const Branches& b, Cache* root, float* nats, bool* likeliest) {
    const std::lock_guard lock(one_call);
    std::optional<Cache::Use> use;
    if (root) use.emplace(*root), check(nullptr, 0, *root, 0);
    const std::vector<Token> tokens = planted(b, root);
    if (b.targets.empty()) return;
    std::vector<int64_t> wanted, first_target, row_of;  // each token that a target follows gives one row of logits
    for (size_t j = 0; j < b.targets.size(); ++j) {
        if (wanted.empty() || wanted.back() != b.after[j])
            wanted.push_back(b.after[j]), first_target.push_back(b.targets[j]);
        row_of.push_back(static_cast<int64_t>(wanted.size()) - 1);
    }
    const int64_t vocab = decoder.shape.vocab, rows = static_cast<int64_t>(wanted.size());
    if (static_cast<int64_t>(logits.size()) < rows * vocab) logits.resize(rows * vocab);
    Pass(decoder, tokens, wanted, logits.data()).run();
    std::vector<float> losses(rows), lse(rows);
    std::vector<int64_t> best(rows);
    CrossEntropy loss{};
    loss.logits = logits.data(), loss.targets = first_target.data(), loss.losses = losses.data(), loss.lse = lse.data();
    loss.vocab = loss.stride = vocab, loss.ignore_index = -1;
    cross_entropy_forward(Dtype::float32, loss, rows, decoder.threads);
    parallel(decoder.threads, rows, [&](int64_t r) {
        const float* row = logits.data() + r * vocab;
        best[r] = std::max_element(row, row + vocab) - row;
    });
    for (size_t j = 0; j < b.targets.size(); ++j) {
        nats[j] = lse[row_of[j]] - logits[row_of[j] * vocab + b.targets[j]];
        likeliest[j] = best[row_of[j]] == b.targets[j];
    }
}

// The tokens of branches, where everything that they name is there.
std::vector<Token> Engine::planted(const Branches& b, Cache* root) const {
    const auto count = static_cast<int64_t>(b.ids.size()), vocab = decoder.shape.vocab;
    const int64_t begin = root ? root->length.load() : 0;
    const auto refuse = [](const std::string& what) { throw Error(Kind::usage, what); };
    if (b.parents.size() != b.ids.size() || b.after.size() != b.targets.size())
        refuse("branches have a parent for each token, and a token before each target");
    std::vector<Token> tokens;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t parent = b.parents[i];
        if (b.ids[i] < 0 || b.ids[i] >= vocab)
            refuse("token " + std::to_string(b.ids[i]) + " is not in the vocabulary of " + std::to_string(vocab));
        if (parent < BRANCH || parent >= i) refuse("the parent of token " + std::to_string(i) + " is none before it");
        const int64_t position = parent >= 0 ? tokens[parent].position + 1 : begin;
        if (position >= decoder.shape.context)
            refuse("a branch is longer than the model's context of " + std::to_string(decoder.shape.context));
        tokens.push_back({b.ids[i], root, position, parent});
    }
    for (size_t j = 0; j < b.targets.size(); ++j)
        if (b.targets[j] < 0 || b.targets[j] >= vocab || b.after[j] < (j ? b.after[j - 1] : 0) || b.after[j] >= count)
            refuse("target " + std::to_string(j) + " is not in the vocabulary, or follows no token in their order");
    return tokens;
}

}  // namespace pylm::cpu
