// Weight matrices as an engine keeps them: copied from a checkpoint's tensors, quantised on the way where asked.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels/table.hpp"
#include "numbers.hpp"

namespace pylm::cpu {

/// A tensor of a checkpoint, whose memory is the caller's.
struct Source {
    Dtype dtype;
    std::vector<int64_t> shape;
    const void* data;
};

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

enum class Quantise { none, bfloat16, int8, int4 };

class Weights {
  public:
    Weights() = default;
    /// The rows of the sources, which have one width, one after another. `none` keeps bfloat16 and widens float16.
    Weights(const std::vector<const Source*>& sources, Quantise how, int threads);
    const Matrix& matrix() const { return view; }
    Stored stored() const { return kind; }
    /// What one product reads.
    int64_t bytes() const;
    /// Row `row` in fp32.
    void row(int64_t row, float* out) const;

  private:
    Block rows, scales;
    Stored kind = Stored::float32;
    Matrix view{};
};

/// A tensor's elements in fp32.
std::vector<float> wide(const Source& source);

}  // namespace pylm::cpu
