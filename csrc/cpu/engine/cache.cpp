// Keys and values of one sequence: made, cut, copied, and used by one call at a time.
#include "cpu/engine/cache.hpp"

#include <cstring>
#include <string>

#include "error.hpp"

namespace pylm::cpu {

Cache::Cache(const Shape& shape, int64_t capacity, Dtype type)
    : capacity(capacity),
      type(type),
      layers(shape.layers),
      kv_heads(shape.kv_heads),
      row_bytes(shape.dim() * size_of(type)) {
    if (capacity < 1 || capacity > shape.context)
        throw Error(Kind::usage, "a cache of " + std::to_string(capacity) + " tokens, the model's context is " +
                                     std::to_string(shape.context));
    key_memory = Block(layers * kv_heads * capacity * row_bytes);
    value_memory = Block(layers * kv_heads * capacity * row_bytes);
}

Cache::Use::Use(const Cache& cache) : cache(&cache) {
    if (cache.in_use.exchange(true, std::memory_order_acquire))
        throw Error(Kind::usage, "the cache is in use by another thread", "a cache serves one call at a time");
}

Cache::Use::~Use() {
    if (cache) cache->in_use.store(false, std::memory_order_release);
}

void Cache::truncate(int64_t to) {
    const Use use(*this);
    if (to < 0 || to > length)
        throw Error(Kind::usage, "the cache holds " + std::to_string(length) + " tokens, not " + std::to_string(to));
    length = to;
}

bool Cache::fits(const Shape& shape, Dtype stored) const {
    return type == stored && layers == shape.layers && kv_heads == shape.kv_heads && capacity <= shape.context &&
           row_bytes == shape.dim() * size_of(type);
}

void Cache::copy(const Cache& other) {
    if (&other == this) return;
    const Use use(*this), source(other);
    const int64_t copied = other.length;
    if (other.layers != layers || other.kv_heads != kv_heads || other.row_bytes != row_bytes || other.type != type)
        throw Error(Kind::usage, "the cache to copy is of another model");
    if (copied > capacity)
        throw Error(Kind::usage,
                    std::to_string(copied) + " tokens do not fit into a cache of " + std::to_string(capacity));
    for (int64_t l = 0; l < layers; ++l)
        for (int64_t h = 0; h < kv_heads; ++h) {
            std::memcpy(keys(l, h), other.keys(l, h), copied * row_bytes);
            std::memcpy(values(l, h), other.values(l, h), copied * row_bytes);
        }
    length = copied;
}

}  // namespace pylm::cpu
