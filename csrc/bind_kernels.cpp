// Python's view of the CPU kernels: torch tensors are asked for what they are and checked here, below are only
// pointers.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "cpu/run.hpp"
#include "tensor_argument.hpp"

namespace py = pybind11;
using namespace pylm;
using namespace pylm::cpu;

namespace {

Element element_of(const py::handle& dtype) {
    const std::string name = py::str(dtype);
    if (name == "torch.float32") return Element::float32;
    if (name == "torch.bfloat16") return Element::bfloat16;
    if (name == "torch.int8") return Element::int8;
    if (name == "torch.int64") return Element::int64;
    return Element::other;
}

Tensor tensor(const py::handle& object, const char* name, bool contiguous = true) {
    for (const char* part : {"data_ptr", "dtype", "shape", "is_contiguous", "is_cpu"})
        if (!py::hasattr(object, part)) refuse_tensor(name, "not a torch tensor");
    if (!object.attr("is_cpu").cast<bool>()) refuse_tensor(name, "not on the CPU");
    Tensor found;
    found.element = element_of(object.attr("dtype"));
    if (contiguous && !object.attr("is_contiguous")().cast<bool>()) refuse_tensor(name, "not contiguous");
    found.shape = object.attr("shape").cast<std::vector<int64_t>>();
    found.count = 1;
    for (int64_t size : found.shape) found.count *= size;
    // SAFETY: the caller's argument keeps the tensor alive for the length of the call
    found.data = reinterpret_cast<char*>(object.attr("data_ptr")().cast<uintptr_t>());
    return found;
}

Tensor expect(const py::handle& object, const char* name, Element element, int64_t count) {
    Tensor found = tensor(object, name);
    if (found.element != element) refuse_tensor(name, "of another dtype than this call needs");
    if (found.count != count)
        refuse_tensor(name, std::to_string(found.count) + " elements where " + std::to_string(count) + " are needed");
    return found;
}

Tensor maybe(const py::object& object, const char* name, Element element, int64_t count) {
    return object.is_none() ? Tensor{} : expect(object, name, element, count);
}

Type float_type(const Tensor& found, const char* name) {
    if (found.element == Element::float32) return FLOAT32;
    if (found.element == Element::bfloat16) return BFLOAT16;
    refuse_tensor(name, "float32 and bfloat16 are served");
}

int64_t last(const Tensor& found, const char* name) {
    if (found.shape.empty() || found.shape.back() < 1) refuse_tensor(name, "has no last dimension");
    return found.shape.back();
}

template <class T>
T* at(const Tensor& found) {
    return reinterpret_cast<T*>(found.data);
}

void run_norm_forward(const py::object& x, const py::object& residual, const py::object& weight, const py::object& bias,
                      const py::object& y, const py::object& h, const py::object& mean, const py::object& rstd,
                      float eps, float offset, int threads) {
    const Tensor input = tensor(x, "x");
    const Type type = float_type(input, "x");
    const int64_t width = last(input, "x"), rows = input.count / width;
    NormForward a{};
    a.x = input.data;
    a.residual = maybe(residual, "residual", input.element, input.count).data;
    a.weight = at<float>(maybe(weight, "weight", Element::float32, width));
    a.bias = at<float>(maybe(bias, "bias", Element::float32, width));
    a.y = expect(y, "y", input.element, input.count).data;
    a.h = maybe(h, "h", input.element, input.count).data;
    a.mean = at<float>(maybe(mean, "mean", Element::float32, rows));
    a.rstd = at<float>(expect(rstd, "rstd", Element::float32, rows));
    a.width = width, a.eps = eps, a.offset = offset;
    const py::gil_scoped_release release;
    norm_forward(type, a, rows, threads);
}

void run_norm_backward(const py::object& dy, const py::object& dh, const py::object& h, const py::object& weight,
                       const py::object& mean, const py::object& rstd, const py::object& dx, const py::object& dweight,
                       const py::object& dbias, float offset, int threads) {
    const Tensor input = tensor(h, "h");
    const Type type = float_type(input, "h");
    const int64_t width = last(input, "h"), rows = input.count / width;
    NormBackward a{};
    a.h = input.data;
    a.dy = expect(dy, "dy", input.element, input.count).data;
    a.dh = maybe(dh, "dh", input.element, input.count).data;
    a.weight = at<float>(maybe(weight, "weight", Element::float32, width));
    a.mean = at<float>(maybe(mean, "mean", Element::float32, rows));
    a.rstd = at<float>(expect(rstd, "rstd", Element::float32, rows));
    a.dx = expect(dx, "dx", input.element, input.count).data;
    a.dweight = at<float>(maybe(dweight, "dweight", Element::float32, width));
    a.dbias = at<float>(maybe(dbias, "dbias", Element::float32, width));
    a.width = width, a.offset = offset;
    const py::gil_scoped_release release;
    norm_backward(type, a, rows, threads);
}

CrossEntropy cross_entropy_arguments(const Tensor& logits, const py::object& targets, const py::object& lse,
                                     int64_t ignore_index, float z_loss) {
    const int64_t vocab = last(logits, "logits"), rows = logits.count / vocab;
    CrossEntropy a{};
    a.logits = logits.data;
    a.targets = at<const int64_t>(expect(targets, "targets", Element::int64, rows));
    a.lse = at<float>(expect(lse, "lse", Element::float32, rows));
    a.vocab = a.stride = vocab, a.ignore_index = ignore_index, a.z_loss = z_loss;
    for (int64_t row = 0; row < rows; ++row)
        if (a.targets[row] != ignore_index && (a.targets[row] < 0 || a.targets[row] >= vocab))
            throw Error(Kind::usage, "the target of row " + std::to_string(row) + " is " +
                                         std::to_string(a.targets[row]) + ", the vocabulary has " +
                                         std::to_string(vocab));
    return a;
}

void run_cross_entropy_forward(const py::object& logits, const py::object& targets, const py::object& losses,
                               const py::object& lse, int64_t ignore_index, float z_loss, int threads) {
    const Tensor input = tensor(logits, "logits");
    const Type type = float_type(input, "logits");
    CrossEntropy a = cross_entropy_arguments(input, targets, lse, ignore_index, z_loss);
    const int64_t rows = input.count / a.vocab;
    a.losses = at<float>(expect(losses, "losses", Element::float32, rows));
    const py::gil_scoped_release release;
    cross_entropy_forward(type, a, rows, threads);
}

void run_cross_entropy_backward(const py::object& logits, const py::object& targets, const py::object& lse,
                                const py::object& grads, const py::object& dlogits, int64_t ignore_index, float z_loss,
                                int threads) {
    const Tensor input = tensor(logits, "logits");
    const Type type = float_type(input, "logits");
    CrossEntropy a = cross_entropy_arguments(input, targets, lse, ignore_index, z_loss);
    const int64_t rows = input.count / a.vocab;
    a.grads = at<const float>(expect(grads, "grads", Element::float32, rows));
    a.dlogits = expect(dlogits, "dlogits", input.element, input.count).data;
    const py::gil_scoped_release release;
    cross_entropy_backward(type, a, rows, threads);
}

// [batch, time, heads, dim] by strides, the last dimension side by side.
Strides place(const py::handle& object, const char* name, Element element, const std::vector<int64_t>& shape,
              void** data) {
    const Tensor found = tensor(object, name, false);
    if (found.element != element) refuse_tensor(name, "of another dtype than q");
    if (found.shape != shape) refuse_tensor(name, "not of the shape that q, k and v ask for");
    const auto strides = object.attr("stride")().cast<std::vector<int64_t>>();
    if (strides[3] != 1 && shape[3] > 1) refuse_tensor(name, "the elements of a head do not lie side by side");
    *data = found.data;
    return {strides[0], strides[1], strides[2]};
}

struct AttentionCall {
    Attention a{};
    Type type = FLOAT32;
    std::vector<int32_t> first;
};

// What forward and backward share. `documents`: starts over the flattened batch and its end, or None; window 0: none.
AttentionCall attention_arguments(const py::object& q, const py::object& k, const py::object& v, const py::object& out,
                                  const py::object& lse, const py::object& documents, int64_t window, float scale) {
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
    a.sq = place(q, "q", queries.element, queries.shape, &data), a.q = data;
    a.sk = place(k, "k", queries.element, narrow, &data), a.k = data;
    a.sv = place(v, "v", queries.element, narrow, &data), a.v = data;
    a.so = place(out, "out", queries.element, queries.shape, &a.out);
    a.lse = at<float>(expect(lse, "lse", Element::float32, a.batch * a.heads * a.time));
    a.scale = scale;
    call.first.assign(a.batch * a.time, 0);
    if (!documents.is_none()) {
        const auto starts = documents.cast<std::vector<int64_t>>();
        const int64_t total = a.batch * a.time;
        if (starts.size() < 2 || starts.front() != 0 || starts.back() != total)
            throw Error(Kind::usage, "documents must run from 0 to " + std::to_string(total));
        for (size_t d = 0; d + 1 < starts.size(); ++d) {
            if (starts[d + 1] < starts[d] || starts[d + 1] > total)
                throw Error(Kind::usage, "documents: start " + std::to_string(d + 1) + " is out of order");
            for (int64_t t = starts[d]; t < starts[d + 1]; ++t)  // a document never reaches into the row before
                call.first[t] = static_cast<int32_t>(std::max(starts[d] - t / a.time * a.time, int64_t{0}));
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
                           const py::object& lse, const py::object& documents, int64_t window, float scale,
                           int threads) {
    const AttentionCall call = attention_arguments(q, k, v, out, lse, documents, window, scale);
    const py::gil_scoped_release release;
    attention_forward(call.type, call.a, threads);
}

void run_attention_backward(const py::object& dout, const py::object& q, const py::object& k, const py::object& v,
                            const py::object& out, const py::object& lse, const py::object& dq, const py::object& dk,
                            const py::object& dv, const py::object& documents, int64_t window, float scale,
                            int threads) {
    AttentionCall call = attention_arguments(q, k, v, out, lse, documents, window, scale);
    Attention& a = call.a;
    const Element element = tensor(q, "q", false).element;
    const std::vector<int64_t> wide{a.batch, a.time, a.heads, a.dim}, narrow{a.batch, a.time, a.kv_heads, a.dim};
    void* data = nullptr;
    a.sd = place(dout, "dout", element, wide, &data), a.dout = data;
    a.sdq = place(dq, "dq", element, wide, &a.dq);
    a.sdk = place(dk, "dk", element, narrow, &a.dk);
    a.sdv = place(dv, "dv", element, narrow, &a.dv);
    const py::gil_scoped_release release;
    attention_backward(call.type, a, threads);
}

void run_decode_attention(const py::object& q, const py::object& k, const py::object& v,
                          const std::vector<int64_t>& lengths, const py::object& out, float scale, int threads) {
    const Tensor queries = tensor(q, "q"), keys = tensor(k, "k", false);
    const Type type = float_type(queries, "q");
    if (queries.shape.size() != 3 || keys.shape.size() != 4)
        refuse_tensor("q", "q is [batch, heads, dim], the caches are [batch, length, heads, dim]");
    Decode a{};
    a.batch = queries.shape[0], a.heads = queries.shape[1], a.dim = queries.shape[2], a.kv_heads = keys.shape[2];
    if (a.dim < 1 || a.dim > DECODE_DIM) refuse_tensor("q", "heads of " + std::to_string(a.dim) + " elements");
    if (a.kv_heads < 1 || a.heads % a.kv_heads != 0)
        refuse_tensor("k", std::to_string(a.kv_heads) + " heads do not divide q's " + std::to_string(a.heads));
    const std::vector<int64_t> shape{a.batch, keys.shape[1], a.kv_heads, a.dim};
    void* data = nullptr;
    a.sk = place(k, "k", queries.element, shape, &data), a.k = data;
    a.sv = place(v, "v", queries.element, shape, &data), a.v = data;
    a.q = queries.data, a.scale = scale;
    if (static_cast<int64_t>(lengths.size()) != a.batch)
        throw Error(Kind::usage, "lengths has " + std::to_string(lengths.size()) + " entries, q has " +
                                     std::to_string(a.batch) + " sequences");
    for (int64_t length : lengths)
        if (length < 1 || length > keys.shape[1])
            throw Error(Kind::usage, "a length is " + std::to_string(length) + ", the cache holds 1 to " +
                                         std::to_string(keys.shape[1]));
    void* to = expect(out, "out", queries.element, queries.count).data;
    const py::gil_scoped_release release;
    decode_attention(type, a, lengths.data(), to, threads);
}

void run_gemv_int8(const py::object& weights, const py::object& scales, const py::object& x, const py::object& y,
                   int threads) {
    const Tensor matrix = tensor(weights, "weights");
    if (matrix.element != Element::int8 || matrix.shape.size() != 2)
        refuse_tensor("weights", "an int8 matrix is needed");
    const int64_t rows = matrix.shape[0];
    Gemv a{};
    a.width = matrix.shape[1];
    a.weights = at<const int8_t>(matrix);
    a.scales = at<const float>(expect(scales, "scales", Element::float32, rows));
    a.x = at<const float>(expect(x, "x", Element::float32, a.width));
    a.y = at<float>(expect(y, "y", Element::float32, rows));
    const py::gil_scoped_release release;
    gemv_int8(a, rows, threads);
}

Act act_of(const std::string& name) {
    if (name == "gelu") return Act::gelu;
    if (name == "relu2") return Act::relu2;
    if (name == "swiglu") return Act::swiglu;
    throw Error(Kind::usage, "there is no activation " + name, "choose gelu, relu2 or swiglu");
}

void run_activation_forward(const std::string& name, const py::object& x, const py::object& gate, const py::object& y,
                            int threads) {
    const Act act = act_of(name);
    const Tensor input = tensor(x, "x");
    Activation a{};
    a.x = input.data;
    a.gate = act == Act::swiglu ? expect(gate, "gate", input.element, input.count).data : input.data;
    a.y = expect(y, "y", input.element, input.count).data;
    const Type type = float_type(input, "x");
    const py::gil_scoped_release release;
    activation_forward(act, type, a, input.count, threads);
}

void run_activation_backward(const std::string& name, const py::object& dy, const py::object& x, const py::object& gate,
                             const py::object& dx, const py::object& dgate, int threads) {
    const Act act = act_of(name);
    const Tensor input = tensor(x, "x");
    Activation a{};
    a.x = input.data;
    a.dy = expect(dy, "dy", input.element, input.count).data;
    a.dx = expect(dx, "dx", input.element, input.count).data;
    a.gate = act == Act::swiglu ? expect(gate, "gate", input.element, input.count).data : input.data;
    a.dgate =
        act == Act::swiglu ? expect(dgate, "dgate", input.element, input.count).data : static_cast<void*>(input.data);
    const Type type = float_type(input, "x");
    const py::gil_scoped_release release;
    activation_backward(act, type, a, input.count, threads);
}

double run_adamw(const std::vector<py::tuple>& tensors, float lr, float beta1, float beta2, float eps, float clip,
                 int64_t step, float grad_scale, int threads) {
    if (step < 1) throw Error(Kind::usage, "step is " + std::to_string(step) + ", the first is 1");
    std::vector<Flat> flats;
    for (const py::tuple& parts : tensors) {
        if (parts.size() != 6)
            throw Error(Kind::usage, "each tensor comes as (parameter, gradient, m, v, bf16 copy or None, decay)");
        const Tensor p = tensor(parts[0], "parameter"), g = tensor(parts[1], "gradient");
        const bool narrow = p.element == Element::bfloat16, mixed = g.element == Element::bfloat16 && !narrow;
        float_type(p, "parameter"), float_type(g, "gradient");
        if (narrow && g.element != Element::bfloat16) refuse_tensor("gradient", "float32 for a bfloat16 parameter");
        if (g.count != p.count) refuse_tensor("gradient", "of another size than its parameter");
        Flat flat{};
        flat.p = p.data, flat.g = g.data, flat.count = p.count;
        flat.types = narrow ? 2 : mixed ? 1 : 0;
        flat.m = expect(parts[2], "m", p.element, p.count).data;
        flat.v = expect(parts[3], "v", p.element, p.count).data;
        flat.copy = maybe(parts[4], "copy", Element::bfloat16, p.count).data;
        flat.decay = parts[5].cast<float>();
        flats.push_back(flat);
    }
    const py::gil_scoped_release release;
    return adamw_step(flats.data(), static_cast<int64_t>(flats.size()), {lr, beta1, beta2, eps, clip, step, grad_scale},
                      threads);
}

}  // namespace

void bind_kernels(py::module_& module) {
    module.def("norm_forward", &run_norm_forward, py::arg("x"), py::arg("residual"), py::arg("weight"), py::arg("bias"),
               py::arg("y"), py::arg("h"), py::arg("mean"), py::arg("rstd"), py::arg("eps"), py::arg("offset"),
               py::arg("threads") = 0, "rms_norm (mean None) or layer_norm, residual fused.");
    module.def("norm_backward", &run_norm_backward, py::arg("dy"), py::arg("dh"), py::arg("h"), py::arg("weight"),
               py::arg("mean"), py::arg("rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"), py::arg("offset"),
               py::arg("threads") = 0, "Its gradients.");
    module.def("cross_entropy_forward", &run_cross_entropy_forward, py::arg("logits"), py::arg("targets"),
               py::arg("losses"), py::arg("lse"), py::arg("ignore_index") = -100, py::arg("z_loss") = 0.0f,
               py::arg("threads") = 0, "One loss and one logarithm of the sum of exponentials a row.");
    module.def("cross_entropy_backward", &run_cross_entropy_backward, py::arg("logits"), py::arg("targets"),
               py::arg("lse"), py::arg("grads"), py::arg("dlogits"), py::arg("ignore_index") = -100,
               py::arg("z_loss") = 0.0f, py::arg("threads") = 0,
               "The logits' gradient from one gradient a row; dlogits may be the logits.");
    module.def("activation_forward", &run_activation_forward, py::arg("name"), py::arg("x"), py::arg("gate"),
               py::arg("y"), py::arg("threads") = 0, "gelu, relu2, or swiglu: silu(gate) * x.");
    module.def("activation_backward", &run_activation_backward, py::arg("name"), py::arg("dy"), py::arg("x"),
               py::arg("gate"), py::arg("dx"), py::arg("dgate"), py::arg("threads") = 0, "Its gradients.");
    module.def(
        "attention_forward", &run_attention_forward, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("out"),
        py::arg("lse"), py::arg("documents"), py::arg("window"), py::arg("scale"), py::arg("threads") = 0,
        "Causal attention over [batch, time, heads, dim]; documents: cumulative starts or None; window 0: none.");
    module.def("attention_backward", &run_attention_backward, py::arg("dout"), py::arg("q"), py::arg("k"), py::arg("v"),
               py::arg("out"), py::arg("lse"), py::arg("dq"), py::arg("dk"), py::arg("dv"), py::arg("documents"),
               py::arg("window"), py::arg("scale"), py::arg("threads") = 0, "Its gradients.");
    module.def("decode_attention", &run_decode_attention, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("lengths"),
               py::arg("out"), py::arg("scale"), py::arg("threads") = 0,
               "One query a sequence, [batch, heads, dim], over caches [batch, length, kv heads, dim] by strides.");
    module.def("gemv_int8", &run_gemv_int8, py::arg("weights"), py::arg("scales"), py::arg("x"), py::arg("y"),
               py::arg("threads") = 0, "y = scales * (weights @ x), int8 weights with a scale a row, x in fp32.");
    module.def(
        "read_all",
        [](const py::object& data, int threads) {
            const Tensor bytes = tensor(data, "data");
            if (bytes.element != Element::int8) refuse_tensor("data", "an int8 tensor is needed");
            const py::gil_scoped_release release;
            return read_all(bytes.data, bytes.count, threads);
        },
        py::arg("data"), py::arg("threads") = 0, "The sum of a tensor's words: how fast memory can be read.");
    module.def("adamw", &run_adamw, py::arg("tensors"), py::kw_only(), py::arg("lr"), py::arg("beta1"),
               py::arg("beta2"), py::arg("eps"), py::arg("clip"), py::arg("step"), py::arg("grad_scale") = 1.0f,
               py::arg("threads") = 0,
               "One AdamW step over (parameter, gradient, m, v, bf16 copy or None, decay); returns the gradients' norm "
               "before the clip. Where it is not finite nothing is changed.");
}
