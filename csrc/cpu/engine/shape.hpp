// The sizes and choices of a decoder.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/args.hpp"

namespace pylm::cpu {

enum class Positions { rope, learned, none };
struct Shape {
    int64_t layers, heads, kv_heads, head, width, inner, vocab, context;  // head: the width of one
    bool layer_norm;
    float eps;
    Act mlp;
    Positions positions;
    double theta;
    std::vector<double> frequencies;  // radians a position of each pair; empty: by theta
    double magnitude;                 // of cosines and sines
    bool qk_norm, norm_gain, embed_norm, bias, qkv_bias, out_bias, tied;
    int64_t window;                          // 0: none
    float attention_softcap, logit_softcap;  // 0: none
    int64_t dim() const { return head; }
    int64_t heads_width() const { return heads * head; }
    /// Of queries, keys and values side by side.
    int64_t packed_width() const { return (heads + 2 * kv_heads) * head; }
};

}  // namespace pylm::cpu
