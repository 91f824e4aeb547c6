// Which window stands where: a pure function of the seed and a position, so that nothing is stored and any step can be
// computed alone. All arithmetic is fixed: the same seed gives the same order on every machine.
#pragma once
#include <cstdint>
#include <vector>

namespace pylm::loader {

/// A keyed permutation of [0, size): a Feistel network over the next power of four, walked until it lands inside.
class Permutation {
  public:
    Permutation(uint64_t size, uint64_t key);
    uint64_t operator()(uint64_t position) const;

  private:
    static constexpr int ROUNDS = 6;
    uint64_t size;
    int half_bits;
    uint64_t keys[ROUNDS];
};

/// Where one sequence of the endless stream comes from.
struct Place {
    int dataset;
    uint64_t epoch;
    uint64_t window;
};

/// The stream of windows of several datasets. Every block of SLOTS sequences holds each dataset in exactly its share.
class Order {
  public:
    static constexpr uint64_t SLOTS = 65536;

    /// `windows` and `slots` by dataset; the slots sum to SLOTS.
    Order(uint64_t seed, std::vector<uint64_t> windows, std::vector<uint64_t> slots);
    Place at(uint64_t sequence) const;
    /// Which of `count` things of one kind stands in the place of another in an epoch: a permutation of its own each.
    uint64_t traded(const Place& place, uint64_t kind, uint64_t count, uint64_t number) const;

  private:
    uint64_t seed;
    std::vector<uint64_t> windows, slots;
};

/// Shares of SLOTS by largest remainder; every dataset has one slot at least.
std::vector<uint64_t> share_slots(const std::vector<double>& weights);

}  // namespace pylm::loader
