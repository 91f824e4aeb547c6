// Compiled once for each variant, with that variant's flags and its name in PYLM_VARIANT.
#include "cpu/table.hpp"

#include "cpu/kernels/activation.hpp"
#include "cpu/kernels/adamw.hpp"
#include "cpu/kernels/attention_backward.hpp"
#include "cpu/kernels/cross_entropy.hpp"
#include "cpu/kernels/decode.hpp"
#include "cpu/kernels/gemv.hpp"
#include "cpu/kernels/head.hpp"
#include "cpu/kernels/norm.hpp"
#include "cpu/kernels/probe.hpp"
#include "cpu/kernels/products.hpp"
#include "cpu/kernels/rope.hpp"

namespace pylm::cpu::PYLM_VARIANT {

#define BOTH(name) {name<float>, name<bf16>}
#define ALL_ACTS(name)                                                                                              \
    {                                                                                                               \
        {name<float, Act::gelu>, name<bf16, Act::gelu>}, {name<float, Act::gelu_tanh>, name<bf16, Act::gelu_tanh>}, \
            {name<float, Act::relu2>, name<bf16, Act::relu2>}, {                                                    \
            name<float, Act::swiglu>, name<bf16, Act::swiglu>                                                       \
        }                                                                                                           \
    }

#define ALL_STORED(name) {name<Stored::float32>, name<Stored::bfloat16>, name<Stored::int8>, name<Stored::int4>}

extern const Kernels table;
const Kernels table{
    BOTH(norm_forward),
    BOTH(norm_backward),
    BOTH(cross_entropy_forward),
    BOTH(cross_entropy_backward),
#if PYLM_LEVEL == 512
    pair_rows,
    head_dx,
    head_dweight,
#else
    nullptr,
    nullptr,
    nullptr,
#endif
    ALL_ACTS(activation_forward),
    ALL_ACTS(activation_backward),
    BOTH(rotate_forward),
    BOTH(rotate_backward),
    BOTH(attention_forward),
    BOTH(attention_backward),
    BOTH(attention_forward_scratch),
    BOTH(attention_backward_scratch),
    BOTH(decode_attention),
    ALL_STORED(product_few),
    ALL_STORED(product_many),
    product_many<Stored::bfloat16, false>,
    product_scratch,
    ALL_STORED(widen_row),
    quantise_activations,
    narrow_activations,
    PYLM_LEVEL == 512,
    gemv_int8,
    read_all,
    BOTH(sum_squares),
    {adamw<float, float, float>, adamw<float, bf16, float>, adamw<bf16, bf16, bf16>},
};

}  // namespace pylm::cpu::PYLM_VARIANT
