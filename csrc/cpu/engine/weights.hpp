// Weight matrices as an engine keeps them: copied from a checkpoint's tensors, quantised on the way where asked.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cpu/memory.hpp"
#include "cpu/table.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

/// A tensor of a checkpoint, whose memory is the caller's.
struct Source {
    Dtype dtype;
    std::vector<int64_t> shape;
    const void* data;
};

/// `none` computes in fp32, whatever a checkpoint's weights are stored in. The others round the weights, what a product
/// of many tokens reads, and keys and values.
enum class Quantise { none, bfloat16, int8, int4 };

/// The form in which a product reads its activations.
enum class Form { wide, narrow, bytes };

class Weights {
  public:
    Weights() = default;
    /// The rows of a matrix. `none` keeps bfloat16 and widens float16, which loses nothing; int8 and int4 refuse what
    /// is not finite, for it would come out of them as a healthy number.
    Weights(const std::string& name, const Source& source, Quantise how, int threads);
    const Matrix& matrix() const { return view; }
    /// What a product with few tokens, or with many, reads.
    Form form(const Kernels& table, bool few) const;
    /// The products of rows [begin, end) with activations in that form; `p` says all but the matrix.
    void product(const Kernels& table, Product p, bool few, int64_t begin, int64_t end, char* scratch) const;
    /// What one product reads.
    int64_t bytes() const;
    /// Row `row` in fp32.
    void row(int64_t row, float* out) const;

  private:
    Block rows, scales;
    Stored kind = Stored::float32;
    bool exact = true;
    Matrix view{};
};

/// A tensor's elements in fp32.
std::vector<float> wide(const Source& source);

}  // namespace pylm::cpu
