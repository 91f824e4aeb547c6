// Batches made ahead of the loop, in buffers that are used again and again.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <memory>
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

/// Any thread may take and close, at the same time too.
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
    /// The next step's slot, waiting for at most `milliseconds`; rethrows what went wrong while it was filled. An Error
    /// once the ring is closed, also where that happens meanwhile.
    Taken take(int milliseconds);
    /// Ends the threads: when this returns nobody writes to the buffers any more.
    void close();

  private:
    struct State;
    const pid_t process;
    std::unique_ptr<State> state;
};

}  // namespace pylm::loader
