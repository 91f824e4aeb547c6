// Every kernel of every variant on buffers of exactly the size that it may touch, for the sanitizers to watch; what
// the results are worth is tested against torch in Python. Here variants must agree with the scalar one.
#include <cmath>
#include <random>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/drive/operations.hpp"
#include "dtype.hpp"
#include "tests/check.hpp"

using namespace pylm::cpu;
using pylm::Dtype;

namespace {

constexpr Dtype FLOAT32 = Dtype::float32, BFLOAT16 = Dtype::bfloat16;

std::mt19937 source(5);

// Exactly `count` elements of a type on the heap, random.
struct Buffer {
    Dtype type;
    std::vector<float> wide;
    std::vector<uint16_t> narrow;
    Buffer(Dtype type, int64_t count) : type(type) {
        std::normal_distribution<float> normal;
        for (int64_t i = 0; i < count; ++i) {
            const float value = normal(source);
            if (type == FLOAT32)
                wide.push_back(value);
            else
                narrow.push_back(pylm::to_bfloat16(value));
        }
        wide.shrink_to_fit(), narrow.shrink_to_fit();
    }
    void* data() { return type == FLOAT32 ? static_cast<void*>(wide.data()) : narrow.data(); }
    float at(size_t i) const { return type == FLOAT32 ? wide[i] : pylm::from_bfloat16(narrow[i]); }
    size_t size() const { return wide.size() + narrow.size(); }
};

// Runs `body` under each variant; its outputs must agree with the scalar one's: closely where all is fp32.
template <class Body>
void agree(Dtype type, const Body& body) {
    std::vector<Buffer> first;
    for (Variant one : available()) {
        force(name_of(one));
        std::vector<Buffer> found = body();
        if (first.empty()) first = found;
        for (size_t b = 0; b < found.size(); ++b)
            for (size_t i = 0; i < found[b].size(); ++i) {
                const float bound = type == FLOAT32 ? 1e-4f : found[b].type == FLOAT32 ? 2e-2f : 6e-2f;
                CHECK(std::abs(found[b].at(i) - first[b].at(i)) <= bound * (1 + std::abs(first[b].at(i))));
            }
    }
    force("");
}

}  // namespace

TEST(a_variant_is_served_where_all_that_it_is_compiled_with_is_there) {
    bool Features::* const needed[] = {&Features::avx2,        &Features::fma,        &Features::avx512f,
                                       &Features::avx512bw,    &Features::avx512dq,   &Features::avx512vl,
                                       &Features::avx512_vnni, &Features::avx512_bf16};
    Features all;
    for (const auto one : needed) all.*one = true;
    CHECK(all.serves(Variant::avx512));
    for (const auto one : needed) {
        Features less = all;
        less.*one = false;
        CHECK(!less.serves(Variant::avx512));
    }
}

TEST(norms_agree_and_stay_in_bounds) {
    for (Dtype type : {FLOAT32, BFLOAT16})
        for (int64_t width : {1, 5, 16, 33, 100})
            for (bool layer : {false, true}) {
                const int64_t rows = 7;
                Buffer x(type, rows * width), residual(type, rows * width), dy(type, rows * width);
                Buffer weight(FLOAT32, width), bias(FLOAT32, width);
                agree(type, [&] {
                    Buffer y(type, rows * width), h(type, rows * width), dx(type, rows * width);
                    Buffer mean(FLOAT32, rows), rstd(FLOAT32, rows), dweight(FLOAT32, width), dbias(FLOAT32, width);
                    NormForward f{};
                    f.x = x.data(), f.residual = residual.data(), f.weight = weight.wide.data();
                    f.bias = layer ? bias.wide.data() : nullptr, f.y = y.data(), f.h = h.data();
                    f.mean = layer ? mean.wide.data() : nullptr, f.rstd = rstd.wide.data();
                    f.width = width, f.eps = 1e-2f;
                    norm_forward(type, f, rows, 2);
                    NormBackward b{};
                    b.dy = dy.data(), b.h = h.data(), b.weight = weight.wide.data(), b.mean = f.mean;
                    b.rstd = f.rstd, b.dx = dx.data(), b.dweight = dweight.wide.data();
                    b.dbias = layer ? dbias.wide.data() : nullptr, b.width = width;
                    norm_backward(type, b, rows, 2);
                    return std::vector<Buffer>{y, dx, dweight};
                });
            }
}

TEST(cross_entropy_agrees_and_stays_in_bounds) {
    for (Dtype type : {FLOAT32, BFLOAT16})
        for (int64_t vocab : {1, 15, 64, 67, 2051}) {
            const int64_t rows = 5;
            const float softcap = vocab % 2 ? 3.0f : 0.0f;
            Buffer logits(type, rows * vocab), grads(FLOAT32, rows);
            std::vector<int64_t> targets;
            for (int64_t r = 0; r < rows; ++r)
                targets.push_back(r == 2 ? -100 : static_cast<int64_t>(source() % vocab));
            agree(type, [&] {
                Buffer losses(FLOAT32, rows), lse(FLOAT32, rows), dlogits(type, rows * vocab), ahead = dlogits;
                CrossEntropy a{};
                a.logits = logits.data(), a.targets = targets.data(), a.losses = losses.wide.data();
                a.lse = lse.wide.data(), a.grads = grads.wide.data(), a.dlogits = ahead.data();
                a.vocab = a.stride = vocab, a.ignore_index = -100;
                a.softcap = softcap, a.ahead = 0.5f;
                cross_entropy_forward(type, a, rows, 2);
                a.dlogits = dlogits.data();
                cross_entropy_backward(type, a, rows, 2);
                return std::vector<Buffer>{losses, dlogits, ahead};
            });
        }
}

TEST(rotations_agree_and_stay_in_bounds) {
    for (Dtype type : {FLOAT32, BFLOAT16})
        for (int64_t dim : {2, 7, 32, 50})
            for (bool normal : {false, true}) {
                const int64_t batch = 2, time = 3, heads = 2, half = dim / 2, count = batch * time * heads * dim;
                Buffer x(type, count), dy(type, count), cos(FLOAT32, 5 * half), sin(FLOAT32, 5 * half);
                Buffer weight(FLOAT32, dim);
                agree(type, [&] {
                    Buffer out(type, count), dx(type, count), rstd(FLOAT32, count / dim), dweight(FLOAT32, dim);
                    const Strides packed{time * heads * dim, heads * dim, dim};
                    Rotation a{};
                    a.x = x.data(), a.dy = dy.data(), a.out = out.data(), a.dx = dx.data();
                    a.sx = a.so = a.sdy = a.sdx = packed;
                    a.cos = cos.wide.data(), a.sin = sin.wide.data();
                    if (normal) a.weight = weight.wide.data(), a.rstd = rstd.wide.data();
                    if (normal) a.dweight = dweight.wide.data();
                    a.batch = batch, a.time = time, a.heads = heads, a.dim = dim, a.half = half, a.offset = 2;
                    a.eps = 1e-2f, a.interleaved = dim == 32;
                    rotate_forward(type, a, 2);
                    rotate_backward(type, a, 2);
                    return std::vector<Buffer>{out, dx};
                });
            }
}

TEST(activations_and_adamw_agree_and_stay_in_bounds) {
    for (int64_t count : {1, 7, 16, 17, 1000})
        for (Dtype type : {FLOAT32, BFLOAT16}) {
            Buffer x(type, count), gate(type, count), dy(type, count);
            for (Act act : {Act::gelu, Act::gelu_tanh, Act::relu2, Act::swiglu})
                agree(type, [&] {
                    Buffer y(type, count), dx(type, count), dgate(type, count);
                    const Activation a{x.data(), gate.data(), dy.data(), y.data(), dx.data(), dgate.data()};
                    activation_forward(act, type, a, count, 2);
                    activation_backward(act, type, a, count, 2);
                    return std::vector<Buffer>{y, dx};
                });
            agree(type, [&] {
                Buffer p = x, m = gate, v(type, count), copy(BFLOAT16, count);
                for (float& value : v.wide) value = 0.5f;
                for (uint16_t& value : v.narrow) value = pylm::to_bfloat16(0.5f);
                const Flat flat{p.data(), dy.data(), m.data(), v.data(), copy.data(), count, type == FLOAT32 ? 0 : 2,
                                0.1f};
                adamw_step(&flat, 1, {1e-2f, 0.9f, 0.95f, 1e-8f, 1.0f, 3, 1.0f}, 2);
                return std::vector<Buffer>{p, copy};
            });
        }
}

TEST(attention_agrees_and_stays_in_bounds) {
    for (Dtype type : {FLOAT32, BFLOAT16})
        for (int64_t time : {1, 31, 50, 259})
            for (int64_t dim : {3, 16, 64}) {
                const int64_t heads = 2, count = time * heads * dim, narrow = time * dim;
                Buffer q(type, count), k(type, narrow), v(type, narrow), dout(type, count);
                std::vector<int32_t> first(time);
                for (int64_t t = 0; t < time; ++t) first[t] = static_cast<int32_t>(t < 20 ? 0 : t < 40 ? 9 : t - 30);
                agree(type, [&] {
                    Buffer out(type, count), lse(FLOAT32, heads * time);
                    Buffer dq(type, count), dk(type, narrow), dv(type, narrow);
                    const Strides wide{count, heads * dim, dim}, thin{narrow, dim, dim};
                    Attention a{};
                    a.q = q.data(), a.k = k.data(), a.v = v.data(), a.dout = dout.data();
                    a.out = out.data(), a.dq = dq.data(), a.dk = dk.data(), a.dv = dv.data();
                    a.lse = lse.wide.data(), a.first = first.data();
                    a.sq = a.so = a.sd = a.sdq = wide, a.sk = a.sv = a.sdk = a.sdv = thin;
                    a.batch = 1, a.time = time, a.heads = heads, a.kv_heads = 1, a.dim = dim;
                    a.scale = 0.3f, a.softcap = time == 50 ? 1.5f : 0.0f;
                    attention_forward(type, a, 2);
                    attention_backward(type, a, 2);
                    return std::vector<Buffer>{out, lse, dq, dk, dv};
                });
            }
}

TEST(decoding_agrees_and_stays_in_bounds) {
    for (Dtype type : {FLOAT32, BFLOAT16})
        for (int64_t dim : {5, 16, 80}) {
            const int64_t capacity = 300;
            Buffer q(type, 2 * 2 * dim), k(type, 2 * capacity * dim), v(type, 2 * capacity * dim);
            const std::vector<int64_t> lengths{1, capacity};
            agree(type, [&] {
                Buffer out(type, 2 * 2 * dim);
                const Strides thin{capacity * dim, dim, dim};
                const Decode a{q.data(), k.data(), v.data(), thin, thin, 2, 1, dim, 0.3f, 0, false};
                decode_attention(type, a, 2, lengths.data(), out.data(), 2);
                return std::vector<Buffer>{out};
            });
        }
    for (int64_t width : {1, 17, 64, 130}) {
        std::vector<int8_t> weights(30 * width);
        for (int8_t& weight : weights) weight = static_cast<int8_t>(source());
        Buffer scales(FLOAT32, 30), x(FLOAT32, width);
        for (float& scale : scales.wide) scale *= 1e-3f;
        agree(FLOAT32, [&] {
            Buffer y(FLOAT32, 30);
            gemv_int8({weights.data(), scales.wide.data(), x.wide.data(), y.wide.data(), width}, 30, 2);
            return std::vector<Buffer>{y};
        });
    }
}

TEST(gradients_of_a_head_are_its_products) {
    for (Variant one : available()) {
        force(name_of(one));
        if (!has_head_products()) continue;
        for (int64_t rows : {1, 5, 50})
            for (int64_t vocab : {2, 98, 130})
                for (int64_t dim : {1, 16, 33}) {
                    const int64_t padded = (dim + 15) / 16 * 16;
                    Buffer dlogits(BFLOAT16, rows * vocab), x(BFLOAT16, rows * dim), weight(BFLOAT16, vocab * dim);
                    Buffer dx(BFLOAT16, rows * dim), dweight(BFLOAT16, vocab * dim), before = dweight;
                    Head a{dlogits.data(), weight.data(), nullptr, dx.data(), dweight.data(), rows, vocab, dim, padded};
                    head_gradients(a, x.data(), 2);
                    const auto near = [](double found, double right) {
                        CHECK(std::abs(found - right) <= 2e-2 * (1 + std::abs(right)));
                    };
                    for (int64_t i = 0; i < dim; ++i) {
                        for (int64_t r = 0; r < rows; ++r) {
                            double sum = 0;
                            for (int64_t v = 0; v < vocab; ++v)
                                sum += dlogits.at(r * vocab + v) * weight.at(v * dim + i);
                            near(dx.at(r * dim + i), sum);
                        }
                        for (int64_t v = 0; v < vocab; ++v) {
                            double sum = before.at(v * dim + i);
                            for (int64_t r = 0; r < rows; ++r) sum += dlogits.at(r * vocab + v) * x.at(r * dim + i);
                            near(dweight.at(v * dim + i), sum);
                        }
                    }
                }
    }
    force("");
}
