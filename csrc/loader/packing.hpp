// Documents packed into windows: best fit, longest first.
#pragma once
#include <cstdint>
#include <vector>

namespace pylm::loader {

/// A run of inputs of one document; its targets are the same run, one token later.
struct Segment {
    int64_t start;
    int32_t length;
};

struct Packed {
    std::vector<Segment> segments;  // those of window w are [first[w], first[w + 1])
    std::vector<int64_t> first;
    /// Of each segment its number among those of its length, and of each length where its own begin in `by_length`;
    /// empty unless `trade` was called.
    std::vector<int64_t> among, first_of, by_length;
    /// Where documents start, and the end of the last, where a segment is several of them; else empty.
    std::vector<int64_t> documents;
    int64_t windows() const { return static_cast<int64_t>(first.size()) - 1; }
};

/// Lets segments of the same length trade places: bins then differ from epoch to epoch and stay as full.
void trade(Packed& packed);

/// `starts` of documents and the end of the last. A document of n tokens gives n - 1 inputs, cut at `capacity`; the
/// result depends on nothing else. Each `together` of them in a row stay in one window, and are one segment: whoever
/// wrote them saw to it that they fit, and it is an error where they do not.
Packed pack(const std::vector<int64_t>& starts, int32_t capacity, int together = 1);

}  // namespace pylm::loader
