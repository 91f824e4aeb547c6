// One pool of threads for the process. Where torch is loaded, its OpenMP pool is borrowed instead: libgomp's threads
// spin for milliseconds after each of torch's operations, and a second pool would fight them for the same cores.
#pragma once
#include <cstdint>
#include <functional>

namespace pylm::cpu {

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

}  // namespace pylm::cpu
