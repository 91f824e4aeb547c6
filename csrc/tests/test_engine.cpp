// The engine on memory of exactly the size that it may touch, with every kind of weights, for the sanitizers to watch;
// what its logits are worth is tested against torch in Python. Here a prompt in one piece, in pieces and token by
// token must agree.
#include "cpu/engine/engine.hpp"

#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cpu/dispatch.hpp"
#include "error.hpp"
#include "tests/check.hpp"
#include "threads.hpp"

using namespace pylm;
using namespace pylm::cpu;

namespace {

Shape small() {
    Shape s{};
    s.layers = 2, s.heads = 4, s.kv_heads = 2, s.head = 11, s.width = 36, s.inner = 51, s.vocab = 71, s.context = 80;
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
        add(attention + "qkv.weight", {s.heads_width() + 2 * s.kv_heads * s.dim(), s.width});
        add(attention + "q_norm.weight", {s.dim()}), add(attention + "k_norm.weight", {s.dim()});
        add(attention + "out.weight", {s.width, s.heads_width()});
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

TEST(branches_are_worth_what_each_is_when_read_alone) {
    const Shape shape = small();
    std::vector<std::vector<float>> memory;
    const auto tensors = weights(shape, memory);
    std::vector<int64_t> header;
    for (int64_t i = 0; i < 40; ++i) header.push_back(i * 13 % shape.vocab);
    // 1 2 3 4, and after 1 2 also 5 6; and 7 beside 1
    const Engine::Branches branches{{1, 2, 3, 4, 5, 6, 7}, {-1, 0, 1, 2, 1, 4, -1}, {1, 1, 3, 5, 6}, {3, 5, 8, 9, 9}};
    const std::vector<std::vector<int64_t>> paths{{1, 2}, {1, 2}, {1, 2, 3, 4}, {1, 2, 5, 6}, {7}};
    for (Variant variant : available()) {
        force(name_of(variant));
        for (Quantise how : {Quantise::none, Quantise::int8})
            for (const bool rooted : {true, false}) {
                Engine engine(shape, tensors, how, 3);
                Cache root(shape, 40, engine.cache_type), alone(shape, 44, engine.cache_type);
                std::vector<float> logits(shape.vocab);
                if (rooted) engine.read(header.data(), 40, root, false, logits.data());
                float nats[5];
                bool likeliest[5];
                engine.score(branches, rooted ? &root : nullptr, nats, likeliest);
                CHECK(root.length == (rooted ? 40 : 0));
                for (size_t j = 0; j < paths.size(); ++j) {
                    alone.truncate(0);
                    if (rooted) engine.read(header.data(), 40, alone, false, logits.data());
                    const auto many = static_cast<int64_t>(paths[j].size());
                    engine.read(paths[j].data(), many, alone, false, logits.data());
                    double sum = 0;
                    int64_t best = 0;
                    for (int64_t v = 0; v < shape.vocab; ++v) {
                        sum += std::exp(static_cast<double>(logits[v]));
                        if (logits[v] > logits[best]) best = v;
                    }
                    const double want = std::log(sum) - logits[branches.targets[j]];
                    CHECK(std::abs(nats[j] - want) < (how == Quantise::none ? 1e-3 : 0.15));
                    if (how == Quantise::none) CHECK(likeliest[j] == (best == branches.targets[j]));
                }
            }
    }
    force("");
}

TEST(the_engine_refuses_what_does_not_fit) {
    const Shape shape = small();
    std::vector<std::vector<float>> memory;
    auto tensors = weights(shape, memory);
    Engine engine(shape, tensors, Quantise::int8, 2);
    Cache cache(shape, 3, engine.cache_type), wide(shape, 3, Dtype::float32);
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
    float nats[1];
    bool likeliest[1];
    const auto scored = [&](const Engine::Branches& branches, Cache* root) {
        return !refused([&] { engine.score(branches, root, nats, likeliest); });
    };
    CHECK(scored({{0}, {-1}, {0}, {1}}, &cache));
    CHECK(scored({{0}, {-1}, {}, {}}, nullptr));
    CHECK(!scored({{0}, {-1}, {0}, {1}}, &wide));
    CHECK(!scored({{0}, {0}, {0}, {1}}, &cache));
    CHECK(!scored({{0}, {-2}, {0}, {1}}, &cache));
    CHECK(!scored({{0}, {}, {0}, {1}}, &cache));
    CHECK(!scored({{shape.vocab}, {-1}, {0}, {1}}, &cache));
    CHECK(!scored({{0}, {-1}, {1}, {1}}, &cache));
    CHECK(!scored({{0}, {-1}, {0}, {shape.vocab}}, &cache));
    CHECK(!scored({{0, 1}, {-1, 0}, {1, 0}, {1, 1}}, &cache));
    std::vector<int64_t> line, before;
    for (int64_t i = 0; i <= shape.context; ++i) line.push_back(0), before.push_back(i - 1);
    CHECK(!scored({line, before, {0}, {1}}, nullptr));
    tensors.erase("blocks.1.mlp.up.weight");
    CHECK(refused([&] { Engine(shape, tensors, Quantise::none, 1); }));
}

TEST(a_cache_serves_one_thread_at_a_time) {
    Shape shape = small();
    shape.context = 400;
    std::vector<std::vector<float>> memory;
    const auto tensors = weights(shape, memory);
    Engine one(shape, tensors, Quantise::none, 1), other(shape, tensors, Quantise::none, 1);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 300; ++i) ids.push_back(i * 7 % shape.vocab);
    std::vector<float> expected(shape.vocab), found(shape.vocab);
    Cache alone(shape, 400, Dtype::float32), shared(shape, 400, Dtype::float32);
    one.read(ids.data(), 300, alone, false, expected.data());
    {
        Cache* caches[] = {&alone, &shared};
        const int64_t two[] = {1, 2};
        std::vector<float> logits(2 * shape.vocab);
        const auto refused = [](const auto& call) {
            try {
                call();
            } catch (const Error& error) {
                return error.message == "the cache is in use by another thread";
            }
            return false;
        };
        const Cache::Use use(shared);
        CHECK(refused([&] { shared.truncate(0); }) && refused([&] { shared.copy(alone); }));
        CHECK(refused([&] { alone.copy(shared); }) && refused([&] { other.decode(two, caches, 2, logits.data()); }));
        CHECK(refused([&] { one.read(two, 2, shared, false, logits.data()); }) && alone.length == 300);
        alone.truncate(300);  // what was refused holds on to nothing
    }
    for (int round = 0; round < 10; ++round) {
        std::atomic<bool> reading{false}, done{false};
        std::thread reader([&] {
            reading = true;
            while (!done) try {
                    one.read(ids.data(), 300, shared, false, found.data());
                    done = true;
                } catch (const Error&) {
                    std::this_thread::yield();
                }
        });
        while (!reading) std::this_thread::yield();
        std::vector<std::thread> others;
        for (int t = 0; t < 3; ++t)
            others.emplace_back([&, t] {
                std::vector<float> logits(shape.vocab);
                Cache target(shape, 400, Dtype::float32);
                Cache* caches[] = {&shared};
                while (!done && shared.length == 0) {
                    try {
                        if (t == 0) shared.truncate(0);
                        if (t == 1) target.copy(shared);
                        if (t == 2) other.decode(ids.data(), caches, 1, logits.data()), shared.truncate(0);
                    } catch (const Error& error) {
                        CHECK(error.message == "the cache is in use by another thread");
                    }
                }
            });
        reader.join();
        for (auto& thread : others) thread.join();
        shared.truncate(0);
    }
    one.read(ids.data(), 300, shared, false, found.data());
    CHECK(found == expected && shared.length == 300);
}

TEST(an_engine_inside_a_parallel_region_does_all_of_its_work) {
    const Shape shape = small();
    std::vector<std::vector<float>> memory;
    const auto tensors = weights(shape, memory);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 40; ++i) ids.push_back(i * 11 % shape.vocab);
    for (int64_t count : {3, 40}) {
        // two engines: threads that used one within regions and without could wait for each other. TSan knows locks by
        // their address, and that they are gone when the heap says so
        Engine engine(shape, tensors, Quantise::none, 3);
        const auto other = std::make_unique<Engine>(shape, tensors, Quantise::none, 3);
        Cache cache(shape, 60, engine.cache_type), within(shape, 60, engine.cache_type);
        std::vector<float> outside(shape.vocab), inside(shape.vocab, -1);
        engine.read(ids.data(), count, cache, false, outside.data());
        parallel(2, 2, [&](int64_t i) {
            if (i == 0) other->read(ids.data(), count, within, false, inside.data());
        });
        CHECK(inside == outside);
    }
}
