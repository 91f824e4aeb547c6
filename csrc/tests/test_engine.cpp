// The engine on memory of exactly the size that it may touch, with every kind of weights, for the sanitizers to watch;
// what its logits are worth is tested against torch in Python. Here a prompt in one piece, in pieces and token by
// token must agree.
#include "cpu/engine/engine.hpp"

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "cpu/features.hpp"
#include "error.hpp"
#include "tests/check.hpp"

using namespace pylm;
using namespace pylm::cpu;

namespace {

Shape small() {
    Shape s{};
    s.layers = 2, s.heads = 4, s.kv_heads = 2, s.width = 36, s.inner = 51, s.vocab = 71, s.context = 80;
    s.eps = 1e-5f, s.mlp = Act::swiglu, s.positions = Positions::none, s.theta = 100, s.qk_norm = true, s.tied = true;
    s.window = 30;
    return s;
}

// Random tensors by the names of a checkpoint; `memory` holds them.
std::map<std::string, Source> weights(const Shape& s, std::vector<std::vector<float>>& memory) {
    std::mt19937 source(3);
    std::normal_distribution<float> normal;
    std::map<std::string, Source> found;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
        int64_t count = 1;
        for (int64_t size : shape) count *= size;
        std::vector<float> values;
        for (int64_t i = 0; i < count; ++i)
            values.push_back(shape.size() == 1 ? 1.0f : normal(source) / std::sqrt(static_cast<float>(shape[1])));
        values.shrink_to_fit();
        memory.push_back(std::move(values));
        found[name] = {Dtype::float32, std::move(shape), memory.back().data()};
    };
    add("embed.weight", {s.vocab, s.width}), add("norm.weight", {s.width});
    for (int64_t i = 0; i < s.layers; ++i) {
        const std::string attention = "blocks." + std::to_string(i) + ".attention.",
                          mlp = "blocks." + std::to_string(i) + ".mlp.";
        add(attention + "norm.weight", {s.width}), add(mlp + "norm.weight", {s.width});
        add(attention + "qkv.weight", {s.width + 2 * s.kv_heads * s.dim(), s.width});
        add(attention + "q_norm.weight", {s.dim()}), add(attention + "k_norm.weight", {s.dim()});
        add(attention + "out.weight", {s.width, s.width});
        add(mlp + "gate.weight", {s.inner, s.width}), add(mlp + "up.weight", {s.inner, s.width});
        add(mlp + "down.weight", {s.width, s.inner});
    }
    return found;
}

}  // namespace

TEST(the_engine_agrees_with_itself_and_stays_in_bounds) {
    const Shape shape = small();
    std::vector<std::vector<float>> memory;
    const auto tensors = weights(shape, memory);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 60; ++i) ids.push_back(i * 13 % shape.vocab);
    for (Variant variant : available()) {
        force(name_of(variant));
        for (Quantise how : {Quantise::none, Quantise::bfloat16, Quantise::int8, Quantise::int4}) {
            Engine engine(shape, tensors, how, 3);
            Cache whole(shape, 60, engine.cache_type), cut(shape, 80, engine.cache_type);
            std::vector<float> at_once(shape.vocab), by_one(shape.vocab), copied(shape.vocab);
            engine.read(ids.data(), 60, whole, false, at_once.data());
            engine.read(ids.data(), 45, cut, false, by_one.data());
            cut.truncate(40);
            engine.read(ids.data() + 40, 5, cut, false, by_one.data());
            Cache other(shape, 60, engine.cache_type);
            other.copy(cut);
            for (int64_t i = 45; i < 60; ++i) {
                Cache* both[] = {&cut, &other};
                const int64_t two[] = {ids[i], ids[i]};
                std::vector<float> logits(2 * shape.vocab);
                engine.decode(two, both, 2, logits.data());
                by_one.assign(logits.begin(), logits.begin() + shape.vocab);
                copied.assign(logits.begin() + shape.vocab, logits.end());
            }
            CHECK(by_one == copied);
            const float bound = how == Quantise::none ? 1e-3f : 0.15f;
            for (int64_t v = 0; v < shape.vocab; ++v) CHECK(std::abs(at_once[v] - by_one[v]) < bound);
        }
    }
    force("");
}

TEST(the_engine_refuses_what_does_not_fit) {
    const Shape shape = small();
    std::vector<std::vector<float>> memory;
    auto tensors = weights(shape, memory);
    Engine engine(shape, tensors, Quantise::int8, 2);
    Cache cache(shape, 3, engine.cache_type), wide(shape, 3, FLOAT32);
    std::vector<float> logits(shape.vocab);
    const int64_t ids[] = {0, 1, 2, 3}, bad[] = {shape.vocab};
    const auto refused = [](const auto& call) {
        try {
            call();
        } catch (const Error&) {
            return true;
        }
        return false;
    };
    CHECK(refused([&] { engine.read(ids, 4, cache, false, logits.data()); }));
    CHECK(refused([&] { engine.read(bad, 1, cache, false, logits.data()); }));
    CHECK(refused([&] { engine.read(ids, 1, wide, false, logits.data()); }));
    CHECK(refused([&] { cache.truncate(1); }));
    tensors.erase("blocks.1.mlp.up.weight");
    CHECK(refused([&] { Engine(shape, tensors, Quantise::none, 1); }));
}
