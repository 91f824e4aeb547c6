// Shards of every format and damaged ones, orders, packing, and rings under threads that take and close at once.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "error.hpp"
#include "loader/ring.hpp"
#include "tests/check.hpp"

using namespace pylm::loader;

namespace {

std::string scratch(const char* name) { return "/tmp/pylm-native-test-" + std::to_string(getpid()) + "-" + name; }

std::string write_tokens(const char* name, const std::vector<uint16_t>& tokens) {
    const std::string path = scratch(name);
    std::FILE* file = std::fopen(path.c_str(), "wb");
    CHECK(file && std::fwrite(tokens.data(), 2, tokens.size(), file) == tokens.size());
    std::fclose(file);
    return path;
}

std::vector<uint16_t> counting(size_t count) {
    std::vector<uint16_t> tokens(count);
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

}  // namespace

TEST(a_permutation_visits_everything_once) {
    for (uint64_t size : {1, 2, 3, 4, 5, 16, 17, 63, 1000, 4097})
        for (uint64_t key : {0, 1, 99}) {
            std::vector<int> seen(size);
            const Permutation shuffled(size, key);
            for (uint64_t i = 0; i < size; ++i) {
                const uint64_t at = shuffled(i);
                CHECK(at < size && !seen[at]++);
            }
        }
}

TEST(shares_sum_and_none_is_empty) {
    std::mt19937 random(1);
    for (int round = 0; round < 200; ++round) {
        std::vector<double> weights(1 + random() % 9);
        for (double& weight : weights) weight = round % 3 ? 1.0 + random() % 1000 : (random() % 5 ? 1e-7 : 1.0);
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (double& weight : weights) weight /= sum;
        const auto slots = share_slots(weights);
        CHECK(std::accumulate(slots.begin(), slots.end(), uint64_t{0}) == Order::SLOTS);
        CHECK(*std::min_element(slots.begin(), slots.end()) >= 1);
    }
}

TEST(packing_keeps_every_pair_and_fits) {
    std::mt19937 random(2);
    for (int32_t capacity : {1, 2, 63, 64, 65, 200, 5000}) {
        std::vector<int64_t> starts{0};
        for (int d = 0; d < 500; ++d) starts.push_back(starts.back() + random() % (2 * capacity + 3));
        const Packed packed = pack(starts, capacity);
        std::vector<int> covered(starts.back() + 1);
        int64_t pairs = 0;
        for (int64_t w = 0; w < packed.windows(); ++w) {
            int64_t used = 0;
            for (int64_t s = packed.first[w]; s < packed.first[w + 1]; ++s) {
                used += packed.segments[s].length;
                for (int32_t i = 0; i < packed.segments[s].length; ++i) CHECK(!covered[packed.segments[s].start + i]++);
            }
            CHECK(used > 0 && used <= capacity);
            pairs += used;
        }
        int64_t expected = 0;
        for (size_t d = 0; d + 1 < starts.size(); ++d) expected += std::max<int64_t>(0, starts[d + 1] - starts[d] - 1);
        CHECK(pairs == expected);
    }
}

TEST(a_ring_gives_what_fill_gives_while_buffers_are_reused) {
    const std::string path = write_tokens("ring.bin", counting(5000));
    const auto batches = std::make_shared<Batches>(std::vector<DatasetSpec>{{"ring", {{path, 2, 5000, ""}}, 0, 1}},
                                                   Shape{16, 4, 16, 0, 1, false, 7});
    for (int threads : {1, 3}) {
        std::vector<std::vector<int64_t>> memory(2 * 5, std::vector<int64_t>(64));
        std::vector<Buffers> slots;
        for (int s = 0; s < 5; ++s) slots.push_back({memory[2 * s].data(), memory[2 * s + 1].data(), nullptr, true});
        Ring ring(batches, slots, threads, 3);
        std::vector<int64_t> inputs(64), targets(64);
        for (int64_t step = 3; step < 300; ++step) {
            const auto taken = ring.take(10000);
            CHECK(taken.slot >= 0);
            batches->fill(step, inputs.data(), targets.data(), nullptr, 1);
            CHECK(memory[2 * taken.slot] == inputs && memory[2 * taken.slot + 1] == targets);
        }
    }
    std::remove(path.c_str());
}

TEST(a_ring_is_closed_and_taken_from_by_many_threads_at_once) {
    const std::string path = write_tokens("closed.bin", counting(5000));
    const auto batches = std::make_shared<Batches>(std::vector<DatasetSpec>{{"ring", {{path, 2, 5000, ""}}, 0, 1}},
                                                   Shape{16, 4, 16, 0, 1, false, 7});
    for (int round = 0; round < 40; ++round) {
        std::vector<std::vector<int64_t>> memory(2 * 4, std::vector<int64_t>(64));
        std::vector<Buffers> slots;
        for (int s = 0; s < 4; ++s) slots.push_back({memory[2 * s].data(), memory[2 * s + 1].data(), nullptr, true});
        const auto ring = std::make_unique<Ring>(batches, slots, 2, 0);
        std::atomic<int64_t> taken{0}, refused{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 3; ++t)
            threads.emplace_back([&] {
                try {
                    for (;;) taken += ring->take(10000).slot >= 0;
                } catch (const pylm::Error& error) {
                    refused += error.message == "the ring is closed";
                }
            });
        while (taken < round) std::this_thread::yield();
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&, t] {
                ring->close();
                for (int s = t; s < 8; s += 2) std::fill(memory[s].begin(), memory[s].end(), -1);  // they are ours now
            });
        threads[3].join(), threads[4].join();
        for (int t = 0; t < 3; ++t) threads[t].join();
        CHECK(refused == 3);
        for (const auto& slot : memory) CHECK(std::count(slot.begin(), slot.end(), -1) == 64);
    }
    std::remove(path.c_str());
}

TEST(a_window_longer_than_all_text_costs_no_memory) {
    const Packed one = pack({0, 5, 5, 9, 30}, INT32_MAX), same = pack({0, 5, 5, 9, 30}, 31);
    CHECK(one.windows() == 1 && one.segments.size() == 3 && one.first == same.first);
    for (size_t s = 0; s < 3; ++s)
        CHECK(one.segments[s].start == same.segments[s].start && one.segments[s].length == same.segments[s].length);
    CHECK(pack({0}, INT32_MAX).windows() == 0 && pack({0, 1}, 7).windows() == 0);
}

TEST(bad_shards_are_errors) {
    const std::string odd = scratch("odd.bin");
    std::FILE* file = std::fopen(odd.c_str(), "wb");
    std::fwrite("abc", 1, 3, file);
    std::fclose(file);
    const auto refuses = [](const ShardSpec& spec) {
        try {
            Shard shard(spec);
        } catch (const pylm::Error& error) {
            return error.message.find(spec.path) != std::string::npos;
        }
        return false;
    };
    CHECK(refuses({odd, 0, -1, ""}));
    CHECK(refuses({odd, 2, 1, ""}));
    CHECK(refuses({scratch("absent.bin"), 0, -1, ""}));
    CHECK(refuses({"/tmp", 0, -1, ""}));
    std::remove(odd.c_str());
}

TEST(random_bytes_are_tokens_or_errors_never_more) {
    std::mt19937 random(3);
    const std::string path = scratch("noise.bin"), index = scratch("noise.idx"), mask = scratch("noise.mask");
    const std::string heads[] = {"", "\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'shape': (", "\x93NUMPY", "MMIDIDX"};
    for (int round = 0; round < 400; ++round) {
        std::string bytes = heads[round % 4];
        for (int i = random() % 200; i > 0; --i) bytes += static_cast<char>(random());
        if (round % 5 == 0) {
            const int32_t magic[3] = {20240520, 1, static_cast<int32_t>(random() % 100)};
            bytes = std::string(reinterpret_cast<const char*>(magic), 12) + std::string(random() % 2000, 'x');
        }
        for (const std::string* to : {&path, &index, &mask}) {
            std::FILE* file = std::fopen(to->c_str(), "wb");
            // a mask of about the right size: a bit a token
            std::fwrite(bytes.data(), 1, to == &mask ? bytes.size() / 16 : bytes.size(), file);
            std::fclose(file);
        }
        try {
            const Shard shard(
                {path, static_cast<int>(random() % 3) * 2, -1, round % 3 ? "" : index, round % 4 == 1 ? mask : ""});
            uint64_t sum = 0;
            for (int64_t i = 0; shard.masked() && i < shard.tokens(); ++i) sum += shard.counts(i);
            for (int64_t i = 0; i < shard.tokens() * shard.width(); ++i) sum += shard.data()[i];
            CHECK(sum < ~uint64_t{0});
        } catch (const pylm::Error&) {
        }
    }
    for (const std::string& one : {path, index, mask}) std::remove(one.c_str());
}

TEST(segments_of_one_length_trade_places) {
    std::vector<int64_t> starts{0};
    for (int d = 0; d < 60; ++d) starts.push_back(starts.back() + 2 + d % 7);
    Packed packed = pack(starts, 16);
    trade(packed);
    CHECK(packed.first_of.back() == static_cast<int64_t>(packed.segments.size()));
    for (size_t s = 0; s < packed.segments.size(); ++s) {
        const auto [start, length] = packed.segments[s];
        CHECK(packed.by_length[packed.first_of[length] + packed.among[s]] == start);
        CHECK(packed.among[s] < packed.first_of[length + 1] - packed.first_of[length]);
    }
}
