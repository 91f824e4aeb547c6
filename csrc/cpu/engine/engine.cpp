// Reads a checkpoint's tensors into layers, and calls with tokens become passes through them.
#include "cpu/engine/engine.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "cpu/engine/pass.hpp"
#include "error.hpp"

namespace pylm::cpu {
namespace {

constexpr int64_t TOKENS_A_PASS = 512;
constexpr int64_t LONGEST = int64_t{1} << 24;  // a float counts no further

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + "]";
}

// The tensors, each asked for by name and shape; what nobody asked for is an error in the end.
class TensorSource {
  public:
    explicit TensorSource(const std::map<std::string, Source>& tensors) : tensors(tensors) {}
    bool has(const std::string& name) const { return tensors.count(name) > 0; }
    const Source* take(const std::string& name, const std::vector<int64_t>& shape) {
        const auto found = tensors.find(name);
        if (found == tensors.end()) throw Error(Kind::data, "the weights lack " + name);
        if (found->second.shape != shape)
            throw Error(Kind::data, name + " is of shape " + shape_text(found->second.shape) + ", the model's is " +
                                        shape_text(shape));
        taken.insert(name);
        return &found->second;
    }
    std::vector<float> vector(const std::string& name, int64_t size) { return wide(*take(name, {size})); }
    void all_taken() const {
        for (const auto& tensor : tensors)
            if (!taken.count(tensor.first)) throw Error(Kind::data, "the model has no " + tensor.first);
    }

  private:
    const std::map<std::string, Source>& tensors;
    std::set<std::string> taken;
};

void check_shape(const Shape& s) {
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
}

}  // namespace

Engine::Engine(const Shape& wanted, const std::map<std::string, Source>& tensors, Quantise how, int threads)
    : shape(wanted), cache_type(how == Quantise::none ? Dtype::float32 : Dtype::bfloat16), threads(threads) {
    check_shape(shape);
    TensorSource source(tensors);
    const int64_t width = shape.width, inner = shape.inner, heads_width = shape.heads_width(),
                  packed_width = heads_width + 2 * shape.kv_heads * shape.dim();
    const auto matrix = [&](const std::string& name, const std::vector<int64_t>& shape) {
        return Weights(name, *source.take(name, shape), how, threads);
    };
    const auto bias_if = [&](bool there, const std::string& name, int64_t size) {
        return there ? source.vector(name + ".bias", size) : std::vector<float>();
    };
    const auto bias = [&](const std::string& name, int64_t size) { return bias_if(shape.bias, name, size); };
    const auto norm_of = [&](const std::string& name) {
        return Norm{source.vector(name + ".weight", width),
                    shape.layer_norm ? bias(name, width) : std::vector<float>()};
    };
    embed = matrix("embed.weight", {shape.vocab, width});
    if (!shape.tied) head = matrix("head.weight", {shape.vocab, width});
    if (shape.positions == Positions::learned) position = wide(*source.take("position.weight", {shape.context, width}));
    norm = norm_of("norm");
    for (int64_t i = 0; i < shape.layers; ++i) {
        const std::string block = "blocks." + std::to_string(i), attention = block + ".attention", mlp = block + ".mlp";
        Layer layer;
        layer.attention_norm = norm_of(attention + ".norm");
        layer.qkv = matrix(attention + ".qkv.weight", {packed_width, width});
        layer.qkv_bias = bias_if(shape.qkv_bias, attention + ".qkv", packed_width);
        if (shape.qk_norm) {
            layer.q_norm = source.vector(attention + ".q_norm.weight", shape.dim());
            layer.k_norm = source.vector(attention + ".k_norm.weight", shape.dim());
        }
        layer.out = matrix(attention + ".out.weight", {width, heads_width});
        layer.out_bias = bias_if(shape.out_bias, attention + ".out", width);
        layer.mlp_norm = norm_of(mlp + ".norm");
        if (shape.mlp == Act::swiglu) {
            layer.gate = matrix(mlp + ".gate.weight", {inner, width});
            layer.gate_bias = bias(mlp + ".gate", inner);
        }
        layer.up = matrix(mlp + ".up.weight", {inner, width});
        layer.up_bias = bias(mlp + ".up", inner);
        layer.down = matrix(mlp + ".down.weight", {width, inner});
        layer.down_bias = bias(mlp + ".down", width);
        layers.push_back(std::move(layer));
    }
    source.all_taken();
}

void Engine::grow_rope_table(int64_t positions) {
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

int64_t Engine::weight_bytes() const {
    int64_t total = shape.tied ? embed.bytes() : head.bytes();
    for (const Layer& layer : layers)
        total += layer.qkv.bytes() + layer.out.bytes() + layer.gate.bytes() + layer.up.bytes() + layer.down.bytes();
    return total;
}

void Engine::check(const int64_t* ids, int64_t count, const Cache& cache, int64_t more) const {
    if (!cache.fits(shape, cache_type)) throw Error(Kind::usage, "the cache is of another model");
    for (int64_t i = 0; i < count; ++i)
        if (ids[i] < 0 || ids[i] >= shape.vocab)
            throw Error(Kind::usage, "token " + std::to_string(ids[i]) + " is not in the vocabulary of " +
                                         std::to_string(shape.vocab));
    if (cache.length + more > cache.capacity)
        throw Error(Kind::usage, std::to_string(more) + " more tokens do not fit: the cache holds " +
                                     std::to_string(cache.length) + " of " + std::to_string(cache.capacity));
}

void Engine::read(const int64_t* ids, int64_t count, Cache& cache, bool every, float* logits) {
    const std::lock_guard lock(one_call);
    if (count < 1) throw Error(Kind::usage, "there are no tokens to read");
    const Cache::Use use(cache);
    check(ids, count, cache, count);
    const int64_t begin = cache.length;
    for (int64_t first = 0; first < count; first += TOKENS_A_PASS) {
        const int64_t many = std::min(count - first, TOKENS_A_PASS);
        std::vector<Token> tokens;
        std::vector<int64_t> wanted;
        for (int64_t i = 0; i < many; ++i) {
            tokens.push_back({ids[first + i], &cache, begin + first + i});
            if (every || first + i + 1 == count) wanted.push_back(i);
        }
        Pass(*this, tokens, wanted, every ? logits + first * shape.vocab : logits).run();
        cache.length = begin + first + many;
    }
}

void Engine::decode(const int64_t* ids, Cache* const* caches, int64_t count, float* logits) {
    const std::lock_guard lock(one_call);
    std::vector<Cache::Use> uses;
    std::vector<Token> tokens;
    std::vector<int64_t> wanted;
    for (int64_t i = 0; i < count; ++i) {
        if (std::find(caches, caches + i, caches[i]) != caches + i)
            throw Error(Kind::usage, "the same cache is given twice");
        uses.emplace_back(*caches[i]);
        check(ids + i, 1, *caches[i], 1);
        tokens.push_back({ids[i], caches[i], caches[i]->length});
        wanted.push_back(i);
    }
    if (tokens.empty()) return;
    Pass(*this, tokens, wanted, logits).run();
    for (int64_t i = 0; i < count; ++i) ++caches[i]->length;
}

}  // namespace pylm::cpu
