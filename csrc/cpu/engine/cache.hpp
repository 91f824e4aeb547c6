// What an engine remembers of the sequences that it goes on with.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

#include "cpu/engine/shape.hpp"
#include "cpu/memory.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

/// Keys and values of one sequence, [layer][kv head][capacity][dim] each. One call at a time uses it: another that
/// comes meanwhile, from whichever engine, is an Error and changes nothing.
class Cache {
  public:
    Cache(const Shape& shape, int64_t capacity, Dtype type);
    void truncate(int64_t length);
    /// Whether it was made for this shape.
    bool fits(const Shape& shape, Dtype type) const;
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
    const Dtype type;
    std::atomic<int64_t> length{0};

  private:
    mutable std::atomic<bool> in_use{false};
    char* at(const Block& memory, int64_t layer, int64_t head) const {
        return memory.data() + (layer * kv_heads + head) * capacity * row_bytes;
    }
    int64_t layers, kv_heads, row_bytes;
    Block key_memory, value_memory;
};

}  // namespace pylm::cpu
