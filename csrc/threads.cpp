// The pool of threads: its own workers, or the OpenMP pool that torch brought; both run parallel regions.
#include "threads.hpp"

#include <dlfcn.h>
#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace pylm {
namespace {

// libgomp's entry for a parallel region; LLVM's libomp offers the same symbol on Linux.
using OpenMPParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
std::atomic<OpenMPParallel> openmp{nullptr};

thread_local bool inside = false;

struct Job {
    const std::function<void(int64_t)>* body;
    int64_t count;
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error{};
    int64_t error_at = 0;
    std::mutex error_lock{};

    void work() noexcept {
        inside = true;
        for (int64_t i; !failed.load(std::memory_order_relaxed) && (i = next.fetch_add(1)) < count;) {
            try {
                (*body)(i);
            } catch (...) {
                const std::lock_guard lock(error_lock);
                // all below were begun before, so that the first of those that fail is told, whichever thread is faster
                if (!error || i < error_at) {
                    error = std::current_exception();
                    error_at = i;
                }
                failed = true;
            }
        }
        inside = false;
    }
};

void run_job(void* job) { static_cast<Job*>(job)->work(); }

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// Workers sleep on a condition; a short spin first, since the regions of one training step follow each other closely.
class Pool {
  public:
    void run(Job& job, int helpers) {
        const std::lock_guard one_region(region);
        grow(helpers);
        {
            const std::lock_guard lock(mutex);
            current = &job;
            wanted = std::min<int>(helpers, workers.size());
            busy = wanted;
            generation.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
        job.work();
        // the job lives on the caller's stack: no worker may hold it when we return
        for (int spins = 0; busy.load(std::memory_order_acquire) > 0 && spins < SPINS; ++spins) pause();
        std::unique_lock lock(mutex);
        done.wait(lock, [&] { return busy.load(std::memory_order_acquire) == 0; });
        current = nullptr;
    }

  private:
    static constexpr int SPINS = 2000;

    void grow(int helpers) {
        while (static_cast<int>(workers.size()) < helpers) {
            const int index = static_cast<int>(workers.size());
            workers.emplace_back([this, index, seen = generation.load()]() mutable { serve(index, seen); });
            workers.back().detach();  // they live as long as the process, which may end while they sleep
        }
    }

    void serve(int index, uint64_t seen) {
        for (;;) {
            for (int spins = 0; generation.load(std::memory_order_acquire) == seen && spins < SPINS; ++spins) pause();
            Job* job = nullptr;
            {
                std::unique_lock lock(mutex);
                wake.wait(lock, [&] { return generation.load(std::memory_order_relaxed) != seen; });
                seen = generation.load(std::memory_order_relaxed);
                if (index < wanted) job = current;
            }
            if (!job) continue;
            job->work();
            if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                const std::lock_guard lock(mutex);
                done.notify_one();
            }
        }
    }

    std::mutex region, mutex;
    std::condition_variable wake, done;
    std::atomic<uint64_t> generation{0};
    std::atomic<int> busy{0};
    int wanted = 0;
    Job* current = nullptr;
    std::vector<std::thread> workers;
};

// Never destroyed: detached workers may still wait on its members while the process exits.
std::atomic<Pool*> pool{nullptr};
std::mutex pool_lock;

Pool& the_pool() {
    Pool* found = pool.load(std::memory_order_acquire);
    if (found) return *found;
    const std::lock_guard lock(pool_lock);
    if (!(found = pool.load())) {
        found = new Pool;
        pool.store(found, std::memory_order_release);
        // a forked child has the pool's memory but none of its threads: it starts over
        static const int once = pthread_atfork([] { pool_lock.lock(); }, [] { pool_lock.unlock(); },
                                               [] {
                                                   pool.store(nullptr);
                                                   pool_lock.unlock();
                                               });
        (void)once;
    }
    return *found;
}

}  // namespace

int cores() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

bool share_openmp() {
    // SAFETY: the symbol, where present, has had this signature since GCC 4.9
    const auto found = reinterpret_cast<OpenMPParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    if (found) openmp.store(found, std::memory_order_release);
    return found != nullptr;
}

const char* pool_name() { return openmp.load() ? "openmp" : "own"; }

void parallel(int threads, int64_t count, const std::function<void(int64_t)>& body) {
    if (count <= 0) return;
    const int64_t team = std::min<int64_t>(threads > 0 ? threads : cores(), count);
    if (team <= 1 || inside) {
        for (int64_t i = 0; i < count; ++i) body(i);
        return;
    }
    Job job{&body, count};
    if (const auto borrowed = openmp.load(std::memory_order_acquire))
        borrowed(run_job, &job, static_cast<unsigned>(team), 0);
    else
        the_pool().run(job, static_cast<int>(team) - 1);
    if (job.error) std::rethrow_exception(job.error);
}

void Team::wait() {
    if (size == 1) return;
    const uint32_t mine = round.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
        arrived.store(0, std::memory_order_relaxed);
        round.store(mine + 1, std::memory_order_release);
        return;
    }
    // the parts of a task are microseconds long; a thread that waits longer has lost its core to somebody
    for (int spins = 0; round.load(std::memory_order_acquire) == mine; ++spins) {
        if (spins < 4000)
            pause();
        else
            std::this_thread::yield();
    }
}

void together(int threads, const std::function<void(Team&, int)>& body) {
    const int size = inside ? 1 : std::max(1, threads > 0 ? threads : cores());
    Team team(size);
    if (size == 1) return body(team, 0);
    const std::function<void(int64_t)> member = [&](int64_t i) { body(team, static_cast<int>(i)); };
    Job job{&member, size};
    the_pool().run(job, size - 1);  // each thread takes one member: none is done before all have come to a wait
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace pylm
