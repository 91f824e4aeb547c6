// A whole decoder on the CPU: tokens in, logits out, one call. It shares the kernels of training and its own products
// with quantised weights; one team of threads goes through all layers together.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cpu/drive/operations.hpp"
#include "cpu/engine/cache.hpp"
#include "cpu/engine/shape.hpp"
#include "cpu/engine/weights.hpp"
#include "cpu/engine/workspace.hpp"

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

    const Shape shape;
    /// Bytes of weights that each decoded token reads.
    int64_t weight_bytes() const;
    /// Of keys and values in a cache: float32 where nothing may be rounded.
    const Dtype cache_type;

  private:
    struct Norm {
        std::vector<float> weight, bias;
    };
    struct Layer {
        Norm attention_norm, mlp_norm;
        Weights qkv, out, gate, up, down;
        std::vector<float> qkv_bias, out_bias, gate_bias, up_bias, down_bias, q_norm, k_norm;
    };
    friend class Pass;
    /// Fills the tables of cosines and sines up to so many positions.
    void grow_rope_table(int64_t positions);
    void check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const;

    int threads;
    Weights embed, head;
    std::vector<float> position;  // learned
    std::vector<float> cosines, sines;
    Norm norm;
    std::vector<Layer> layers;
    std::mutex one_call;
    Workspace workspace;
};

}  // namespace pylm::cpu
