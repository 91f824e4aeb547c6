// What each variant offers: plain functions over ranges, called by the drivers in drive/ and by the engine from as many
// threads as they like.
#pragma once
#include "cpu/args.hpp"

namespace pylm::cpu {

struct Kernels {
    void (*norm_forward[TYPES])(const NormForward&, int64_t begin, int64_t end);
    void (*norm_backward[TYPES])(const NormBackward&, int64_t begin, int64_t end);
    void (*cross_entropy_forward[TYPES])(const CrossEntropy&, int64_t begin, int64_t end);
    void (*cross_entropy_backward[TYPES])(const CrossEntropy&, int64_t begin, int64_t end);
    void (*pair_rows)(const Pairs&, int64_t begin, int64_t end);  // these three are null without bf16 products
    void (*head_dx)(const Head&, int64_t begin, int64_t end, char* scratch);
    void (*head_dweight)(const Head&, int64_t begin, int64_t end, char* scratch);
    void (*activation_forward[ACTS][TYPES])(const Activation&, int64_t begin, int64_t end);
    void (*activation_backward[ACTS][TYPES])(const Activation&, int64_t begin, int64_t end);
    void (*rotate_forward[TYPES])(const Rotation&, int64_t begin, int64_t end);
    void (*rotate_backward[TYPES])(const Rotation&, int64_t begin, int64_t end);
    void (*attention_forward[TYPES])(const Attention&, int64_t unit, char* scratch);
    void (*attention_backward[TYPES])(const Attention&, int64_t unit, char* scratch);
    int64_t (*attention_forward_scratch[TYPES])(int64_t time, int64_t dim);
    int64_t (*attention_backward_scratch[TYPES])(int64_t time, int64_t dim);
    void (*decode_attention[TYPES])(const Decode&, int64_t kv_head, int64_t begin, int64_t end, float* partial);
    /// Rows [begin, end) of the weights times each token's activations: for few tokens, and (whole panels) for many.
    void (*product_few[STORED])(const Product&, int64_t begin, int64_t end);
    void (*product_many[STORED])(const Product&, int64_t begin, int64_t end, char* scratch);
    /// The same for weights in bfloat16, their activations in fp32.
    void (*product_many_exact)(const Product&, int64_t begin, int64_t end, char* scratch);
    int64_t (*product_scratch)(int64_t width);
    /// A row of weights in fp32, int8 before its scale.
    void (*widen_row[STORED])(const Matrix&, int64_t row, float* out);
    /// One token's activations in the forms that few and many tokens with quantised weights want.
    void (*quantise_activations)(const float* x, int64_t width, int8_t* high, int8_t* low, int32_t* sums, float* scale);
    void (*narrow_activations)(const float* x, int64_t width, uint16_t* narrow);
    bool narrow_many;  // whether `many` reads narrow activations where weights are not float32
    void (*gemv_int8)(const Gemv&, int64_t begin, int64_t end);
    uint64_t (*read_all)(const void* data, int64_t begin, int64_t end);
    double (*sum_squares[TYPES])(const void* x, int64_t begin, int64_t end);
    void (*adamw[ADAMW_TYPES])(const AdamW&, int64_t begin, int64_t end);
    void (*muon[TYPES])(const Muon&, char* scratch);  // by the gradient's type; null without bf16 products, as the next
    int64_t (*muon_scratch)(int64_t rows, int64_t columns);
};

namespace scalar {
extern const Kernels table;
}
#if defined(PYLM_ARM_VARIANTS)
namespace neon {
extern const Kernels table;
}
#endif
#if defined(PYLM_X86_VARIANTS)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

}  // namespace pylm::cpu
