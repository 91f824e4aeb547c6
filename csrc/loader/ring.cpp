#include "loader/ring.hpp"

#include <algorithm>
#include <chrono>

namespace pylm::loader {

Ring::Ring(std::shared_ptr<const Batches> source, std::vector<Buffers> lent, int threads, int64_t first_step)
    : batches(std::move(source)), first(first_step), next_fill(first_step), next_take(first_step) {
    for (const Buffers& buffers : lent) slots.push_back({buffers, -1, 0, nullptr});
    for (int t = 0; t < threads; ++t) workers.emplace_back([this] { work(); });
}

Ring::~Ring() {
    {
        const std::lock_guard lock(mutex);
        stopping = true;
    }
    freed.notify_all();
    for (auto& worker : workers) worker.join();
}

void Ring::work() {
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
    std::unique_lock lock(mutex);
    Slot& slot = slots[next_take % static_cast<int64_t>(slots.size())];
    if (!filled.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return slot.step == next_take; }))
        return {-1, 0};
    if (slot.error) std::rethrow_exception(slot.error);
    const Taken taken{next_take % static_cast<int64_t>(slots.size()), slot.starts};
    ++next_take;
    lock.unlock();
    freed.notify_all();
    return taken;
}

}  // namespace pylm::loader
