// The order of windows: a permutation a dataset and epoch, and shares of datasets in every block of sequences.
#include "loader/order.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.hpp"

namespace pylm::loader {
namespace {

// The finalizer of splitmix64
uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t key_of(uint64_t seed, uint64_t stream, uint64_t block) {
    return mix(mix(mix(seed + 0x9e3779b97f4a7c15u) + stream) + block);
}

constexpr uint64_t MIXING = ~uint64_t{0};  // the stream of keys that places datasets in a block
constexpr uint64_t TRADING = MIXING - 1;   // and that of a dataset's segments of one length, counted down

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t key) : size(size), half_bits(1) {
    while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < size) ++half_bits;
    for (uint64_t& one : keys) one = key = mix(key + 0x9e3779b97f4a7c15u);
}

uint64_t Permutation::operator()(uint64_t position) const {
    const uint64_t mask = (uint64_t{1} << half_bits) - 1;
    do {  // the network covers less than four times the range: four walks at most on average
        uint64_t left = position >> half_bits, right = position & mask;
        for (uint64_t key : keys) {
            const uint64_t next = left ^ (mix(right + key) & mask);
            left = right;
            right = next;
        }
        position = left << half_bits | right;
    } while (position >= size);
    return position;
}

Order::Order(uint64_t seed, std::vector<uint64_t> windows, std::vector<uint64_t> slots)
    : seed(seed), windows(std::move(windows)), slots(std::move(slots)) {}

Place Order::at(uint64_t sequence) const {
    uint64_t local = sequence;
    int dataset = 0;
    if (windows.size() > 1) {
        const uint64_t block = sequence / SLOTS;
        uint64_t slot = Permutation(SLOTS, key_of(seed, MIXING, block))(sequence % SLOTS);
        while (slot >= slots[dataset]) slot -= slots[dataset++];
        local = block * slots[dataset] + slot;
    }
    const uint64_t epoch = local / windows[dataset];
    const Permutation shuffled(windows[dataset], key_of(seed, static_cast<uint64_t>(dataset), epoch));
    return {dataset, epoch, shuffled(local % windows[dataset])};
}

uint64_t Order::traded(const Place& place, uint64_t kind, uint64_t count, uint64_t number) const {
    const uint64_t key = key_of(seed, TRADING - static_cast<uint64_t>(place.dataset), place.epoch);
    return Permutation(count, mix(key + kind))(number);
}

std::vector<uint64_t> share_slots(const std::vector<double>& weights) {
    double sum = 0;
    for (double weight : weights) {
        if (!(weight > 0) || !std::isfinite(weight))
            throw Error(Kind::usage, "a weight of the mix is " + std::to_string(weight), "weights are above 0");
        sum += weight;
    }
    if (std::abs(sum - 1) > 1e-6)
        throw Error(Kind::usage, "the weights of the mix sum to " + std::to_string(sum), "they must sum to 1");
    if (weights.size() > 1024) throw Error(Kind::usage, "a mix of more than 1024 datasets", "join some of them");
    std::vector<uint64_t> slots;
    std::vector<std::pair<double, size_t>> remainders;
    for (size_t i = 0; i < weights.size(); ++i) {
        const double exact = weights[i] / sum * Order::SLOTS;
        slots.push_back(std::max<uint64_t>(1, static_cast<uint64_t>(exact)));
        remainders.push_back({static_cast<double>(slots[i]) - exact, i});
    }
    // the furthest below its share gains, the furthest above gives, ties by position
    std::sort(remainders.begin(), remainders.end());
    uint64_t total = std::accumulate(slots.begin(), slots.end(), uint64_t{0});
    for (size_t i = 0; total < Order::SLOTS; i = (i + 1) % slots.size(), ++total) ++slots[remainders[i].second];
    while (total > Order::SLOTS) --*std::max_element(slots.begin(), slots.end()), --total;
    return slots;
}

}  // namespace pylm::loader
