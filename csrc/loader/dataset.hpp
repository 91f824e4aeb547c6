// The shards of one dataset as one stream of tokens.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loader/shard.hpp"

namespace pylm::loader {

/// The shards of one dataset, read as one stream of tokens.
class Dataset {
  public:
    Dataset(std::string name, const std::vector<ShardSpec>& specs, int64_t vocab_size);

    int64_t tokens() const { return bounds.back(); }
    const std::vector<Shard>& shards() const { return files; }
    size_t shard_of(int64_t position) const;
    int64_t shard_start(size_t shard) const { return bounds[shard]; }
    /// Starts of all documents in the stream, and its end; an Error where a shard has none.
    std::vector<int64_t> documents() const;
    /// Widens `length` tokens from `start`, wherever shards end. Whoever reads has checked the shards a moment before.
    template <class Out>
    void read(int64_t start, int64_t length, Out* out) const;
    /// Whether some of its tokens count as targets and others do not.
    bool masked() const { return has_mask; }
    /// Puts `ignored` in place of the tokens from `start` on that do not count as targets.
    template <class Out>
    void ignore(int64_t start, int64_t length, Out ignored, Out* out) const;
    /// The shards that `length` tokens from `start` lie in: the first, and the one after the last.
    std::pair<size_t, size_t> shards_of(int64_t start, int64_t length) const;
    /// An Error where one of them has been shortened since it was mapped.
    void check(int64_t start, int64_t length) const;
    const std::string& name() const { return title; }

  private:
    std::string title;
    int64_t vocab_size;  // 0: not known, any id is let through
    bool has_mask = false;
    std::vector<Shard> files;
    std::vector<int64_t> bounds;  // where each shard starts in the stream, and the end
};

}  // namespace pylm::loader
