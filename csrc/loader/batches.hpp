// Batches as a pure function of (seed, step, rank, world) over mapped shards.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loader/order.hpp"
#include "loader/packing.hpp"
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
    /// The shards that `length` tokens from `start` lie in: the first, and the one after the last.
    std::pair<size_t, size_t> shards_of(int64_t start, int64_t length) const;
    /// An Error where one of them has been shortened since it was mapped.
    void check(int64_t start, int64_t length) const;
    const std::string& name() const { return title; }

  private:
    std::string title;
    int64_t vocab_size;  // 0: not known, any id is let through
    std::vector<Shard> files;
    std::vector<int64_t> bounds;  // where each shard starts in the stream, and the end
};

struct DatasetSpec {
    std::string name;
    std::vector<ShardSpec> shards;
    int64_t vocab_size = 0;
    double weight = 1;
};

struct Shape {
    int64_t context_length = 0, batch_size = 0, stride = 0;
    int rank = 0, world = 1;
    bool packed = false;
    uint64_t seed = 0;
};

/// A piece of text that a batch holds: `document` is its number in its shard, -1 where nothing says.
struct Excerpt {
    int64_t row, dataset, shard, document, start, length;
};

class Batches {
  public:
    Batches(const std::vector<DatasetSpec>& specs, const Shape& shape);

    /// Rows of this rank's share.
    int64_t rows() const { return shape.batch_size / shape.world; }
    const Shape& about() const { return shape; }
    const std::vector<Dataset>& sets() const { return datasets; }
    int64_t windows(size_t dataset) const;
    Place place(int64_t step, int64_t row) const;

    /// Fills rows × context_length inputs and targets; packed: also the starts of segments over the flattened batch,
    /// ended by its length. Returns how many starts there are; `starts` has room for rows × context_length + 1.
    template <class Out>
    int64_t fill(int64_t step, Out* inputs, Out* targets, int32_t* starts, int threads) const;
    std::vector<Excerpt> excerpts(int64_t step) const;

  private:
    /// The pieces of text that a row holds: calls `take(start, length)` for each, its last target not counted.
    template <class Take>
    void pieces_of(const Place& place, const Take& take) const;
    /// Looks once at each shard that a step reads: a call to the system a row would cost more than the row.
    void check(const std::vector<Place>& places) const;
    template <class Out>
    void fill_row(const Place& place, Out* inputs, Out* targets, std::vector<int32_t>* starts) const;

    Shape shape;
    std::vector<Dataset> datasets;
    std::vector<Packed> packings;
    Order order;
};

/// What a target is where there is nothing to predict.
constexpr int IGNORED = -100;

}  // namespace pylm::loader
