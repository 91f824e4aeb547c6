// torch tensors as they cross the border without libtorch: whatever has data_ptr(), dtype, shape and is_contiguous()
// is asked for them, and checked here; below there are only pointers. Included by bind_*.cpp alone.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "error.hpp"

namespace pylm {

enum class Element { float32, bfloat16, int64, int32, int8, uint8, other };

struct Tensor {
    char* data = nullptr;
    Element element = Element::other;
    std::vector<int64_t> shape, strides;  // in elements
    int64_t count = 0;
    bool contiguous = false;
    explicit operator bool() const { return data != nullptr || count == 0; }
};

[[noreturn]] inline void refuse_tensor(const char* name, const std::string& what) {
    throw Error(Kind::kernel, std::string(name) + ": " + what);
}

}  // namespace pylm
