// A whole decoder on the CPU: tokens in, logits out, one call. It shares the kernels of training and its own products
// with quantised weights; one team of threads goes through all layers together.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cpu/drive/operations.hpp"
#include "cpu/engine/weights.hpp"
#include "threads.hpp"

namespace pylm::cpu {

enum class Positions { rope, learned, none };
struct Shape {
    int64_t layers, heads, kv_heads, head, width, inner, vocab, context;  // head: the width of one
    bool layer_norm;
    float eps;
    Act mlp;
    Positions positions;
    double theta;
    std::vector<double> frequencies;  // radians a position of each pair; empty: by theta
    double magnitude;                 // of cosines and sines
    bool qk_norm, bias, qkv_bias, out_bias, tied;
    int64_t window;                          // 0: none
    float attention_softcap, logit_softcap;  // 0: none
    int64_t dim() const { return head; }
    int64_t heads_width() const { return heads * head; }
};

/// Keys and values of one sequence, [layer][kv head][capacity][dim] each. One call at a time uses it: another that
/// comes meanwhile, from whichever engine, is an Error and changes nothing.
class Cache {
  public:
    Cache(const Shape& shape, int64_t capacity, Type type);
    void truncate(int64_t length);
    /// Whether it was made for this shape.
    bool fits(const Shape& shape, Type type) const;
    /// Become what another of this shape is.
    void copy(const Cache& other);
    char* keys(int64_t layer, int64_t head) const { return at(key_memory, layer, head); }
    char* values(int64_t layer, int64_t head) const { return at(value_memory, layer, head); }

    /// While it lives nobody else may use the cache.
    class Use {
      public:
        explicit Use(const Cache& cache);
        ~Use();
        Use(Use&& other) noexcept : cache(std::exchange(other.cache, nullptr)) {}
        Use& operator=(Use&&) = delete;

      private:
        const Cache* cache;
    };

    const int64_t capacity;
    const Type type;
    std::atomic<int64_t> length{0};

  private:
    mutable std::atomic<bool> in_use{false};
    char* at(const Block& memory, int64_t layer, int64_t head) const {
        return memory.data() + (layer * kv_heads + head) * capacity * row_bytes;
    }
    int64_t layers, kv_heads, row_bytes;
    Block key_memory, value_memory;
};

/// A token to be read: its id, the sequence that it is appended to, and where it stands there.
struct Token {
    int64_t id;
    Cache* cache;
    int64_t position;
};

/// Activations of a pass, kept from one to the next.
struct Room {
    std::vector<float> stream, normal, packed, queries, attended, inner, scales, lse;
    std::vector<int8_t> high, low;
    std::vector<int32_t> sums, first;
    std::vector<uint16_t> narrow;
    std::vector<float> partial;
    std::vector<Block> scratch;  // one a thread
    int64_t scratch_bytes = 0;
};

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
    const Type cache_type;

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
    void know_angles(int64_t positions);
    void check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const;

    int threads;
    Weights embed, head;
    std::vector<float> position;  // learned
    std::vector<float> cosines, sines;
    Norm norm;
    std::vector<Layer> layers;
    std::mutex one_call;
    Room room;
};

}  // namespace pylm::cpu
