// What this processor can do, which variant of the kernels that means, and that variant's table.
#pragma once
#include <string>
#include <vector>

#include "cpu/table.hpp"
#include "dtype.hpp"

namespace pylm::cpu {

enum class Variant { scalar, avx2, avx512, neon };

struct Features {
    bool avx2 = false, fma = false, f16c = false;
    bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512_vnni = false,
         avx512_bf16 = false;
    bool neon = false;
    bool amx_tile = false, amx_bf16 = false, amx_int8 = false;

    std::vector<std::string> names() const;
    bool serves(Variant variant) const;
};

/// The processor's features that the operating system has switched on, read once.
const Features& features();

const char* name_of(Variant variant);
/// Every variant that was built and that this processor runs, the plainest first.
std::vector<Variant> available();
/// The variant in use: PYLM_CPU where set (an Error where it names none that runs here), else the widest.
Variant variant();
/// For tests: use another variant from now on, as PYLM_CPU would have it; an empty name returns to the default.
void force(const std::string& name);
/// The table of the variant in use.
const Kernels& kernels();
/// Where a table keeps its functions for this type: they are made for float32 and bfloat16.
constexpr int slot(Dtype type) { return type == Dtype::float32 ? 0 : 1; }

}  // namespace pylm::cpu
