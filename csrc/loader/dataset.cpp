// Reads runs of tokens across shards, with every id held against the vocabulary.
#include "loader/dataset.hpp"

#include <algorithm>

#include "error.hpp"

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

}  // namespace

Dataset::Dataset(std::string name, const std::vector<ShardSpec>& specs, int64_t vocab_size)
    : title(std::move(name)), vocab_size(vocab_size), bounds{0} {
    files.reserve(specs.size());
    for (const auto& spec : specs) {
        files.emplace_back(spec);
        bounds.push_back(bounds.back() + files.back().tokens());
        has_mask |= files.back().masked();
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

template <class Out>
void Dataset::ignore(int64_t start, int64_t length, Out ignored, Out* out) const {
    for (size_t s = shard_of(start); length > 0; ++s) {
        const Shard& shard = files[s];
        const int64_t offset = start - bounds[s], here = std::min(length, shard.tokens() - offset);
        if (here <= 0) continue;
        if (shard.masked())
            for (int64_t i = 0; i < here; ++i)
                if (!shard.counts(offset + i)) out[i] = ignored;
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
template void Dataset::ignore(int64_t, int64_t, int32_t, int32_t*) const;
template void Dataset::ignore(int64_t, int64_t, int64_t, int64_t*) const;

}  // namespace pylm::loader
