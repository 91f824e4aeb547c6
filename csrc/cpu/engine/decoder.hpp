// What a pass goes through: a decoder's weights layer by layer, and the memory that its passes share.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cpu/engine/shape.hpp"
#include "cpu/engine/weights.hpp"
#include "cpu/engine/workspace.hpp"

namespace pylm::cpu {

struct Norm {
    std::vector<float> weight, bias;
};
struct Layer {
    Norm attention_norm, mlp_norm;
    Weights qkv, out, gate, up, down;
    std::vector<float> qkv_bias, out_bias, gate_bias, up_bias, down_bias, q_norm, k_norm;
};

struct Decoder {
    /// Takes the tensors by the names of a checkpoint: an Error for one that lacks, is of another shape, or is left
    /// over.
    Decoder(const Shape& shape, const std::map<std::string, Source>& tensors, Quantise how, int threads);
    /// Fills the tables of cosines and sines up to so many positions.
    void grow_rope_table(int64_t positions);
    int64_t weight_bytes() const;

    const Shape shape;
    const int threads;
    Weights embed, head;
    std::vector<float> position;  // learned
    Norm embed_norm, norm;
    std::vector<Layer> layers;
    std::vector<float> cosines, sines;
    Workspace workspace;
};

}  // namespace pylm::cpu
