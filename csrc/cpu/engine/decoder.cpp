// A checkpoint's tensors become a decoder's layers.
#include "cpu/engine/decoder.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "error.hpp"

namespace pylm::cpu {
namespace {

constexpr int64_t LONGEST = int64_t{1} << 24;  // a float counts no further

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + "]";
}

// The tensors, each asked for by name and shape; what nobody asked for is an error in the end.
class TensorSource {
  public:
    TensorSource(const std::map<std::string, Source>& tensors, const Shape& shape, Quantise how, int threads)
        : tensors(tensors), shape(shape), how(how), threads(threads) {}

    const Source& take(const std::string& name, const std::vector<int64_t>& size) {
        const auto found = tensors.find(name);
        if (found == tensors.end()) throw Error(Kind::data, "the weights lack " + name);
        if (found->second.shape != size)
            throw Error(Kind::data, name + " is of shape " + shape_text(found->second.shape) + ", the model's is " +
                                        shape_text(size));
        taken.insert(name);
        return found->second;
    }
    Weights matrix(const std::string& name, int64_t rows, int64_t width) {
        return Weights(name + ".weight", take(name + ".weight", {rows, width}), how, threads);
    }
    std::vector<float> vector(const std::string& name, int64_t size) { return wide(take(name, {size})); }
    std::vector<float> bias_if(bool there, const std::string& name, int64_t size) {
        return there ? vector(name + ".bias", size) : std::vector<float>();
    }
    std::vector<float> bias(const std::string& name, int64_t size) { return bias_if(shape.bias, name, size); }
    Norm norm(const std::string& name) {
        if (!shape.norm_gain) return {};
        return {vector(name + ".weight", shape.width),
                shape.layer_norm ? bias(name, shape.width) : std::vector<float>()};
    }
    // Of the heads, whose norm is asked for by its gain: one that learns none has ones.
    std::vector<float> head_norm(const std::string& name) {
        if (!shape.qk_norm) return {};
        return shape.norm_gain ? vector(name + ".weight", shape.dim()) : std::vector<float>(shape.dim(), 1.0f);
    }
    void all_taken() const {
        for (const auto& tensor : tensors)
            if (!taken.count(tensor.first)) throw Error(Kind::data, "the model has no " + tensor.first);
    }

  private:
    const std::map<std::string, Source>& tensors;
    const Shape& shape;
    const Quantise how;
    const int threads;
    std::set<std::string> taken;
};

const Shape& checked(const Shape& s) {
    const auto refuse = [](const std::string& what) { throw Error(Kind::usage, what); };
    for (int64_t size : {s.layers, s.heads, s.kv_heads, s.head, s.width, s.inner, s.vocab, s.context})
        if (size < 1) refuse("a size of the model is " + std::to_string(size));
    if (s.heads % s.kv_heads)
        refuse(std::to_string(s.kv_heads) + " heads of keys do not divide " + std::to_string(s.heads));
    if (s.dim() > DECODE_DIM) refuse("heads of " + std::to_string(s.dim()) + " elements");
    if (s.positions == Positions::rope && s.dim() % 2) refuse("RoPE turns pairs, and heads are of odd width");
    if (!s.frequencies.empty() && static_cast<int64_t>(s.frequencies.size()) != s.dim() / 2)
        refuse(std::to_string(s.frequencies.size()) + " frequencies, and a head has " + std::to_string(s.dim() / 2) +
               " pairs");
    if (std::max({s.width, s.inner, s.heads_width()}) > WIDEST_PRODUCT)
        refuse("a width above " + std::to_string(WIDEST_PRODUCT));
    if (s.context > LONGEST) refuse("a context of " + std::to_string(s.context) + " tokens");
    if (s.window < 0) refuse("window is " + std::to_string(s.window));
    if (!s.norm_gain && s.layer_norm) refuse("norm_gain is false, and LayerNorm learns its gain");
    return s;
}

Layer read_layer(TensorSource& source, const Shape& shape, int64_t index) {
    const std::string block = "blocks." + std::to_string(index), attention = block + ".attention", mlp = block + ".mlp";
    const int64_t width = shape.width, inner = shape.inner, packed = shape.packed_width();
    Layer layer;
    layer.attention_norm = source.norm(attention + ".norm");
    layer.qkv = source.matrix(attention + ".qkv", packed, width);
    layer.qkv_bias = source.bias_if(shape.qkv_bias, attention + ".qkv", packed);
    layer.q_norm = source.head_norm(attention + ".q_norm");
    layer.k_norm = source.head_norm(attention + ".k_norm");
    layer.out = source.matrix(attention + ".out", width, shape.heads_width());
    layer.out_bias = source.bias_if(shape.out_bias, attention + ".out", width);
    layer.mlp_norm = source.norm(mlp + ".norm");
    if (shape.mlp == Act::swiglu) {
        layer.gate = source.matrix(mlp + ".gate", inner, width);
        layer.gate_bias = source.bias(mlp + ".gate", inner);
    }
    layer.up = source.matrix(mlp + ".up", inner, width);
    layer.up_bias = source.bias(mlp + ".up", inner);
    layer.down = source.matrix(mlp + ".down", width, inner);
    layer.down_bias = source.bias(mlp + ".down", width);
    return layer;
}

}  // namespace

Decoder::Decoder(const Shape& wanted, const std::map<std::string, Source>& tensors, Quantise how, int threads)
    : shape(checked(wanted)), threads(threads) {
    TensorSource source(tensors, shape, how, threads);
    embed = source.matrix("embed", shape.vocab, shape.width);
    if (!shape.tied) head = source.matrix("head", shape.vocab, shape.width);
    if (shape.positions == Positions::learned)
        position = wide(source.take("position.weight", {shape.context, shape.width}));
    if (shape.embed_norm) embed_norm = source.norm("embed_norm");
    norm = source.norm("norm");
    for (int64_t i = 0; i < shape.layers; ++i) layers.push_back(read_layer(source, shape, i));
    source.all_taken();
}

void Decoder::grow_rope_table(int64_t positions) {
    const int64_t half = shape.positions == Positions::rope ? shape.dim() / 2 : 0;
    if (half == 0) return;
    const int64_t known = static_cast<int64_t>(cosines.size()) / half;
    if (positions <= known) return;
    for (int64_t at = known; at < std::min(shape.context, std::max(positions, 2 * known)); ++at)
        for (int64_t i = 0; i < half; ++i) {
            const double frequency = shape.frequencies.empty()
                                         ? std::pow(shape.theta, -2.0 * static_cast<double>(i) / shape.dim())
                                         : shape.frequencies[i];
            const double angle = static_cast<double>(at) * frequency;
            cosines.push_back(static_cast<float>(std::cos(angle) * shape.magnitude));
            sines.push_back(static_cast<float>(std::sin(angle) * shape.magnitude));
        }
}

int64_t Decoder::weight_bytes() const {
    int64_t total = shape.tied ? embed.bytes() : head.bytes();
    for (const Layer& layer : layers)
        total += layer.qkv.bytes() + layer.out.bytes() + layer.gate.bytes() + layer.up.bytes() + layer.down.bytes();
    return total;
}

}  // namespace pylm::cpu
