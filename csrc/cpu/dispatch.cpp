// Reads the processor's features and picks the variant whose table serves it.
#include "cpu/dispatch.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pylm::cpu {
namespace {

#if defined(__x86_64__)
uint64_t enabled_state() {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t(high) << 32) | low;
}

Features detect() {
    Features found;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const bool saves = c >> 27 & 1;  // OSXSAVE: xgetbv faults without it
    const uint64_t state = saves ? enabled_state() : 0;
    const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6, tiles = (state & 0x60000) == 0x60000;
    found.fma = ymm && (c >> 12 & 1);
    found.f16c = ymm && (c >> 29 & 1);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = ymm && (b >> 5 & 1);
    found.avx512f = zmm && (b >> 16 & 1);
    found.avx512dq = zmm && (b >> 17 & 1);
    found.avx512bw = zmm && (b >> 30 & 1);
    found.avx512vl = zmm && (b >> 31 & 1);
    found.avx512_vnni = zmm && (c >> 11 & 1);
    found.amx_bf16 = tiles && (d >> 22 & 1);
    found.amx_tile = tiles && (d >> 24 & 1);
    found.amx_int8 = tiles && (d >> 25 & 1);
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512_bf16 = zmm && (a >> 5 & 1);
    return found;
}
#else
Features detect() {
    Features found;
#if defined(__aarch64__)
    found.neon = true;  // every 64-bit ARM has it
#endif
    return found;
}
#endif

std::string choices() {
    std::string text;
    for (Variant one : available()) text += (text.empty() ? "" : ", ") + std::string(name_of(one));
    return text;
}

Variant choose(const std::string& wanted) {
    const auto here = available();
    if (wanted.empty() || wanted == "auto") return here.back();
    for (Variant one : here)
        if (wanted == name_of(one)) return one;
    for (Variant one : {Variant::scalar, Variant::avx2, Variant::avx512, Variant::neon})
        if (wanted == name_of(one))
            throw Error(Kind::kernel, "PYLM_CPU=" + wanted + ": this processor does not run that variant",
                        "choose among " + choices() + ", or leave PYLM_CPU unset");
    throw Error(Kind::usage, "PYLM_CPU=" + wanted + " names no variant of this build", "choose among " + choices());
}

constexpr int UNDECIDED = -1;
std::atomic<int> decided{UNDECIDED};

}  // namespace

const Features& features() {
    static const Features found = detect();
    return found;
}

std::vector<std::string> Features::names() const {
    std::vector<std::string> list;
    const auto add = [&](bool has, const char* name) {
        if (has) list.emplace_back(name);
    };
    add(avx2, "avx2"), add(fma, "fma"), add(f16c, "f16c"), add(avx512f, "avx512f"), add(avx512bw, "avx512bw");
    add(avx512dq, "avx512dq"), add(avx512vl, "avx512vl"), add(avx512_vnni, "avx512_vnni");
    add(neon, "neon"), add(avx512_bf16, "avx512_bf16"), add(amx_tile, "amx_tile"), add(amx_bf16, "amx_bf16"),
        add(amx_int8, "amx_int8");
    return list;
}

bool Features::serves(Variant variant) const {
    switch (variant) {
        case Variant::scalar:
            return true;
        case Variant::avx2:
            return avx2 && fma && f16c;
        // one variant for Cooper Lake, Sapphire Rapids, Zen 4 and later; AVX-512 without BF16 takes the AVX2 one
        case Variant::avx512:
            return avx2 && fma && avx512f && avx512bw && avx512dq && avx512vl && avx512_vnni && avx512_bf16;
        case Variant::neon:
            return neon;
    }
    return false;
}

const char* name_of(Variant variant) {
    switch (variant) {
        case Variant::scalar:
            return "scalar";
        case Variant::avx2:
            return "avx2";
        case Variant::avx512:
            return "avx512";
        case Variant::neon:
            return "neon";
    }
    return "?";
}

std::vector<Variant> available() {
    std::vector<Variant> list{Variant::scalar};
#if defined(PYLM_X86_VARIANTS)
    for (Variant one : {Variant::avx2, Variant::avx512})
        if (features().serves(one)) list.push_back(one);
#endif
#if defined(PYLM_ARM_VARIANTS)
    if (features().serves(Variant::neon)) list.push_back(Variant::neon);
#endif
    return list;
}

Variant variant() {
    int now = decided.load(std::memory_order_relaxed);
    if (now == UNDECIDED) {
        const char* wanted = std::getenv("PYLM_CPU");
        now = static_cast<int>(choose(wanted ? wanted : ""));
        decided.store(now, std::memory_order_relaxed);
    }
    return static_cast<Variant>(now);
}

void force(const std::string& name) {
    decided.store(name.empty() ? UNDECIDED : static_cast<int>(choose(name)), std::memory_order_relaxed);
}

const Kernels& kernels() {
    switch (variant()) {
#if defined(PYLM_X86_VARIANTS)
        case Variant::avx512:
            return avx512::table;
        case Variant::avx2:
            return avx2::table;
#endif
#if defined(PYLM_ARM_VARIANTS)
        case Variant::neon:
            return neon::table;
#endif
        default:
            return scalar::table;
    }
}

}  // namespace pylm::cpu
