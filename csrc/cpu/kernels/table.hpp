// What each variant offers: plain functions over ranges, called by the drivers in run.cpp from as many threads as they
// like. Pointers are to whole tensors; sizes are in elements.
#pragma once
#include <stdint.h>

namespace pylm::cpu {

struct NormForward {
    const void *x, *residual;    // residual may be null
    const float *weight, *bias;  // may be null
    void *y, *h;                 // h: x + residual, null without one
    float *mean, *rstd;          // mean is null for rms_norm
    int64_t width;
    float eps, offset;
};
struct NormBackward {
    const void *dy, *dh, *h;  // dh may be null
    const float *weight, *mean, *rstd;
    void* dx;
    float *dweight, *dbias;  // one block's sums, added to; null where not wanted
    int64_t width;
    float offset;
};
struct CrossEntropy {
    const void* logits;
    const int64_t* targets;
    float* losses;  // forward: may be null in backward
    float* lse;
    void* dlogits;       // backward; may be the logits themselves
    const float* grads;  // backward: one a row
    int64_t vocab, stride;
    int64_t ignore_index;
    float z_loss, softcap;  // softcap 0: none
};
struct Activation {
    const void *x, *gate, *dy;
    void *y, *dx, *dgate;
};
struct AdamW {
    void *p, *g, *m, *v;
    void* copy;  // bf16 copy of p, may be null
    float lr, beta1, beta2, eps, decay, scale, correction1, correction2;
};

struct Strides {
    int64_t batch, time, head;  // in elements; the head's own dimension lies side by side
};
// Heads normalised where there is a weight, then rotated. x: [batch, time, heads, dim].
struct Rotation {
    const void *x, *dy;
    void *out, *dx;
    Strides sx, so, sdy, sdx;
    const float *cos, *sin;    // [positions, half]
    const int32_t* positions;  // [time] for each batch, `position_stride` apart; null: they count up
    const float* weight;       // [dim], may be null
    float *rstd, *dweight;     // [batch, time, heads]; one block's sums, added to; null without a weight
    int64_t batch, time, heads, dim, half, offset, position_stride;
    float eps;
    bool interleaved;
};
struct Attention {
    const void *q, *k, *v, *dout;
    void *out, *dq, *dk, *dv;
    float* lse;            // [batch, heads, time]
    const int32_t* first;  // [batch, time]: the earliest key that each query may attend to; never falls within a row
    Strides sq, sk, sv, so, sd, sdq, sdk, sdv;
    int64_t batch, time, heads, kv_heads, dim;
    float scale;
};

constexpr int64_t KEYS_AT_ONCE = 256, DECODE_DIM = 512;
struct Decode {
    const void *q, *k, *v;  // q: [batch, heads, dim]; the caches by strides
    Strides sk, sv;
    int64_t batch, heads, kv_heads, dim;
    float scale;
};
struct Gemv {
    const int8_t* weights;  // [rows, width]
    const float *scales, *x;
    float* y;
    int64_t width;
};

enum class Act { gelu, gelu_tanh, relu2, swiglu };
constexpr int ACTS = 4;
/// Widest head that is rotated.
constexpr int64_t ROTATED_DIM = 1024;
/// float32, bfloat16
constexpr int TYPES = 2;
/// AdamW's types of parameter, gradient and moments: all fp32; fp32 with bf16 gradients; all bf16.
constexpr int ADAMW_TYPES = 3;

struct Kernels {
    void (*norm_forward[TYPES])(const NormForward&, int64_t begin, int64_t end);
    void (*norm_backward[TYPES])(const NormBackward&, int64_t begin, int64_t end);
    void (*cross_entropy_forward[TYPES])(const CrossEntropy&, int64_t begin, int64_t end);
    void (*cross_entropy_backward[TYPES])(const CrossEntropy&, int64_t begin, int64_t end);
    void (*activation_forward[ACTS][TYPES])(const Activation&, int64_t begin, int64_t end);
    void (*activation_backward[ACTS][TYPES])(const Activation&, int64_t begin, int64_t end);
    void (*rotate_forward[TYPES])(const Rotation&, int64_t begin, int64_t end);
    void (*rotate_backward[TYPES])(const Rotation&, int64_t begin, int64_t end);
    void (*attention_forward[TYPES])(const Attention&, int64_t unit, char* scratch);
    void (*attention_backward[TYPES])(const Attention&, int64_t unit, char* scratch);
    int64_t (*attention_forward_scratch[TYPES])(int64_t time, int64_t dim);
    int64_t (*attention_backward_scratch[TYPES])(int64_t time, int64_t dim);
    void (*decode_attention[TYPES])(const Decode&, int64_t sequence, int64_t kv_head, int64_t begin, int64_t end,
                                    float* partial);
    void (*gemv_int8)(const Gemv&, int64_t begin, int64_t end);
    uint64_t (*read_all)(const void* data, int64_t begin, int64_t end);
    double (*sum_squares[TYPES])(const void* x, int64_t begin, int64_t end);
    void (*adamw[ADAMW_TYPES])(const AdamW&, int64_t begin, int64_t end);
};

namespace scalar {
extern const Kernels table;
}
#if defined(PYLM_X86_VARIANTS)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

/// The table of the variant in use.
const Kernels& kernels();

}  // namespace pylm::cpu
