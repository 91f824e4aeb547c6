// What the kernels are handed. Pointers are to whole tensors; sizes are in elements.
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
    bool streaming;  // the caches hold too little: results are written around them (each block checks that it may)
};
struct NormBackward {
    const void *dy, *dh, *h;  // dh may be null
    const float *weight, *mean, *rstd;
    void* dx;
    float *dweight, *dbias;  // one block's sums, added to; null where not wanted
    int64_t width;
    float offset;
    bool streaming;
};
struct CrossEntropy {
    const void* logits;
    const int64_t* targets;
    float* losses;  // forward: may be null in backward
    float* lse;
    void* dlogits;       // may be the logits themselves; null in a forward without gradients
    const float* grads;  // backward: one a row
    float ahead;         // forward: the gradient of every row's loss
    int64_t vocab, stride;
    int64_t ignore_index;
    float z_loss, softcap;  // softcap 0: none
    bool streaming;
};
// Rows of bf16 and the same in pairs of rows: units of (row 2u, row 2u + 1), `padded` of them, a multiple of 16.
struct Pairs {
    const void* x;
    uint32_t* pairs;
    int64_t rows, width, padded;
};
// Rows of dx and of dweight in a block, whole tiles of six, and pairs of the weight's rows that are packed at a time.
constexpr int64_t HEAD_ROWS = 48, HEAD_CLASSES = 96, HEAD_UNITS = 192;
struct Head {
    const void *dlogits, *weight;  // [rows, vocab], vocab even; [vocab, dim]
    const uint32_t* x_pairs;       // of [rows, dim]
    void *dx, *dweight;            // [rows, dim], written; [vocab, dim], added to
    int64_t rows, vocab, dim, padded;
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

// One matrix, stepped in place; both sizes are multiples of 16.
struct Muon {
    float *parameter, *momentum;
    const void* gradient;
    void* copy;  // bf16 copy of the parameter, may be null
    int64_t rows, columns;
    const float* quintics;  // three coefficients of each round
    int64_t rounds;
    float scale, beta, keep, step;  // of the gradient, the momentum, the parameter, the update
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
    float scale, softcap;  // softcap 0: none
};

constexpr int64_t KEYS_AT_ONCE = 256, DECODE_DIM = 512;
// One query over keys of its sequence.
struct Decode {
    const void *q, *k, *v;  // q: [heads, dim], float32 where `wide`, else of the caches' type; the caches by strides
    Strides sk, sv;
    int64_t heads, kv_heads, dim;
    float scale, softcap;  // softcap 0: none
    bool wide;
};

/// How the weights of an engine are stored: no Dtype, for int8 is value + 128 with a scale a row, and int4 value + 8,
/// two in a byte, with a scale a group.
enum class Stored { float32, bfloat16, int8, int4 };
constexpr int STORED = 4;
/// Quantised rows are whole blocks; a block of int4 holds two groups, in the low and the high halves of its bytes.
constexpr int64_t QUANTISED_BLOCK = 64, QUANTISED_GROUP = 32, WIDEST_PRODUCT = 65536;
struct Matrix {
    const void* data;
    const float* row_scales;         // int8: one a row
    const uint16_t* group_scales;    // int4: bfloat16, one a group
    int64_t rows, width, row_bytes;  // row_bytes: from one row to the next
};
// Activations for a product: as they are, and for quantised weights as 128 · high + low, times `scale`.
struct Activations {
    const float* x;            // [tokens, width]
    const int8_t *high, *low;  // [tokens, whole blocks]
    const int32_t* sums;       // [tokens, groups] of 128 · high + low
    const float* scales;       // [tokens]
    const uint16_t* narrow;    // [tokens, width rounded up to 2]: bfloat16, for many tokens
    int64_t tokens;
};
constexpr int64_t PANEL = 64;  // rows of weights that `product_many` packs at a time
struct Product {
    Matrix w;
    Activations in;
    const float* bias;  // may be null
    float* y;
    int64_t stride;  // of y
    bool add;        // to what y holds
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
/// Tensors are float32 or bfloat16.
constexpr int TYPES = 2;
/// AdamW's types of parameter, gradient and moments: all fp32; fp32 with bf16 gradients; all bf16.
constexpr int ADAMW_TYPES = 3;

}  // namespace pylm::cpu
