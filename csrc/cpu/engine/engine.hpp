// A whole decoder on the CPU: tokens in, logits out, one call. It shares the kernels of training and its own products
// with quantised weights; one team of threads goes through all layers together.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "cpu/engine/cache.hpp"
#include "cpu/engine/decoder.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

/// One call at a time; others wait. Inside a parallel region a call runs on its own thread: then nobody else may use
/// the engine, for they would wait for the region, and it for them.
class Engine {
  public:
    Engine(const Shape& shape, const std::map<std::string, Source>& tensors, Quantise how, int threads);

    /// Append ids to a sequence. Writes [vocab] logits after the last, or [count, vocab] after each.
    void read(const int64_t* ids, int64_t count, Cache& cache, bool every, float* logits);
    /// Append one id to each of some sequences; writes [count, vocab] logits.
    void decode(const int64_t* ids, Cache* const* caches, int64_t count, float* logits);

    const Shape& shape() const { return decoder.shape; }
    /// Bytes of weights that each decoded token reads.
    int64_t weight_bytes() const { return decoder.weight_bytes(); }
    /// Of keys and values in a cache: float32 where nothing may be rounded.
    const Dtype cache_type;

  private:
    void check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const;

    Decoder decoder;
    std::mutex one_call;
};

}  // namespace pylm::cpu
