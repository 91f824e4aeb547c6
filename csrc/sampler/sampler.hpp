// From logits to a token: penalties, bias, temperature, top-k, top-p, min-p, one draw. The same logits and the same
// (seed, sequence, position) give the same token on every machine: weights are computed with operations that IEEE 754
// fixes, and from there on all is integers, so that neither vector width nor batch changes a bit.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "dtype.hpp"

namespace pylm::sampler {

struct Settings {
    float temperature = 1;  // 0: the most likely token
    int64_t top_k = 0;      // 0: off
    float top_p = 1;        // 1: off
    float min_p = 0;        // 0: off
    float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
    std::vector<std::pair<int64_t, float>> bias;

    /// An Error for what cannot be; `vocab_size` is how many ids may be drawn.
    void check(int64_t vocab_size) const;
};

/// One row of logits; ids past `vocab_size` are padding that is never drawn.
struct Row {
    const void* logits;
    Dtype dtype;
    int64_t vocab_size;
    const int64_t* history;  // the tokens that the penalties count
    int64_t history_length;
    int64_t number;  // for messages
};

struct Choice {
    int64_t id = 0;
    float logprob = 0;  // under the logits as they came: no temperature, penalty or filter
    std::vector<std::pair<int64_t, float>> top;
};

/// Draws one token. `alternatives`: how many of the most likely tokens to return; `logprobs`: whether they and the
/// token's own log-probability are computed.
Choice sample(const Row& row, const Settings& settings, uint64_t seed, uint64_t sequence, uint64_t position,
              bool logprobs, int64_t alternatives);

/// The weights that `sample` draws from, 0 where a filter has said no; in units of 2**-30 of the largest.
std::vector<uint32_t> weights(const Row& row, const Settings& settings);

}  // namespace pylm::sampler
