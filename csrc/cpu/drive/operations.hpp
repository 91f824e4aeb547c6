// The kernels over whole tensors, on as many threads as are asked for. Results do not depend on how many: what is
// summed over rows is summed in blocks that do not.
#pragma once
#include <cstdint>

#include "cpu/args.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

void norm_forward(Dtype type, const NormForward& a, int64_t rows, int threads);
/// dweight and dbias are written, not added to.
void norm_backward(Dtype type, const NormBackward& a, int64_t rows, int threads);
void cross_entropy_forward(Dtype type, const CrossEntropy& a, int64_t rows, int threads);
void cross_entropy_backward(Dtype type, const CrossEntropy& a, int64_t rows, int threads);
/// Whether this processor has the products of a head's gradients.
bool has_head_products();
/// dx from a chunk of dlogits, and its part of dweight; x comes as it is, x_pairs is made here.
void head_gradients(Head a, const void* x, int threads);
void activation_forward(Act act, Dtype type, const Activation& a, int64_t count, int threads);
void activation_backward(Act act, Dtype type, const Activation& a, int64_t count, int threads);

/// dweight is written, not added to.
void rotate_forward(Dtype type, const Rotation& a, int threads);
void rotate_backward(Dtype type, const Rotation& a, int threads);
void attention_forward(Dtype type, const Attention& a, int threads);
void attention_backward(Dtype type, const Attention& a, int threads);

/// q and out: [batch, heads, dim] of one type; lengths: keys of each sequence.
void decode_attention(Dtype type, const Decode& a, int64_t batch, const int64_t* lengths, void* out, int threads);
/// One head's output from what its pieces gave: maximum, sum and weighted values, `stride` apart.
void join_pieces(const float* partial, int64_t count, int64_t stride, int64_t dim, float* out);
void gemv_int8(const Gemv& a, int64_t rows, int threads);
uint64_t read_all(const void* data, int64_t bytes, int threads);

struct Flat {
    void *p, *g, *m, *v, *copy;
    int64_t count;
    int types;  // of ADAMW_TYPES
    float decay;
};
struct AdamWSettings {
    float lr, beta1, beta2, eps, clip;
    int64_t step;
    float grad_scale;  // gradients are multiplied by this before anything else
};
/// Whether this processor has Muon's products.
bool has_muon();
/// One step of each matrix, whose gradients are of these types; a matrix is one thread's.
void muon_step(const Muon* matrices, const Dtype* types, int64_t count, int threads);

/// The root of the sum of all elements' squares, the same for any number of threads.
struct Elements {
    const void* data;
    int64_t count;
    Dtype type;
};
double norm_of(const Elements* tensors, int64_t count, int threads);

/// One step over all tensors. Returns the gradients' norm before the clip; nothing is changed where it is not finite.
double adamw_step(const Flat* tensors, int64_t count, const AdamWSettings& settings, int threads);

}  // namespace pylm::cpu
