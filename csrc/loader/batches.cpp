#include "loader/batches.hpp"

#include <algorithm>

#include "error.hpp"
#include "threads.hpp"

namespace pylm::loader {
namespace {

// Widens and finds the highest id on the way: the check of the vocabulary costs no pass of its own.
template <class In, class Out>
uint32_t widen(const In* in, int64_t length, Out* out) {
    In highest = 0;
    for (int64_t i = 0; i < length; ++i) {
        highest = std::max(highest, in[i]);
        out[i] = static_cast<Out>(in[i]);
    }
    return highest;
}

template <class In>
int64_t first_above(const In* in, int64_t length, int64_t limit) {
    for (int64_t i = 0; i < length; ++i)
        if (static_cast<int64_t>(in[i]) >= limit) return i;
    return length;
}

Order make_order(const std::vector<DatasetSpec>& specs, const std::vector<uint64_t>& windows, uint64_t seed) {
    std::vector<double> weights;
    for (const auto& spec : specs) weights.push_back(spec.weight);
    return Order(seed, windows, share_slots(weights));
}

}  // namespace

Dataset::Dataset(std::string name, const std::vector<ShardSpec>& specs, int64_t vocab_size)
    : title(std::move(name)), vocab_size(vocab_size), bounds{0} {
    files.reserve(specs.size());
    for (const auto& spec : specs) {
        files.emplace_back(spec);
        bounds.push_back(bounds.back() + files.back().tokens());
    }
}

size_t Dataset::shard_of(int64_t position) const {
    return std::upper_bound(bounds.begin() + 1, bounds.end() - 1, position) - bounds.begin() - 1;
}

std::vector<int64_t> Dataset::documents() const {
    std::vector<int64_t> all{0};
    for (size_t s = 0; s < files.size(); ++s) {
        const auto& starts = files[s].starts();
        if (starts.empty())
            throw Error(Kind::data, files[s].path() + ": nothing says where its documents start",
                        "packed windows need the .idx that pylm tokenize writes; use window contiguous");
        for (size_t i = 1; i < starts.size(); ++i) all.push_back(bounds[s] + starts[i]);
    }
    return all;
}

template <class Out>
void Dataset::read(int64_t start, int64_t length, Out* out) const {
    for (size_t s = shard_of(start); length > 0; ++s) {
        const Shard& shard = files[s];
        const int64_t offset = start - bounds[s], here = std::min(length, shard.tokens() - offset);
        if (here <= 0) continue;
        // SAFETY: [offset, offset + here) lies inside the shard's mapped tokens, aligned to their width
        const auto* narrow = reinterpret_cast<const uint16_t*>(shard.data()) + offset;
        const auto* wide = reinterpret_cast<const uint32_t*>(shard.data()) + offset;
        const uint32_t highest = shard.width() == 2 ? widen(narrow, here, out) : widen(wide, here, out);
        const int64_t limit = vocab_size ? vocab_size : int64_t{1} << 31;
        if (highest >= limit) {
            const int64_t at = shard.width() == 2 ? first_above(narrow, here, limit) : first_above(wide, here, limit);
            const int64_t id = shard.width() == 2 ? narrow[at] : wide[at];
            throw Error(Kind::data,
                        shard.path() + ": token " + std::to_string(offset + at) + " is " + std::to_string(id) +
                            ", past the vocabulary of " + std::to_string(limit),
                        "the shard was made with another tokenizer or is damaged");
        }
        start += here;
        out += here;
        length -= here;
    }
}

std::pair<size_t, size_t> Dataset::shards_of(int64_t start, int64_t length) const {
    return {shard_of(start), shard_of(start + length - 1) + 1};
}

void Dataset::check(int64_t start, int64_t length) const {
    const auto [begin, end] = shards_of(start, length);
    for (size_t s = begin; s < end; ++s) files[s].check();
}

template void Dataset::read(int64_t, int64_t, int32_t*) const;
template void Dataset::read(int64_t, int64_t, int64_t*) const;

namespace {

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
            list.push_back(pack(dataset.documents(), static_cast<int32_t>(shape.context_length)));
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

template <class Take>
void Batches::pieces_of(const Place& place, const Take& take) const {
    if (!shape.packed) return take(static_cast<int64_t>(place.window) * shape.stride, shape.context_length);
    const Packed& packed = packings[place.dataset];
    for (int64_t s = packed.first[place.window]; s < packed.first[place.window + 1]; ++s)
        take(packed.segments[s].start, int64_t{packed.segments[s].length});
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
