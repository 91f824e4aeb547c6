// Fills slots ahead of the loop on threads of its own, in the order of steps.
#include "loader/ring.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "error.hpp"

namespace pylm::loader {

struct Ring::State {
    struct Slot {
        Buffers buffers;
        int64_t step = -1;  // the step that it holds
        int64_t starts = 0;
        std::exception_ptr error;
    };

    State(std::shared_ptr<const Batches> source, const std::vector<Buffers>& lent, int64_t first_step)
        : batches(std::move(source)), first(first_step), next_fill(first_step), next_take(first_step) {
        for (const Buffers& buffers : lent) slots.push_back({buffers, -1, 0, nullptr});
    }

    void work();

    const std::shared_ptr<const Batches> batches;
    std::vector<Slot> slots;
    std::mutex mutex;
    std::condition_variable filled, freed;
    const int64_t first;
    int64_t next_fill, next_take;
    bool stopping = false;
    std::mutex joining;  // of those who close, one waits for the threads and the others for it
    std::vector<std::thread> workers;
};

Ring::Ring(std::shared_ptr<const Batches> batches, std::vector<Buffers> slots, int threads, int64_t first_step)
    : process(::getpid()), state(std::make_unique<State>(std::move(batches), slots, first_step)) {
    try {
        for (int t = 0; t < threads; ++t) state->workers.emplace_back([own = state.get()] { own->work(); });
    } catch (...) {
        close();  // those that were started, where the machine has no more
        throw;
    }
}

Ring::~Ring() { close(); }

void Ring::close() {
    if (!state) return;
    if (process != ::getpid()) {
        // a forked child has neither the threads nor, it may be, the lock: there is nobody to end, and nothing that can
        // be destroyed
        (void)state.release();
        return;
    }
    {
        const std::lock_guard lock(state->mutex);
        state->stopping = true;
    }
    state->freed.notify_all(), state->filled.notify_all();
    const std::lock_guard lock(state->joining);
    for (auto& worker : state->workers) worker.join();
    state->workers.clear();
}

void Ring::State::work() {
    const auto depth = static_cast<int64_t>(slots.size());
    std::unique_lock lock(mutex);
    for (;;) {
        // a step takes the slot of the one `depth` before it, once the loop has let go of that
        freed.wait(lock, [&] { return stopping || next_fill - depth < std::max(first, next_take - HELD); });
        if (stopping) return;
        const int64_t step = next_fill++;
        Slot& slot = slots[step % depth];
        lock.unlock();
        int64_t starts = 0;
        std::exception_ptr error;
        try {
            const Buffers& to = slot.buffers;
            // SAFETY: the binding has checked type and size of the buffers and keeps them alive with the ring;
            // this slot is ours alone until its step is announced below
            starts = to.wide ? batches->fill(step, static_cast<int64_t*>(to.inputs), static_cast<int64_t*>(to.targets),
                                             to.starts, 1)
                             : batches->fill(step, static_cast<int32_t*>(to.inputs), static_cast<int32_t*>(to.targets),
                                             to.starts, 1);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        slot.starts = starts;
        slot.error = error;
        slot.step = step;
        filled.notify_all();
    }
}

Ring::Taken Ring::take(int milliseconds) {
    if (process != ::getpid())
        throw Error(Kind::usage, "a forked process has none of the threads that fill this ring",
                    "close() the loader here and go on: it starts threads of its own");
    std::unique_lock lock(state->mutex);
    const auto depth = static_cast<int64_t>(state->slots.size());
    const auto ready = [&] {
        return state->stopping || state->slots[state->next_take % depth].step == state->next_take;
    };
    if (!state->filled.wait_for(lock, std::chrono::milliseconds(milliseconds), ready)) return {-1, 0};
    if (state->stopping)
        throw Error(Kind::usage, "the ring is closed", "another thread closed the loader, or moved it to another step");
    const State::Slot& slot = state->slots[state->next_take % depth];
    if (slot.error) std::rethrow_exception(slot.error);
    const Taken taken{state->next_take % depth, slot.starts};
    ++state->next_take;
    lock.unlock();
    state->freed.notify_all();
    return taken;
}

}  // namespace pylm::loader
