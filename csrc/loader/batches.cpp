// Fills batches: which rows a step holds, and the text of each.
#include "loader/batches.hpp"

#include <algorithm>

#include "error.hpp"
#include "threads.hpp"

namespace pylm::loader {
namespace {

Order make_order(const std::vector<DatasetSpec>& specs, const std::vector<uint64_t>& windows, uint64_t seed) {
    std::vector<double> weights;
    for (const auto& spec : specs) weights.push_back(spec.weight);
    return Order(seed, windows, share_slots(weights));
}

std::vector<Dataset> open_all(const std::vector<DatasetSpec>& specs) {
    std::vector<Dataset> list;
    list.reserve(specs.size());
    for (const auto& spec : specs) list.emplace_back(spec.name, spec.shards, spec.vocab_size);
    return list;
}

std::vector<Packed> pack_all(const std::vector<Dataset>& datasets, const Shape& shape) {
    std::vector<Packed> list;
    if (shape.packed)
        for (const auto& dataset : datasets)
            list.push_back(pack(dataset.documents(), static_cast<int32_t>(shape.context_length), shape.together));
    // examples are few and seen often; the bins of a text stay as they were when its runs began
    for (size_t d = 0; d < list.size(); ++d)
        if (datasets[d].masked()) trade(list[d]);
    return list;
}

std::vector<uint64_t> count_windows(const std::vector<Dataset>& datasets, const std::vector<Packed>& packings,
                                    const Shape& shape) {
    std::vector<uint64_t> list;
    for (size_t d = 0; d < datasets.size(); ++d) {
        const int64_t room = datasets[d].tokens() - 1 - shape.context_length;
        const int64_t count = shape.packed ? packings[d].windows() : room < 0 ? 0 : room / shape.stride + 1;
        if (count < 1)
            throw Error(Kind::data,
                        datasets[d].name() + ": " + std::to_string(datasets[d].tokens()) +
                            " tokens hold no window of " + std::to_string(shape.context_length) + " and its target",
                        "use a shorter context_length or more data");
        list.push_back(count);
    }
    return list;
}

}  // namespace

Batches::Batches(const std::vector<DatasetSpec>& specs, const Shape& wanted)
    : shape(wanted),
      datasets(open_all(specs)),
      packings(pack_all(datasets, shape)),
      order(make_order(specs, count_windows(datasets, packings, shape), shape.seed)) {}

int64_t Batches::windows(size_t dataset) const {
    return shape.packed ? packings[dataset].windows()
                        : (datasets[dataset].tokens() - 1 - shape.context_length) / shape.stride + 1;
}

Place Batches::place(int64_t step, int64_t row) const {
    return order.at(static_cast<uint64_t>(step) * shape.batch_size + shape.rank * rows() + row);
}

int64_t Batches::start_of(const Packed& packed, int64_t segment, const Place& place) const {
    const auto [start, length] = packed.segments[segment];
    if (packed.among.empty()) return start;
    const int64_t begin = packed.first_of[length], count = packed.first_of[length + 1] - begin;
    return packed.by_length[begin + order.traded(place, length, count, packed.among[segment])];
}

template <class Take>
void Batches::pieces_of(const Place& place, const Take& take) const {
    if (!shape.packed) return take(static_cast<int64_t>(place.window) * shape.stride, shape.context_length);
    const Packed& packed = packings[place.dataset];
    const auto& documents = packed.documents;
    for (int64_t s = packed.first[place.window]; s < packed.first[place.window + 1]; ++s) {
        const int64_t start = start_of(packed, s, place);
        if (documents.empty()) {
            take(start, int64_t{packed.segments[s].length});
            continue;
        }
        const auto first = std::lower_bound(documents.begin(), documents.end(), start);
        for (auto one = first; one < first + shape.together; ++one) take(*one, one[1] - one[0] - 1);
    }
}

void Batches::check(const std::vector<Place>& places) const {
    std::vector<std::vector<bool>> seen;
    for (const Dataset& data : datasets) seen.emplace_back(data.shards().size());
    for (const Place& place : places)
        pieces_of(place, [&](int64_t start, int64_t length) {
            const auto [begin, end] = datasets[place.dataset].shards_of(start, length + 1);
            for (size_t s = begin; s < end; ++s)
                if (!seen[place.dataset][s]) datasets[place.dataset].shards()[s].check(), seen[place.dataset][s] = true;
        });
}

template <class Out>
void Batches::fill_row(const Place& place, Out* inputs, Out* targets, std::vector<int32_t>* starts) const {
    const Dataset& data = datasets[place.dataset];
    int64_t used = 0;
    pieces_of(place, [&](int64_t start, int64_t length) {
        if (starts) starts->push_back(static_cast<int32_t>(used));
        data.read(start, 1, inputs + used);
        data.read(start + 1, length, targets + used);
        std::copy_n(targets + used, length - 1, inputs + used + 1);
        if (data.masked()) data.ignore(start + 1, length, Out{IGNORED}, targets + used);
        used += length;
    });
    const int64_t length = shape.context_length;
    if (used < length) starts->push_back(static_cast<int32_t>(used));  // the rest is a segment that nothing attends to
    std::fill(inputs + used, inputs + length, Out{0});
    std::fill(targets + used, targets + length, Out{IGNORED});
}

template <class Out>
int64_t Batches::fill(int64_t step, Out* inputs, Out* targets, int32_t* starts, int threads) const {
    const int64_t length = shape.context_length, count = rows();
    std::vector<std::vector<int32_t>> found(shape.packed ? count : 0);
    std::vector<Place> places;
    for (int64_t row = 0; row < count; ++row) places.push_back(place(step, row));
    check(places);
    parallel(threads, count, [&](int64_t row) {
        fill_row(places[row], inputs + row * length, targets + row * length, shape.packed ? &found[row] : nullptr);
    });
    if (!shape.packed) return 0;
    int64_t total = 0;
    for (int64_t row = 0; row < count; ++row)
        for (int32_t start : found[row]) starts[total++] = static_cast<int32_t>(row * length) + start;
    starts[total++] = static_cast<int32_t>(count * length);
    return total;
}

template int64_t Batches::fill(int64_t, int32_t*, int32_t*, int32_t*, int) const;
template int64_t Batches::fill(int64_t, int64_t*, int64_t*, int32_t*, int) const;

std::vector<Excerpt> Batches::excerpts(int64_t step) const {
    std::vector<Excerpt> list;
    const auto add = [&](int64_t row, int64_t set, int64_t start, int64_t length) {
        const Dataset& data = datasets[set];
        while (length > 0) {
            const size_t s = data.shard_of(start);
            const Shard& shard = data.shards()[s];
            const int64_t offset = start - data.shard_start(s);
            int64_t document = -1, here = std::min(length, shard.tokens() - offset);
            if (const auto& starts = shard.starts(); !starts.empty()) {
                document = std::upper_bound(starts.begin(), starts.end(), offset) - starts.begin() - 1;
                here = std::min(here, starts[document + 1] - offset);
            }
            list.push_back({row, set, static_cast<int64_t>(s), document, offset, here});
            start += here;
            length -= here;
        }
    };
    for (int64_t row = 0; row < rows(); ++row) {
        const Place where = place(step, row);
        pieces_of(where, [&](int64_t start, int64_t length) { add(row, where.dataset, start, length + 1); });
    }
    return list;
}

}  // namespace pylm::loader
