// Copies a matrix of a checkpoint, rounded on the way where asked, and picks the products that read it.
#include "cpu/engine/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/dispatch.hpp"
#include "error.hpp"
#include "threads.hpp"

namespace pylm::cpu {
namespace {

void widen(const Source& source, int64_t from, int64_t count, float* out) {
    if (source.dtype == Dtype::float32) {
        std::memcpy(out, static_cast<const char*>(source.data) + from * 4, count * 4);
        return;
    }
    const char* bytes = static_cast<const char*>(source.data) + from * 2;
    for (int64_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, bytes + 2 * i, 2);
        out[i] = source.dtype == Dtype::bfloat16 ? from_bfloat16(bits) : from_float16(bits);
    }
}

void check_finite(const float* x, int64_t width, const std::string& name, int64_t row) {
    for (int64_t i = 0; i < width; ++i)
        if (!std::isfinite(x[i]))
            throw Error(Kind::data,
                        name + " holds " + (std::isnan(x[i]) ? "NaN" : "infinity") + " (row " + std::to_string(row) +
                            ", column " + std::to_string(i) + "), which int8 and int4 cannot hold",
                        "training has diverged before this checkpoint: take an earlier one");
}

// A row of zeros, or of numbers so small that their reciprocal is none, becomes zero.
float finite_or_zero(float reciprocal) { return std::isfinite(reciprocal) ? reciprocal : 0; }

void to_int8(const float* x, int64_t width, uint8_t* out, float* scale) {
    float largest = 0;
    for (int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(x[i]));
    *scale = largest / 127;
    const float inverse = finite_or_zero(127 / largest);
    for (int64_t i = 0; i < width; ++i)
        out[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(x[i] * inverse)) + 128);
}

// The largest value of a group becomes -8, so that all sixteen values are used.
void to_int4(const float* x, int64_t width, uint8_t* out, uint16_t* scales) {
    for (int64_t first = 0; first < width; first += QUANTISED_GROUP) {
        const int64_t end = std::min(width, first + QUANTISED_GROUP);
        float largest = 0;
        for (int64_t i = first; i < end; ++i)
            if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
        const uint16_t scale = to_bfloat16(largest / -8);
        const float inverse = finite_or_zero(1 / from_bfloat16(scale));
        scales[first / QUANTISED_GROUP] = scale;
        const bool upper = first / QUANTISED_GROUP % 2;
        uint8_t* bytes = out + first / QUANTISED_BLOCK * QUANTISED_GROUP;
        for (int64_t i = first; i < end; ++i) {
            const auto value = static_cast<uint8_t>(std::clamp(std::lrintf(x[i] * inverse), -8L, 7L) + 8);
            uint8_t& byte = bytes[i - first];
            byte = static_cast<uint8_t>(upper ? (byte & 15) | value << 4 : (byte & 0xf0) | value);
        }
    }
}

}  // namespace

std::vector<float> wide(const Source& source) {
    int64_t count = 1;
    for (int64_t size : source.shape) count *= size;
    std::vector<float> found(count);
    widen(source, 0, count, found.data());
    return found;
}

Weights::Weights(const std::string& name, const Source& source, Quantise how, int threads)
    : exact(how == Quantise::none) {
    const int64_t count = source.shape[0], width = source.shape[1];
    kind = how == Quantise::int8                                          ? Stored::int8
           : how == Quantise::int4                                        ? Stored::int4
           : how == Quantise::bfloat16 || source.dtype == Dtype::bfloat16 ? Stored::bfloat16
                                                                          : Stored::float32;
    const int64_t blocks = (width + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK;
    view.rows = count, view.width = width;
    view.row_bytes = kind == Stored::float32    ? width * 4
                     : kind == Stored::bfloat16 ? width * 2
                     : kind == Stored::int8     ? blocks * QUANTISED_BLOCK
                                                : blocks * QUANTISED_GROUP;
    rows = Block(count * view.row_bytes);
    view.data = rows.data();
    if (kind == Stored::int8) {
        scales = Block(count * 4);
        view.row_scales = scales.as<float>();
    } else if (kind == Stored::int4) {
        scales = Block(count * blocks * 4);
        view.group_scales = scales.as<uint16_t>();
    }
    parallel(threads, (count + 63) / 64, [&](int64_t part) {
        std::vector<float> line(width);
        for (int64_t r = part * 64; r < std::min(count, (part + 1) * 64); ++r) {
            widen(source, r * width, width, line.data());
            char* to = rows.data() + r * view.row_bytes;
            if (kind == Stored::float32) {
                std::memcpy(to, line.data(), width * 4);
            } else if (kind == Stored::bfloat16) {
                for (int64_t i = 0; i < width; ++i) {
                    const uint16_t bits = to_bfloat16(line[i]);
                    std::memcpy(to + 2 * i, &bits, 2);
                }
            } else if (kind == Stored::int8) {
                check_finite(line.data(), width, name, r);
                std::memset(to, 128, view.row_bytes);
                to_int8(line.data(), width, reinterpret_cast<uint8_t*>(to), scales.as<float>() + r);
            } else {
                check_finite(line.data(), width, name, r);
                std::memset(to, 0x88, view.row_bytes);
                uint16_t* mine = scales.as<uint16_t>() + r * blocks * 2;
                std::fill_n(mine, blocks * 2, uint16_t{0});
                to_int4(line.data(), width, reinterpret_cast<uint8_t*>(to), mine);
            }
        }
    });
}

Form Weights::form(const Kernels& table, bool few) const {
    if (few) return kind == Stored::int8 || kind == Stored::int4 ? Form::bytes : Form::wide;
    return exact || !table.narrow_many ? Form::wide : Form::narrow;
}

void Weights::product(const Kernels& table, Product p, bool few, int64_t begin, int64_t end, char* scratch) const {
    p.w = view;
    if (few)
        table.product_few[static_cast<int>(kind)](p, begin, end);
    else if (exact && kind == Stored::bfloat16)
        table.product_many_exact(p, begin, end, scratch);
    else
        table.product_many[static_cast<int>(kind)](p, begin, end, scratch);
}

int64_t Weights::bytes() const {
    const int64_t scale_bytes = kind == Stored::int8   ? 4
                                : kind == Stored::int4 ? view.row_bytes / QUANTISED_GROUP * 4
                                                       : 0;
    return view.rows * (view.row_bytes + scale_bytes);
}

void Weights::row(int64_t row, float* out) const {
    kernels().widen_row[static_cast<int>(kind)](view, row, out);
    if (kind == Stored::int8)
        for (int64_t i = 0; i < view.width; ++i) out[i] *= view.row_scales[row];
}

}  // namespace pylm::cpu
