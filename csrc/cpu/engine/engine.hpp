// A whole decoder on the CPU: tokens in, logits out, one call. It shares the kernels of training and its own products
// with quantised weights; one team of threads goes through all layers together.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cpu/engine/cache.hpp"
#include "cpu/engine/decoder.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

struct Token;

/// One call at a time; others wait. Inside a parallel region a call runs on its own thread: then nobody else may use
/// the engine, for they would wait for the region, and it for them.
class Engine {
  public:
    Engine(const Shape& shape, const std::map<std::string, Source>& tensors, Quantise how, int threads);

    /// Append ids to a sequence. Writes [vocab] logits after the last, or [count, vocab] after each.
    void read(const int64_t* ids, int64_t count, Cache& cache, bool every, float* logits);
    /// Append one id to each of some sequences; writes [count, vocab] logits.
    void decode(const int64_t* ids, Cache* const* caches, int64_t count, float* logits);

    /// Tokens that are read once and not kept: token i follows `parents[i]`, an earlier one, or (-1) what a cache
    /// holds. The target `targets[j]` comes after token `after[j]`, which never falls.
    struct Branches {
        std::vector<int64_t> ids, parents, after, targets;
    };
    /// Writes how unlikely each target is, in nats, and whether no other token is likelier. Without a cache branches
    /// begin a sequence.
    void score(const Branches& branches, Cache* root, float* nats, bool* likeliest);

    const Shape& shape() const { return decoder.shape; }
    /// Bytes of weights that each decoded token reads.
    int64_t weight_bytes() const { return decoder.weight_bytes(); }
    /// Of keys and values in a cache: float32 where nothing may be rounded.
    const Dtype cache_type;

  private:
    void check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const;

    std::vector<Token> planted(const Branches& branches, Cache* root) const;

    Decoder decoder;
    std::vector<float> logits;  // of the last `score`
    std::mutex one_call;
};

}  // namespace pylm::cpu
