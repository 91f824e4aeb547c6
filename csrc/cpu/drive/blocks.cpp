// What blocks of work share: a buffer a thread, and the size of the last cache.
#include "cpu/drive/blocks.hpp"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>

namespace pylm::cpu {
namespace {

// Bytes of the last cache. Linux says it by file; what glibc works out from a processor that a hypervisor shows in part
// has been twelve times too much.
int64_t last_cache() {
    static const int64_t found = [] {
        int64_t kilobytes = 0;
        std::ifstream("/sys/devices/system/cpu/cpu0/cache/index3/size") >> kilobytes;
        return kilobytes > 0 ? kilobytes << 10 : int64_t{32} << 20;
    }();
    return found;
}

}  // namespace

char* scratch(int64_t size) {
    struct Free {
        void operator()(char* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<char, Free> kept;
    thread_local int64_t capacity = 0;
    if (size > capacity) {
        const int64_t whole = (size + 63) / 64 * 64;
        kept.reset(static_cast<char*>(std::aligned_alloc(64, whole)));
        if (!kept) {
            capacity = 0;
            throw std::bad_alloc();
        }
        capacity = whole;
    }
    return kept.get();
}

bool leaves_the_caches(int64_t bytes) { return bytes > last_cache() / 4 * 3; }

}  // namespace pylm::cpu
