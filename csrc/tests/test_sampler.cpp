// The sampler's random bits against published ones, rows alone and together, hostile sizes and values.
#include <cmath>
#include <random>
#include <vector>

#include "error.hpp"
#include "sampler/philox.hpp"
#include "sampler/sampler.hpp"
#include "tests/check.hpp"
#include "threads.hpp"

using namespace pylm::sampler;
using pylm::Dtype;

TEST(philox_gives_the_published_bits) {
    // Random123's known answers for philox4x32-10
    CHECK(philox(0, 0, 0) == 0xe169c58d6627e8d5u);
    CHECK(philox(~0ull, ~0ull, ~0ull) == 0x41c83b0e408f276du);
}

TEST(rows_are_drawn_alike_alone_and_together) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 3);
    const int64_t width = 1000, rows = 32;
    std::vector<float> logits(width * rows);
    for (float& value : logits) value = normal(random);
    Settings settings;
    settings.top_k = 40, settings.top_p = 0.9f, settings.min_p = 0.01f, settings.repetition_penalty = 1.2f;
    const std::vector<int64_t> history{1, 2, 3, 3, 999, 0};
    const auto draw = [&](int64_t r) {
        return sample({logits.data() + r * width, Dtype::float32, width, history.data(), 6, r}, settings, 7, r, 3, true,
                      5);
    };
    std::vector<Choice> together(rows);
    pylm::parallel(4, rows, [&](int64_t r) { together[r] = draw(r); });
    for (int64_t r = 0; r < rows; ++r) {
        const Choice alone = draw(r);
        CHECK(alone.id == together[r].id && alone.logprob == together[r].logprob && alone.top == together[r].top);
    }
}

TEST(odd_sizes_and_hostile_values_are_in_bounds) {
    std::mt19937 random(2);
    for (int round = 0; round < 2000; ++round) {
        const int64_t width = 1 + random() % 70;
        std::vector<float> logits(width);
        for (float& value : logits) {
            const int kind = random() % 12;
            value = kind == 0 ? -INFINITY : kind == 1 ? 1e30f : kind == 2 ? -1e30f : static_cast<float>(random() % 7);
            if (round % 97 == 0 && kind == 3) value = NAN;
        }
        Settings settings;
        settings.temperature = round % 5 == 0 ? 0 : 0.1f + random() % 30 / 10.0f;
        settings.top_k = random() % (width + 1);
        settings.top_p = (1 + random() % 100) / 100.0f;
        settings.min_p = random() % 100 / 100.0f;
        try {
            const Choice choice = sample({logits.data(), Dtype::float32, width, nullptr, 0, 0}, settings, round, 0, 0,
                                         true, random() % (width + 1));
            CHECK(choice.id >= 0 && choice.id < width && logits[choice.id] > -INFINITY);
        } catch (const pylm::Error&) {
        }
    }
}
