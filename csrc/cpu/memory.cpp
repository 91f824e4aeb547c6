// Large memory, asked of the system.
#include "cpu/memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace pylm::cpu {
namespace {

constexpr int64_t HUGE_PAGE = int64_t{2} << 20;

}  // namespace

void advise_huge_pages(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    const auto unit = static_cast<uintptr_t>(HUGE_PAGE), begin = reinterpret_cast<uintptr_t>(data);
    const uintptr_t from = (begin + unit - 1) / unit * unit, to = (begin + static_cast<uintptr_t>(bytes)) / unit * unit;
    // a kernel that has none refuses, which is as well
    if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

void Block::Free::operator()(char* memory) const { std::free(memory); }

Block::Block(int64_t bytes) {
    // what is read through once a token is read faster from pages of 2 MB
    const bool huge = bytes >= 2 * HUGE_PAGE;
    const int64_t unit = huge ? HUGE_PAGE : 64, whole = (bytes + 64 + unit - 1) / unit * unit;
    memory.reset(static_cast<char*>(std::aligned_alloc(unit, whole)));
    if (!memory) throw std::bad_alloc();
    if (huge) advise_huge_pages(memory.get(), whole);
}

}  // namespace pylm::cpu
