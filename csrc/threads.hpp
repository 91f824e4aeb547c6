// One pool of threads for the process. Where torch is loaded, its OpenMP pool is borrowed instead: libgomp's threads
// spin for milliseconds after each of torch's operations, and a second pool would fight them for the same cores.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>

namespace pylm {

/// Cores that this process may use.
int cores();

/// From now on run on the OpenMP pool that some library brought into the process; false where there is none.
bool share_openmp();
/// "openmp" or "own".
const char* pool_name();

/// Call `body(i)` once for each i in [0, count) on up to `threads` threads (0: all cores), the caller being one of
/// them. Which thread takes which i is open, so results must not depend on it. Nested calls run serially. The first
/// exception that a body throws is rethrown here when all have ended.
void parallel(int threads, int64_t count, const std::function<void(int64_t)>& body);

/// Threads that work through a task together and wait for each other in it.
class Team {
  public:
    explicit Team(int size) : size(size) {}
    /// All have come here before any goes on.
    void wait();
    const int size;

  private:
    std::atomic<int> arrived{0};
    std::atomic<uint32_t> round{0};
};

/// Call `body(team, member)` once for each member on `threads` threads of the process's own pool, the caller among
/// them, all at the same time; every body must wait at least once. None may throw, for the others would wait forever.
void together(int threads, const std::function<void(Team&, int)>& body);

}  // namespace pylm
