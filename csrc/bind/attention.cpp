// Python's view of what works on heads: their rotation, attention for training and for decoding.
#include <algorithm>
#include <string>
#include <vector>

#include "bind/release.hpp"
#include "bind/tensor.hpp"
#include "cpu/drive/operations.hpp"

namespace py = pybind11;
using namespace pylm;
using namespace pylm::cpu;

namespace {

// [batch, time, heads, dim] by strides, the last dimension side by side.
Strides place(const py::handle& object, const char* name, Dtype dtype, const std::vector<int64_t>& shape, void** data) {
    const Tensor found = tensor(object, name, false);
    if (found.dtype != dtype) refuse_tensor(name, "of another dtype than q");
    if (found.shape != shape) refuse_tensor(name, "not of the shape that q, k and v ask for");
    const auto strides = object.attr("stride")().cast<std::vector<int64_t>>();
    if (strides[3] != 1 && shape[3] > 1) refuse_tensor(name, "the elements of a head do not lie side by side");
    *data = found.data;
    return {strides[0], strides[1], strides[2]};
}

float cap_of(float softcap) {
    if (softcap >= 0 && softcap <= 1e30f) return softcap;
    throw Error(Kind::usage, "softcap is " + std::to_string(softcap), "it is 0, for none, or positive");
}

struct AttentionCall {
    Attention a{};
    Dtype type = Dtype::float32;
    std::vector<int32_t> first;
};

// What forward and backward share. `starts`: [batch, time], where each position's document starts in
// its row, or None; window 0: none.
AttentionCall attention_arguments(const py::object& q, const py::object& k, const py::object& v, const py::object& out,
                                  const py::object& lse, const py::object& starts, int64_t window, float scale,
                                  float softcap) {
    AttentionCall call;
    Attention& a = call.a;
    const Tensor queries = tensor(q, "q", false), keys = tensor(k, "k", false);
    if (queries.shape.size() != 4 || keys.shape.size() != 4) refuse_tensor("q", "q, k and v have four dimensions");
    call.type = float_type(queries, "q");
    a.batch = queries.shape[0], a.time = queries.shape[1], a.heads = queries.shape[2], a.dim = queries.shape[3];
    a.kv_heads = keys.shape[2];
    if (a.dim < 1 || a.dim > 1024) refuse_tensor("q", "heads of " + std::to_string(a.dim) + " elements");
    if (a.kv_heads < 1 || a.heads % a.kv_heads != 0)
        refuse_tensor("k", std::to_string(a.kv_heads) + " heads do not divide q's " + std::to_string(a.heads));
    if (window < 0) throw Error(Kind::usage, "window is " + std::to_string(window));
    if (a.time > (int64_t{1} << 24)) refuse_tensor("q", "longer than 2**24 tokens");
    const std::vector<int64_t> narrow{a.batch, a.time, a.kv_heads, a.dim};
    void* data = nullptr;
    a.sq = place(q, "q", queries.dtype, queries.shape, &data), a.q = data;
    a.sk = place(k, "k", queries.dtype, narrow, &data), a.k = data;
    a.sv = place(v, "v", queries.dtype, narrow, &data), a.v = data;
    a.so = place(out, "out", queries.dtype, queries.shape, &a.out);
    a.lse = at<float>(expect(lse, "lse", Dtype::float32, a.batch * a.heads * a.time));
    a.scale = scale, a.softcap = cap_of(softcap);
    call.first.assign(a.batch * a.time, 0);
    if (!starts.is_none()) {
        const auto* given = at<const int32_t>(expect(starts, "starts", Dtype::int32, a.batch * a.time));
        for (int64_t t = 0; t < a.batch * a.time; ++t) {
            const int64_t before = t % a.time ? given[t - 1] : 0;
            if (given[t] < before || given[t] > t % a.time)
                refuse_tensor("starts", "a document starts at " + std::to_string(given[t]) + " for position " +
                                            std::to_string(t % a.time) + " of a row, after one from " +
                                            std::to_string(before));
            call.first[t] = given[t];
        }
    }
    if (window > 0)
        for (int64_t t = 0; t < a.batch * a.time; ++t)
            call.first[t] =
                std::max(call.first[t], static_cast<int32_t>(std::max(t % a.time - window + 1, int64_t{0})));
    a.first = call.first.data();
    return call;
}

void run_attention_forward(const py::object& q, const py::object& k, const py::object& v, const py::object& out,
                           const py::object& lse, const py::object& starts, int64_t window, float scale, int threads,
                           float softcap) {
    const AttentionCall call = attention_arguments(q, k, v, out, lse, starts, window, scale, softcap);
    const Released release;
    attention_forward(call.type, call.a, threads);
}

void run_attention_backward(const py::object& dout, const py::object& q, const py::object& k, const py::object& v,
                            const py::object& out, const py::object& lse, const py::object& dq, const py::object& dk,
                            const py::object& dv, const py::object& starts, int64_t window, float scale, int threads,
                            float softcap) {
    AttentionCall call = attention_arguments(q, k, v, out, lse, starts, window, scale, softcap);
    Attention& a = call.a;
    const Dtype dtype = tensor(q, "q", false).dtype;
    const std::vector<int64_t> wide{a.batch, a.time, a.heads, a.dim}, narrow{a.batch, a.time, a.kv_heads, a.dim};
    void* data = nullptr;
    a.sd = place(dout, "dout", dtype, wide, &data), a.dout = data;
    a.sdq = place(dq, "dq", dtype, wide, &a.dq);
    a.sdk = place(dk, "dk", dtype, narrow, &a.dk);
    a.sdv = place(dv, "dv", dtype, narrow, &a.dv);
    const Released release;
    attention_backward(call.type, a, threads);
}

void run_decode_attention(const py::object& q, const py::object& k, const py::object& v,
                          const std::vector<int64_t>& lengths, const py::object& out, float scale, int threads,
                          float softcap) {
    const Tensor queries = tensor(q, "q"), keys = tensor(k, "k", false);
    const Dtype type = float_type(queries, "q");
    if (queries.shape.size() != 3 || keys.shape.size() != 4)
        refuse_tensor("q", "q is [batch, heads, dim], the caches are [batch, length, heads, dim]");
    Decode a{};
    const int64_t batch = queries.shape[0];
    a.heads = queries.shape[1], a.dim = queries.shape[2], a.kv_heads = keys.shape[2];
    if (a.dim < 1 || a.dim > DECODE_DIM) refuse_tensor("q", "heads of " + std::to_string(a.dim) + " elements");
    if (a.kv_heads < 1 || a.heads % a.kv_heads != 0)
        refuse_tensor("k", std::to_string(a.kv_heads) + " heads do not divide q's " + std::to_string(a.heads));
    const std::vector<int64_t> shape{batch, keys.shape[1], a.kv_heads, a.dim};
    void* data = nullptr;
    a.sk = place(k, "k", queries.dtype, shape, &data), a.k = data;
    a.sv = place(v, "v", queries.dtype, shape, &data), a.v = data;
    a.q = queries.data, a.scale = scale, a.softcap = cap_of(softcap);
    if (static_cast<int64_t>(lengths.size()) != batch)
        throw Error(Kind::usage, "lengths has " + std::to_string(lengths.size()) + " entries, q has " +
                                     std::to_string(batch) + " sequences");
    for (int64_t length : lengths)
        if (length < 1 || length > keys.shape[1])
            throw Error(Kind::usage, "a length is " + std::to_string(length) + ", the cache holds 1 to " +
                                         std::to_string(keys.shape[1]));
    void* to = expect(out, "out", queries.dtype, queries.count).data;
    const Released release;
    decode_attention(type, a, batch, lengths.data(), to, threads);
}

// What forward and backward share; `rows` of the tables are the positions that exist.
Rotation rotation_arguments(const py::object& x, const py::object& cos, const py::object& sin,
                            const py::object& positions, const py::object& weight, int64_t offset, bool interleaved,
                            Tensor& input) {
    input = tensor(x, "x", false);
    if (input.shape.size() != 4) refuse_tensor("x", "heads have four dimensions");
    Rotation a{};
    a.batch = input.shape[0], a.time = input.shape[1], a.heads = input.shape[2], a.dim = input.shape[3];
    float_type(input, "x");
    if (a.dim < 2 || a.dim > ROTATED_DIM) refuse_tensor("x", "heads of " + std::to_string(a.dim) + " elements");
    void* data = nullptr;
    a.sx = place(x, "x", input.dtype, input.shape, &data), a.x = data;
    const Tensor table = tensor(cos, "cos");
    if (table.shape.size() != 2 || 2 * table.shape[1] > a.dim || table.shape[1] < 1)
        refuse_tensor("cos", "a table of positions and half the rotated dimensions is needed");
    const int64_t rows = table.shape[0];
    a.half = table.shape[1];
    a.cos = at<const float>(expect(cos, "cos", Dtype::float32, table.count));
    a.sin = at<const float>(expect(sin, "sin", Dtype::float32, table.count));
    a.weight = at<const float>(maybe(weight, "weight", Dtype::float32, a.dim));
    a.offset = offset, a.interleaved = interleaved;
    int64_t lowest = 0, highest = a.time - 1;
    if (!positions.is_none()) {
        const Tensor given = tensor(positions, "positions");
        if (given.dtype != Dtype::int32 || (given.count != a.time && given.count != a.batch * a.time))
            refuse_tensor("positions", "one int32 for each position is needed");
        a.positions = at<const int32_t>(given);
        a.position_stride = given.count == a.time ? 0 : a.time;
        if (given.count) {
            const auto ends = std::minmax_element(a.positions, a.positions + given.count);
            lowest = *ends.first, highest = *ends.second;
        }
    }
    // the sums are only made where they cannot pass 2^63
    if (offset < 0 || offset > rows || lowest + offset < 0 || highest + offset >= rows)
        refuse_tensor("positions", std::to_string(lowest) + " to " + std::to_string(highest) + ", " +
                                       std::to_string(offset) + " on, leave the table of " + std::to_string(rows));
    return a;
}

void run_rotate_forward(const py::object& x, const py::object& cos, const py::object& sin, const py::object& positions,
                        const py::object& weight, const py::object& out, const py::object& rstd, float eps,
                        bool interleaved, int64_t offset, int threads) {
    Tensor input;
    Rotation a = rotation_arguments(x, cos, sin, positions, weight, offset, interleaved, input);
    a.so = place(out, "out", input.dtype, input.shape, &a.out);
    a.rstd = a.weight ? at<float>(expect(rstd, "rstd", Dtype::float32, input.count / a.dim)) : nullptr;
    a.eps = eps;
    const Dtype type = float_type(input, "x");
    const Released release;
    rotate_forward(type, a, threads);
}

void run_rotate_backward(const py::object& dy, const py::object& x, const py::object& cos, const py::object& sin,
                         const py::object& positions, const py::object& weight, const py::object& rstd,
                         const py::object& dx, const py::object& dweight, bool interleaved, int64_t offset,
                         int threads) {
    Tensor input;
    Rotation a = rotation_arguments(x, cos, sin, positions, weight, offset, interleaved, input);
    void* data = nullptr;
    a.sdy = place(dy, "dy", input.dtype, input.shape, &data), a.dy = data;
    a.sdx = place(dx, "dx", input.dtype, input.shape, &a.dx);
    if (a.weight) {
        a.rstd = at<float>(expect(rstd, "rstd", Dtype::float32, input.count / a.dim));
        a.dweight = at<float>(expect(dweight, "dweight", Dtype::float32, a.dim));
    }
    const Dtype type = float_type(input, "x");
    const Released release;
    rotate_backward(type, a, threads);
}

}  // namespace

void bind_attention(py::module_& module) {
    module.def("attention_forward", &run_attention_forward, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("out"),
               py::arg("lse"), py::arg("starts"), py::arg("window"), py::arg("scale"), py::arg("threads") = 0,
               py::arg("softcap") = 0.0f,
               "Causal attention over [batch, time, heads, dim]; starts: where each position's document starts, or "
               "None; window 0 and softcap 0: none.");
    module.def("attention_backward", &run_attention_backward, py::arg("dout"), py::arg("q"), py::arg("k"), py::arg("v"),
               py::arg("out"), py::arg("lse"), py::arg("dq"), py::arg("dk"), py::arg("dv"), py::arg("starts"),
               py::arg("window"), py::arg("scale"), py::arg("threads") = 0, py::arg("softcap") = 0.0f,
               "Its gradients.");
    module.def("decode_attention", &run_decode_attention, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("lengths"),
               py::arg("out"), py::arg("scale"), py::arg("threads") = 0, py::arg("softcap") = 0.0f,
               "One query a sequence, [batch, heads, dim], over caches [batch, length, kv heads, dim] by strides.");
    module.def("rotate_forward", &run_rotate_forward, py::arg("x"), py::arg("cos"), py::arg("sin"),
               py::arg("positions"), py::arg("weight"), py::arg("out"), py::arg("rstd"), py::arg("eps"),
               py::arg("interleaved"), py::arg("offset"), py::arg("threads") = 0,
               "Heads [batch, time, heads, dim] by strides, RMS-normalised where there is a weight, then rotated.");
    module.def("rotate_backward", &run_rotate_backward, py::arg("dy"), py::arg("x"), py::arg("cos"), py::arg("sin"),
               py::arg("positions"), py::arg("weight"), py::arg("rstd"), py::arg("dx"), py::arg("dweight"),
               py::arg("interleaved"), py::arg("offset"), py::arg("threads") = 0, "Its gradients.");
}
