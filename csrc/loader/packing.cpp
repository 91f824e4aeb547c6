// Packs documents into windows by best fit, with the open windows found by the room that they have left.
#include "loader/packing.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "error.hpp"

namespace pylm::loader {
namespace {

// The open windows by the room that is left in them: the smallest room that is enough is found in a few words.
class Rooms {
  public:
    explicit Rooms(int32_t capacity)
        : heads(int64_t{capacity} + 1, NONE), words(capacity / 64 + 1), summary(words.size() / 64 + 1) {}

    void put(int32_t room, int64_t window) {
        next.resize(std::max<size_t>(next.size(), window + 1), NONE);
        next[window] = heads[room];
        heads[room] = window;
        words[room / 64] |= uint64_t{1} << room % 64;
        summary[room / 4096] |= uint64_t{1} << room / 64 % 64;
    }

    /// The tightest room of at least `length`, -1 where there is none.
    int32_t find(int32_t length) const {
        const size_t word = length / 64;
        if (const uint64_t here = words[word] >> length % 64) return length + std::countr_zero(here);
        for (size_t s = (word + 1) / 64; s < summary.size(); ++s) {
            uint64_t bits = summary[s];
            if (s == (word + 1) / 64) bits &= ~uint64_t{0} << (word + 1) % 64;
            if (!bits) continue;
            const size_t found = s * 64 + std::countr_zero(bits);
            return static_cast<int32_t>(found * 64 + std::countr_zero(words[found]));
        }
        return -1;
    }

    int64_t take(int32_t room) {
        const int64_t window = heads[room];
        heads[room] = next[window];
        if (heads[room] == NONE) {
            words[room / 64] &= ~(uint64_t{1} << room % 64);
            if (!words[room / 64]) summary[room / 4096] &= ~(uint64_t{1} << room / 64 % 64);
        }
        return window;
    }

  private:
    static constexpr int64_t NONE = -1;
    std::vector<int64_t> heads, next;
    std::vector<uint64_t> words, summary;
};

std::vector<Segment> cut(const std::vector<int64_t>& starts, int32_t capacity) {
    std::vector<Segment> pieces;
    for (size_t d = 0; d + 1 < starts.size(); ++d)
        for (int64_t at = starts[d]; at < starts[d + 1] - 1; at += capacity)
            pieces.push_back({at, static_cast<int32_t>(std::min<int64_t>(capacity, starts[d + 1] - 1 - at))});
    return pieces;
}

std::vector<Segment> joined(const std::vector<int64_t>& starts, int32_t capacity, int together) {
    if ((starts.size() - 1) % together != 0)
        throw Error(Kind::data,
                    std::to_string(starts.size() - 1) + " documents are no whole number of " + std::to_string(together),
                    "make these shards anew");
    std::vector<Segment> pieces;
    for (size_t d = 0; d + 1 < starts.size(); d += together) {
        const int64_t length = starts[d + together] - starts[d] - together;
        if (length > capacity)
            throw Error(
                Kind::data,
                "documents " + std::to_string(d) + " to " + std::to_string(d + together - 1) +
                    " belong together, and their " + std::to_string(length) + " inputs fit no window of " +
                    std::to_string(capacity),
                "use a context_length of " + std::to_string(length) + ", or make these shards for a shorter one");
        pieces.push_back({starts[d], static_cast<int32_t>(length)});
    }
    return pieces;
}

}  // namespace

Packed pack(const std::vector<int64_t>& starts, int32_t wanted, int together) {
    // a window longer than all of the text is as good as one of its length, and costs no memory
    const auto capacity = static_cast<int32_t>(std::clamp<int64_t>(starts.back(), 1, wanted));
    const std::vector<Segment> pieces = together > 1 ? joined(starts, capacity, together) : cut(starts, capacity);
    std::vector<int64_t> counts(int64_t{capacity} + 2);
    for (const Segment& piece : pieces) ++counts[capacity - piece.length + 1];
    // longest first, in the order of the text among equals
    for (int64_t i = 0; i <= capacity; ++i) counts[i + 1] += counts[i];
    std::vector<int64_t> sorted(pieces.size());
    for (size_t i = 0; i < pieces.size(); ++i) sorted[counts[capacity - pieces[i].length]++] = i;

    Rooms rooms(capacity);
    std::vector<int64_t> window_of(pieces.size());
    int64_t windows = 0;
    for (int64_t i : sorted) {
        const int32_t room = rooms.find(pieces[i].length);
        const int64_t window = room < 0 ? windows++ : rooms.take(room);
        window_of[i] = window;
        const int32_t left = (room < 0 ? capacity : room) - pieces[i].length;
        if (left > 0) rooms.put(left, window);
    }
    Packed packed;
    if (together > 1) packed.documents = starts;
    packed.first.assign(windows + 1, 0);
    for (int64_t window : window_of) ++packed.first[window + 1];
    for (int64_t w = 0; w < windows; ++w) packed.first[w + 1] += packed.first[w];
    packed.segments.resize(pieces.size());
    std::vector<int64_t> fill(packed.first.begin(), packed.first.end() - 1);
    for (int64_t i : sorted) packed.segments[fill[window_of[i]]++] = pieces[i];
    return packed;
}

void trade(Packed& packed) {
    int32_t longest = 0;
    for (const Segment& segment : packed.segments) longest = std::max(longest, segment.length);
    packed.first_of.assign(int64_t{longest} + 2, 0);
    for (const Segment& segment : packed.segments) ++packed.first_of[segment.length + 1];
    for (int32_t i = 0; i <= longest; ++i) packed.first_of[i + 1] += packed.first_of[i];
    std::vector<int64_t> next = packed.first_of;
    packed.among.resize(packed.segments.size());
    packed.by_length.resize(packed.segments.size());
    for (size_t s = 0; s < packed.segments.size(); ++s) {
        const int32_t length = packed.segments[s].length;
        packed.among[s] = next[length] - packed.first_of[length];
        packed.by_length[next[length]++] = packed.segments[s].start;
    }
}

}  // namespace pylm::loader
