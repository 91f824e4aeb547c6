// Batches as a pure function of (seed, step, rank, world) over mapped shards.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "loader/dataset.hpp"
#include "loader/order.hpp"
#include "loader/packing.hpp"

namespace pylm::loader {

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
    int together = 1;  // documents in a row that one window holds, packed
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
    /// Where a segment's text begins in an epoch.
    int64_t start_of(const Packed& packed, int64_t segment, const Place& place) const;
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
