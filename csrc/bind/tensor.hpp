// torch tensors as they cross the border without libtorch: whatever has data_ptr(), dtype, shape and is_contiguous()
// is asked for them, and checked here; below there are only pointers. Included in bind/ alone.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/drive/operations.hpp"
#include "error.hpp"

namespace pylm {

enum class Element { float32, bfloat16, int64, int32, int8, other };

struct Tensor {
    char* data = nullptr;
    Element element = Element::other;
    std::vector<int64_t> shape;
    int64_t count = 0;
};

[[noreturn]] inline void refuse_tensor(const char* name, const std::string& what) {
    throw Error(Kind::kernel, std::string(name) + ": " + what);
}

inline Element element_of(const pybind11::handle& dtype) {
    const std::string name = pybind11::str(dtype);
    if (name == "torch.float32") return Element::float32;
    if (name == "torch.bfloat16") return Element::bfloat16;
    if (name == "torch.int8") return Element::int8;
    if (name == "torch.int32") return Element::int32;
    if (name == "torch.int64") return Element::int64;
    return Element::other;
}

inline uintptr_t size_of(Element element) {
    switch (element) {
        case Element::float32:
        case Element::int32:
            return 4;
        case Element::int64:
            return 8;
        case Element::bfloat16:
            return 2;
        default:
            return 1;
    }
}

inline Tensor tensor(const pybind11::handle& object, const char* name, bool contiguous = true) {
    for (const char* part : {"data_ptr", "dtype", "shape", "is_contiguous", "is_cpu"})
        if (!pybind11::hasattr(object, part)) refuse_tensor(name, "not a torch tensor");
    if (!object.attr("is_cpu").cast<bool>()) refuse_tensor(name, "not on the CPU");
    Tensor found;
    found.element = element_of(object.attr("dtype"));
    if (contiguous && !object.attr("is_contiguous")().cast<bool>()) refuse_tensor(name, "not contiguous");
    found.shape = object.attr("shape").cast<std::vector<int64_t>>();
    found.count = 1;
    for (int64_t size : found.shape) found.count *= size;
    // SAFETY: the caller's argument keeps the tensor alive for the length of the call
    found.data = reinterpret_cast<char*>(object.attr("data_ptr")().cast<uintptr_t>());
    if (reinterpret_cast<uintptr_t>(found.data) % size_of(found.element) != 0)
        refuse_tensor(name, "not aligned to its elements");
    return found;
}

inline Tensor expect(const pybind11::handle& object, const char* name, Element element, int64_t count) {
    Tensor found = tensor(object, name);
    if (found.element != element) refuse_tensor(name, "of another dtype than this call needs");
    if (found.count != count)
        refuse_tensor(name, std::to_string(found.count) + " elements where " + std::to_string(count) + " are needed");
    return found;
}

inline Tensor maybe(const pybind11::object& object, const char* name, Element element, int64_t count) {
    return object.is_none() ? Tensor{} : expect(object, name, element, count);
}

inline cpu::Type float_type(const Tensor& found, const char* name) {
    if (found.element == Element::float32) return cpu::FLOAT32;
    if (found.element == Element::bfloat16) return cpu::BFLOAT16;
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
