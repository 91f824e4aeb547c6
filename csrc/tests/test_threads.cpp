// The pool: every index once, exceptions, nested and concurrent regions, teams, and forks.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/check.hpp"
#include "threads.hpp"

using pylm::parallel;
using pylm::Team;
using pylm::together;

TEST(every_index_is_visited_once) {
    for (int threads : {1, 2, 3, 8})
        for (int64_t count : {0, 1, 2, 7, 1000}) {
            std::vector<std::atomic<int>> seen(count);
            parallel(threads, count, [&](int64_t i) { seen[i]++; });
            for (auto& one : seen) CHECK(one == 1);
        }
}

TEST(regions_follow_each_other_closely) {
    int64_t total = 0;
    for (int round = 0; round < 2000; ++round) {
        std::atomic<int64_t> sum{0};
        parallel(3, 5, [&](int64_t i) { sum += i; });
        total += sum;
    }
    CHECK(total == 2000 * 10);
}

TEST(an_exception_reaches_the_caller) {
    bool caught = false;
    try {
        parallel(2, 100, [](int64_t i) {
            if (i == 37) throw std::runtime_error("37");
        });
    } catch (const std::runtime_error&) {
        caught = true;
    }
    CHECK(caught);
}

TEST(nested_and_concurrent_regions_end) {
    std::atomic<int> sum{0};
    parallel(2, 4, [&](int64_t) { parallel(2, 4, [&](int64_t) { sum++; }); });
    CHECK(sum == 16);
    std::vector<std::thread> callers;
    for (int c = 0; c < 4; ++c)
        callers.emplace_back([&] {
            for (int round = 0; round < 200; ++round) parallel(3, 6, [&](int64_t) { sum++; });
        });
    for (auto& caller : callers) caller.join();
    CHECK(sum == 16 + 4 * 200 * 6);
}

TEST(a_team_waits_for_all_of_its_members) {
    for (int size : {1, 2, 5}) {
        std::vector<int> written(size, 0);
        std::atomic<int> wrong{0};
        together(size, [&](Team& team, int me) {
            for (int round = 1; round <= 50; ++round) {
                written[me] = round;
                team.wait();
                for (int other = 0; other < team.size; ++other) wrong += written[other] != round;
                team.wait();
            }
        });
        CHECK(wrong == 0);
    }
}

#if !defined(__SANITIZE_THREAD__)  // TSan does not follow threads started after a fork of a threaded process
TEST(a_forked_child_starts_its_own_pool) {
    parallel(2, 2, [](int64_t) {});
    const pid_t child = fork();
    if (child == 0) {
        std::atomic<int> sum{0};
        parallel(2, 10, [&](int64_t) { sum++; });
        _exit(sum == 10 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif
