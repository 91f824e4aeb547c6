// torch tensors as they cross the border without libtorch: whatever has data_ptr(), dtype, shape and is_contiguous()
// is asked for them, and checked here; below there are only pointers. Included in bind/ alone.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dtype.hpp"
#include "error.hpp"

namespace pylm {

struct Tensor {
    char* data = nullptr;
    Dtype dtype = Dtype::other;
    std::vector<int64_t> shape;
    int64_t count = 0;
};

[[noreturn]] inline void refuse_tensor(const char* name, const std::string& what) {
    throw Error(Kind::kernel, std::string(name) + ": " + what);
}

inline Dtype dtype_of(const pybind11::handle& dtype) {
    const std::string name = pybind11::str(dtype);
    constexpr std::string_view PREFIX = "torch.";
    if (name.compare(0, PREFIX.size(), PREFIX) != 0) return Dtype::other;
    const Dtype found = dtype_named(std::string_view(name).substr(PREFIX.size()));
    return found == Dtype::float16 ? Dtype::other : found;  // no kernel takes it
}

inline Tensor tensor(const pybind11::handle& object, const char* name, bool contiguous = true) {
    for (const char* part : {"data_ptr", "dtype", "shape", "is_contiguous", "is_cpu"})
        if (!pybind11::hasattr(object, part)) refuse_tensor(name, "not a torch tensor");
    if (!object.attr("is_cpu").cast<bool>()) refuse_tensor(name, "not on the CPU");
    Tensor found;
    found.dtype = dtype_of(object.attr("dtype"));
    if (contiguous && !object.attr("is_contiguous")().cast<bool>()) refuse_tensor(name, "not contiguous");
    found.shape = object.attr("shape").cast<std::vector<int64_t>>();
    found.count = 1;
    for (int64_t size : found.shape) found.count *= size;
    // SAFETY: the caller's argument keeps the tensor alive for the length of the call
    found.data = reinterpret_cast<char*>(object.attr("data_ptr")().cast<uintptr_t>());
    if (reinterpret_cast<uintptr_t>(found.data) % static_cast<uintptr_t>(size_of(found.dtype)) != 0)
        refuse_tensor(name, "not aligned to its elements");
    return found;
}

inline Tensor expect(const pybind11::handle& object, const char* name, Dtype dtype, int64_t count) {
    Tensor found = tensor(object, name);
    if (found.dtype != dtype) refuse_tensor(name, "of another dtype than this call needs");
    if (found.count != count)
        refuse_tensor(name, std::to_string(found.count) + " elements where " + std::to_string(count) + " are needed");
    return found;
}

inline Tensor maybe(const pybind11::object& object, const char* name, Dtype dtype, int64_t count) {
    return object.is_none() ? Tensor{} : expect(object, name, dtype, count);
}

inline Dtype float_type(const Tensor& found, const char* name) {
    if (found.dtype == Dtype::float32 || found.dtype == Dtype::bfloat16) return found.dtype;
    refuse_tensor(name, "float32 and bfloat16 are served");
}

inline int64_t last(const Tensor& found, const char* name) {
    if (found.shape.empty() || found.shape.back() < 1) refuse_tensor(name, "has no last dimension");
    return found.shape.back();
}

template <class T>
T* at(const Tensor& found) {
    return reinterpret_cast<T*>(found.data);
}

}  // namespace pylm
