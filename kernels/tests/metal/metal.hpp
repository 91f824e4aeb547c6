// What a Metal kernel sees when it is compiled by a C++ compiler: the types, address spaces and functions of the Metal
// Shading Language that the kernels here use, in the C++14 that Metal speaks. Pointers know their address space (so
// that a mix is a compile error, as in Metal) and their buffer (so that each access is checked).
#ifndef PYLM_METAL_HPP
#define PYLM_METAL_HPP
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

using uint = uint32_t;
using ushort = uint16_t;
using ulong = uint64_t;

// Arithmetic on 16-bit floats is left out on purpose: the kernels compute in float, and forgetting the cast does not
// compile. Metal converts from float implicitly; here it must be written, so that every rounding is seen.
template <class Bits>
struct Short {
    Bits bits;
    Short() = default;
    explicit Short(float value) : bits(Bits::from(value)) {}
    operator float() const { return bits.wide(); }
    friend Short operator+(Short, Short) = delete;
    friend Short operator-(Short, Short) = delete;
    friend Short operator*(Short, Short) = delete;
    friend Short operator/(Short, Short) = delete;
};
struct HalfBits {
    _Float16 value;
    static HalfBits from(float wide) { return {static_cast<_Float16>(wide)}; }
    float wide() const { return static_cast<float>(value); }
};
struct BfloatBits {
    uint16_t value;
    static BfloatBits from(float wide) {
        uint32_t u;
        memcpy(&u, &wide, 4);
        if ((u & 0x7fffffff) > 0x7f800000) return {0x7fc0};
        return {static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
    }
    float wide() const {
        uint32_t u = static_cast<uint32_t>(value) << 16;
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
};
using half = Short<HalfBits>;
using bfloat = Short<BfloatBits>;
using float16_t = half;
using bfloat16_t = bfloat;

struct uint3 {
    uint x, y, z;
};
struct float2 {
    float x, y;
    float& operator[](int i) { return i == 0 ? x : y; }
    float operator[](int i) const { return i == 0 ? x : y; }
};

// What the runtime (fibres.cpp) does for a kernel.
struct Region;  // a buffer, or an array in threadgroup memory
extern "C" {
void metal_outside(const Region*, int64_t element);  // does not return
void metal_read(const Region*, int64_t element);     // of memory that somebody writes: is the value settled?
void metal_write(const Region*, int64_t element);
Region* metal_threadgroup_array(int slot, const char* name, int64_t count, int size);
void metal_barrier(int line, bool whole_threadgroup, uint flags);
const void* metal_exchange(int kind, int line, const void* mine, int size);    // everybody's, 16 bytes a lane
void metal_product(int line, const float* a, const float* b, float* product);  // two elements a lane, each
uint metal_lane();
uint metal_lanes();
uint3 metal_position(int which);
}
struct Region {
    char* base;
    int64_t count;  // elements
    int size;       // bytes of one
    bool written;   // by the kernel, so that reads and writes are ordered by barriers, or they are races
    const char* name;
    void* shadow;
};

struct device_space {};
struct constant_space {};
struct threadgroup_space {};

// An element that may be assigned: reads and writes are told apart and checked.
template <class T>
struct Element {
    const Region* region;
    int64_t at;
    T& raw() const { return reinterpret_cast<T*>(region->base)[at]; }
    T load() const {
        metal_read(region, at);
        return raw();
    }
    operator T() const { return load(); }
    template <class U = T, class = typename std::enable_if<std::is_class<U>::value>::type>
    explicit operator float() const {
        return float(load());
    }
    const Element& operator=(T value) const {
        metal_write(region, at);
        raw() = value;
        return *this;
    }
    const Element& operator=(const Element& other) const { return *this = other.load(); }
    Element(const Element&) = default;
    Element(const Region* r, int64_t i) : region(r), at(i) {}
    const Element& operator+=(T value) const { return *this = load() + value; }
    const Element& operator-=(T value) const { return *this = load() - value; }
    const Element& operator*=(T value) const { return *this = load() * value; }
};

template <class T, class Space>
struct Pointer {
    using Plain = typename std::remove_const<T>::type;
    const Region* region;
    int64_t at;
    Pointer(const Region* r, int64_t i = 0) : region(r), at(i) {}
    template <class U, class = typename std::enable_if<std::is_same<T, const U>::value>::type>
    Pointer(Pointer<U, Space> other) : region(other.region), at(other.at) {}
    template <class I>
    Pointer operator+(I n) const {
        return {region, at + static_cast<int64_t>(n)};
    }
    template <class I>
    Pointer operator-(I n) const {
        return {region, at - static_cast<int64_t>(n)};
    }
    template <class I>
    Pointer& operator+=(I n) {
        return at += static_cast<int64_t>(n), *this;
    }
    template <class I, class U = T>
    typename std::enable_if<std::is_const<U>::value, Plain>::type operator[](I n) const {
        const int64_t i = checked(n);
        if (region->written) metal_read(region, i);
        return reinterpret_cast<const Plain*>(region->base)[i];
    }
    template <class I, class U = T>
    typename std::enable_if<!std::is_const<U>::value, Element<T>>::type operator[](I n) const {
        return {region, checked(n)};
    }
    auto operator*() const { return (*this)[0]; }

  private:
    template <class I>
    int64_t checked(I n) const {
        const int64_t i = at + static_cast<int64_t>(n);
        if (i < 0 || i >= region->count) metal_outside(region, i);
        return i;
    }
};

template <class T, int64_t N>
struct ThreadgroupArray : Pointer<T, threadgroup_space> {
    ThreadgroupArray(int slot, const char* name)
        : Pointer<T, threadgroup_space>(metal_threadgroup_array(slot, name, N, sizeof(T))) {}
};

enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
inline mem_flags operator|(mem_flags a, mem_flags b) { return static_cast<mem_flags>(uint(a) | uint(b)); }
inline void threadgroup_barrier(mem_flags flags, int line = __builtin_LINE()) {
    metal_barrier(line, true, uint(flags));
}
inline void simdgroup_barrier(mem_flags flags, int line = __builtin_LINE()) { metal_barrier(line, false, uint(flags)); }

template <class T>
T metal_lane_of(const void* all, uint lane) {
    T value;
    memcpy(&value, static_cast<const char*>(all) + 16 * lane, sizeof(T));
    return value;
}
// Metal adds in an order of its own, so do not count on this one.
#define METAL_FOLD(name, kind, combine)                                                             \
    template <class T>                                                                              \
    T metal_##name(T mine, int line) {                                                              \
        const void* all = metal_exchange(kind, line, &mine, sizeof(T));                             \
        T a = metal_lane_of<T>(all, 0);                                                             \
        for (uint lane = 1; lane < metal_lanes(); lane++) {                                         \
            T b = metal_lane_of<T>(all, lane);                                                      \
            a = combine;                                                                            \
        }                                                                                           \
        return a;                                                                                   \
    }                                                                                               \
    inline float name(float mine, int line = __builtin_LINE()) { return metal_##name(mine, line); } \
    inline int name(int mine, int line = __builtin_LINE()) { return metal_##name(mine, line); }     \
    inline uint name(uint mine, int line = __builtin_LINE()) { return metal_##name(mine, line); }
METAL_FOLD(simd_sum, 1, a + b)
METAL_FOLD(simd_max, 2, a > b ? a : b)
METAL_FOLD(simd_min, 3, a < b ? a : b)
#define METAL_MOVE(name, kind, from)                                                            \
    template <class T>                                                                          \
    T name(T mine, ushort n, int line = __builtin_LINE()) {                                     \
        return metal_lane_of<T>(metal_exchange(kind, line, &mine, sizeof(T)), uint(from) & 31); \
    }
METAL_MOVE(simd_broadcast, 4, n)
METAL_MOVE(simd_shuffle, 5, n)
METAL_MOVE(simd_shuffle_xor, 6, metal_lane() ^ n)
METAL_MOVE(simd_shuffle_down, 7, metal_lane() + n < metal_lanes() ? metal_lane() + n : metal_lane())

// Each lane holds two neighbours of a row, in the layout of Apple's chips: lanes 1 and 8 apart share a row.
template <class T, int R, int C>
struct simdgroup_matrix {
    static_assert(std::is_same<T, float>::value && R == 8 && C == 8, "the kernels here multiply 8 x 8 floats");
    float2 elements;
    simdgroup_matrix() = default;
    explicit simdgroup_matrix(float value) {  // a diagonal, as in Metal
        const uint lane = metal_lane(), row = ((lane / 4) & 4) + (lane / 2) % 4,
                   column = ((lane / 4) & 2) * 2 + (lane % 2) * 2;
        elements = {row == column ? value : 0.0f, row == column + 1 ? value : 0.0f};
    }
    float2& thread_elements() { return elements; }
};
using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
inline void simdgroup_multiply_accumulate(simdgroup_float8x8& d, const simdgroup_float8x8& a,
                                          const simdgroup_float8x8& b, const simdgroup_float8x8& c,
                                          int line = __builtin_LINE()) {
    float product[2];
    metal_product(line, &a.elements.x, &b.elements.x, product);
    d.elements = {c.elements.x + product[0], c.elements.y + product[1]};
}

namespace metal {
#define METAL_MATH(name) \
    inline float name(float x) { return std::name(x); }
#define METAL_FUNCTIONS                                                                                               \
    METAL_MATH(exp)                                                                                                   \
    METAL_MATH(exp2) METAL_MATH(log) METAL_MATH(log2) METAL_MATH(sqrt) METAL_MATH(tanh) inline float rsqrt(float x) { \
        return 1.0f / std::sqrt(x);                                                                                   \
    }
METAL_FUNCTIONS
namespace precise {
METAL_FUNCTIONS
}
namespace fast {
METAL_FUNCTIONS
}
#define METAL_EXTREMES(T)                            \
    inline T max(T a, T b) { return a > b ? a : b; } \
    inline T min(T a, T b) { return a < b ? a : b; }
METAL_EXTREMES(float)
METAL_EXTREMES(int)
METAL_EXTREMES(uint)
inline float abs(float x) { return std::fabs(x); }
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
}  // namespace metal
using namespace metal;
#endif  // PYLM_METAL_HPP
