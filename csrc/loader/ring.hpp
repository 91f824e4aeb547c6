// Batches made ahead of the loop, in buffers that are used again and again.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "loader/batches.hpp"

namespace pylm::loader {

/// One slot's memory, lent by whoever drives the ring: pinned memory for a GPU, plain memory otherwise.
struct Buffers {
    void* inputs;
    void* targets;
    int32_t* starts;
    bool wide;  // int64, else int32
};

class Ring {
  public:
    /// The batch taken last and the one before it stay as they are; a copy that runs beside the loop needs that.
    static constexpr int64_t HELD = 2;

    Ring(std::shared_ptr<const Batches> batches, std::vector<Buffers> slots, int threads, int64_t first_step);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    struct Taken {
        int64_t slot;  // -1: not ready within the time
        int64_t starts;
    };
    /// The next step's slot, waiting for at most `milliseconds`; rethrows what went wrong while it was filled.
    Taken take(int milliseconds);

  private:
    struct Slot {
        Buffers buffers;
        int64_t step = -1;  // the step that it holds
        int64_t starts = 0;
        std::exception_ptr error;
    };
    void work();

    std::shared_ptr<const Batches> batches;
    std::vector<Slot> slots;
    std::mutex mutex;
    std::condition_variable filled, freed;
    const int64_t first;
    int64_t next_fill, next_take;
    bool stopping = false;
    std::vector<std::thread> workers;
};

}  // namespace pylm::loader
