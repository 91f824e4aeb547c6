// The table of one variant: compiled once for each, with that variant's flags and its name in PYLM_VARIANT. GCC shares
// one budget for inlining among all kernels of this file, and fuses what it inlines: a field less in CrossEntropy
// changed the instructions of attention, product_many cut in two the last bits of norm_backward's dx. What should
// change nothing is compared by `objdump -d` before and after.
#include "cpu/table.hpp"

#include "cpu/kernels/activation.hpp"
#include "cpu/kernels/adamw.hpp"
#include "cpu/kernels/attention_backward.hpp"
#include "cpu/kernels/cross_entropy.hpp"
#include "cpu/kernels/decode.hpp"
#include "cpu/kernels/gemv.hpp"
#include "cpu/kernels/head.hpp"
#include "cpu/kernels/muon.hpp"
#include "cpu/kernels/norm.hpp"
#include "cpu/kernels/probe.hpp"
#include "cpu/kernels/products_few.hpp"
#include "cpu/kernels/products_many.hpp"
#include "cpu/kernels/rope.hpp"

namespace pylm::cpu::PYLM_VARIANT {

#define BOTH(name) {name<float>, name<bf16>}
#define ACT_OF(name, act) {name<float, act>, name<bf16, act>}
#define ALL_ACTS(name) \
    {ACT_OF(name, Act::gelu), ACT_OF(name, Act::gelu_tanh), ACT_OF(name, Act::relu2), ACT_OF(name, Act::swiglu)}
#define ALL_STORED(name) {name<Stored::float32>, name<Stored::bfloat16>, name<Stored::int8>, name<Stored::int4>}

extern const Kernels table;
// Each slot by its name, for many have one type: a swap would compile.
const Kernels table{
    .norm_forward = BOTH(norm_forward),
    .norm_backward = BOTH(norm_backward),
    .cross_entropy_forward = BOTH(cross_entropy_forward),
    .cross_entropy_backward = BOTH(cross_entropy_backward),
#if PYLM_LEVEL == 512
    .pair_rows = pair_rows,
    .head_dx = head_dx,
    .head_dweight = head_dweight,
#else
    .pair_rows = nullptr,
    .head_dx = nullptr,
    .head_dweight = nullptr,
#endif
    .activation_forward = ALL_ACTS(activation_forward),
    .activation_backward = ALL_ACTS(activation_backward),
    .rotate_forward = BOTH(rotate_forward),
    .rotate_backward = BOTH(rotate_backward),
    .attention_forward = BOTH(attention_forward),
    .attention_backward = BOTH(attention_backward),
    .attention_forward_scratch = BOTH(attention_forward_scratch),
    .attention_backward_scratch = BOTH(attention_backward_scratch),
    .decode_attention = BOTH(decode_attention),
    .product_few = ALL_STORED(product_few),
    .product_many = ALL_STORED(product_many),
    .product_many_exact = product_many<Stored::bfloat16, false>,
    .product_scratch = product_scratch,
    .widen_row = ALL_STORED(widen_row),
    .quantise_activations = quantise_activations,
    .narrow_activations = narrow_activations,
    .narrow_many = PYLM_LEVEL == 512,
    .gemv_int8 = gemv_int8,
    .read_all = read_all,
    .sum_squares = BOTH(sum_squares),
    .adamw = {adamw<float, float, float>, adamw<float, bf16, float>, adamw<bf16, bf16, bf16>},
#if PYLM_LEVEL == 512
    .muon = BOTH(muon),
    .muon_scratch = muon_scratch,
#else
    .muon = {},
    .muon_scratch = nullptr,
#endif
};

}  // namespace pylm::cpu::PYLM_VARIANT
