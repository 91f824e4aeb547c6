// Large memory: aligned for vectors, on pages of 2 MB where that pays.
#pragma once
#include <cstdint>
#include <memory>

namespace pylm::cpu {

/// Asks for pages of 2 MB under a large result before it is written: of 4 KB its first writing faults 512 times as
/// often, and streams through it stop at every page (one thread copies 44 GB/s here instead of 29).
void advise_huge_pages(void* data, int64_t bytes);

/// Memory for vectors, uninitialised.
class Block {
  public:
    Block() = default;
    explicit Block(int64_t bytes);
    char* data() const { return memory.get(); }
    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(memory.get());
    }

  private:
    struct Free {
        void operator()(char* memory) const;
    };
    std::unique_ptr<char, Free> memory;
};

}  // namespace pylm::cpu
