// Python's view of the CPU kernels that work on rows and elements.
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "bind/release.hpp"
#include "bind/tensor.hpp"
#include "cpu/drive/operations.hpp"

namespace py = pybind11;
using namespace pylm;
using namespace pylm::cpu;

namespace {

void run_norm_forward(const py::object& x, const py::object& residual, const py::object& weight, const py::object& bias,
                      const py::object& y, const py::object& h, const py::object& mean, const py::object& rstd,
                      float eps, float offset, int threads) {
    const Tensor input = tensor(x, "x");
    const Dtype type = float_type(input, "x");
    const int64_t width = last(input, "x"), rows = input.count / width;
    NormForward a{};
    a.x = input.data;
    a.residual = maybe(residual, "residual", input.dtype, input.count).data;
    a.weight = at<float>(maybe(weight, "weight", Dtype::float32, width));
    a.bias = at<float>(maybe(bias, "bias", Dtype::float32, width));
    a.y = expect(y, "y", input.dtype, input.count).data;
    a.h = maybe(h, "h", input.dtype, input.count).data;
    a.mean = at<float>(maybe(mean, "mean", Dtype::float32, rows));
    a.rstd = at<float>(expect(rstd, "rstd", Dtype::float32, rows));
    a.width = width, a.eps = eps, a.offset = offset;
    const Released release;
    norm_forward(type, a, rows, threads);
}

void run_norm_backward(const py::object& dy, const py::object& dh, const py::object& h, const py::object& weight,
                       const py::object& mean, const py::object& rstd, const py::object& dx, const py::object& dweight,
                       const py::object& dbias, float offset, int threads) {
    const Tensor input = tensor(h, "h");
    const Dtype type = float_type(input, "h");
    const int64_t width = last(input, "h"), rows = input.count / width;
    NormBackward a{};
    a.h = input.data;
    a.dy = expect(dy, "dy", input.dtype, input.count).data;
    a.dh = maybe(dh, "dh", input.dtype, input.count).data;
    a.weight = at<float>(maybe(weight, "weight", Dtype::float32, width));
    a.mean = at<float>(maybe(mean, "mean", Dtype::float32, rows));
    a.rstd = at<float>(expect(rstd, "rstd", Dtype::float32, rows));
    a.dx = expect(dx, "dx", input.dtype, input.count).data;
    a.dweight = at<float>(maybe(dweight, "dweight", Dtype::float32, width));
    a.dbias = at<float>(maybe(dbias, "dbias", Dtype::float32, width));
    a.width = width, a.offset = offset;
    const Released release;
    norm_backward(type, a, rows, threads);
}

CrossEntropy cross_entropy_arguments(const Tensor& logits, const py::object& targets, const py::object& lse,
                                     int64_t ignore_index, float z_loss, float softcap) {
    const int64_t vocab = last(logits, "logits"), rows = logits.count / vocab;
    CrossEntropy a{};
    a.logits = logits.data;
    a.targets = at<const int64_t>(expect(targets, "targets", Dtype::int64, rows));
    a.lse = at<float>(expect(lse, "lse", Dtype::float32, rows));
    a.vocab = a.stride = vocab, a.ignore_index = ignore_index;
    a.z_loss = z_loss, a.softcap = softcap;
    for (int64_t row = 0; row < rows; ++row)
        if (a.targets[row] != ignore_index && (a.targets[row] < 0 || a.targets[row] >= vocab))
            throw Error(Kind::usage, "the target of row " + std::to_string(row) + " is " +
                                         std::to_string(a.targets[row]) + ", the vocabulary has " +
                                         std::to_string(vocab));
    return a;
}

void run_cross_entropy_forward(const py::object& logits, const py::object& targets, const py::object& losses,
                               const py::object& lse, int64_t ignore_index, float z_loss, float softcap, int threads,
                               const py::object& dlogits, float ahead) {
    const Tensor input = tensor(logits, "logits");
    const Dtype type = float_type(input, "logits");
    CrossEntropy a = cross_entropy_arguments(input, targets, lse, ignore_index, z_loss, softcap);
    const int64_t rows = input.count / a.vocab;
    a.losses = at<float>(expect(losses, "losses", Dtype::float32, rows));
    a.dlogits = maybe(dlogits, "dlogits", input.dtype, input.count).data, a.ahead = ahead;
    const Released release;
    cross_entropy_forward(type, a, rows, threads);
}

void run_cross_entropy_backward(const py::object& logits, const py::object& targets, const py::object& lse,
                                const py::object& grads, const py::object& dlogits, int64_t ignore_index, float z_loss,
                                float softcap, int threads) {
    const Tensor input = tensor(logits, "logits");
    const Dtype type = float_type(input, "logits");
    CrossEntropy a = cross_entropy_arguments(input, targets, lse, ignore_index, z_loss, softcap);
    const int64_t rows = input.count / a.vocab;
    a.grads = at<const float>(expect(grads, "grads", Dtype::float32, rows));
    a.dlogits = expect(dlogits, "dlogits", input.dtype, input.count).data;
    const Released release;
    cross_entropy_backward(type, a, rows, threads);
}

void run_head_gradients(const py::object& dlogits, const py::object& x, const py::object& weight, const py::object& dx,
                        const py::object& dweight, int threads) {
    if (!has_head_products())
        throw Error(Kind::kernel, "this variant of the kernels multiplies no bfloat16", "AVX-512 with BF16 does");
    const Tensor input = tensor(x, "x"), gradients = tensor(dlogits, "dlogits");
    if (input.dtype != Dtype::bfloat16 || input.shape.size() != 2) refuse_tensor("x", "a bfloat16 matrix is needed");
    Head a{};
    a.rows = input.shape[0], a.dim = input.shape[1];
    if (gradients.dtype != Dtype::bfloat16 || gradients.shape.size() != 2 || gradients.shape[0] != a.rows ||
        gradients.shape[1] % 2 != 0)
        refuse_tensor("dlogits", "a bfloat16 matrix of x's rows and an even vocabulary is needed");
    a.vocab = gradients.shape[1], a.dlogits = gradients.data;
    if (reinterpret_cast<uintptr_t>(gradients.data) % sizeof(uint32_t) != 0)
        refuse_tensor("dlogits", "not aligned to pairs of its elements");
    a.padded = (a.dim + 15) / 16 * 16;
    a.weight = expect(weight, "weight", Dtype::bfloat16, a.vocab * a.dim).data;
    a.dx = expect(dx, "dx", Dtype::bfloat16, a.rows * a.dim).data;
    a.dweight = expect(dweight, "dweight", Dtype::bfloat16, a.vocab * a.dim).data;
    const Released release;
    head_gradients(a, input.data, threads);
}

void run_gemv_int8(const py::object& weights, const py::object& scales, const py::object& x, const py::object& y,
                   int threads) {
    const Tensor matrix = tensor(weights, "weights");
    if (matrix.dtype != Dtype::int8 || matrix.shape.size() != 2) refuse_tensor("weights", "an int8 matrix is needed");
    const int64_t rows = matrix.shape[0];
    Gemv a{};
    a.width = matrix.shape[1];
    a.weights = at<const int8_t>(matrix);
    a.scales = at<const float>(expect(scales, "scales", Dtype::float32, rows));
    a.x = at<const float>(expect(x, "x", Dtype::float32, a.width));
    a.y = at<float>(expect(y, "y", Dtype::float32, rows));
    const Released release;
    gemv_int8(a, rows, threads);
}

Act act_of(const std::string& name) {
    if (name == "gelu") return Act::gelu;
    if (name == "gelu_tanh") return Act::gelu_tanh;
    if (name == "relu2") return Act::relu2;
    if (name == "swiglu") return Act::swiglu;
    throw Error(Kind::usage, "there is no activation " + name, "choose gelu, gelu_tanh, relu2 or swiglu");
}

void run_activation_forward(const std::string& name, const py::object& x, const py::object& gate, const py::object& y,
                            int threads) {
    const Act act = act_of(name);
    const Tensor input = tensor(x, "x");
    Activation a{};
    a.x = input.data;
    a.gate = act == Act::swiglu ? expect(gate, "gate", input.dtype, input.count).data : input.data;
    a.y = expect(y, "y", input.dtype, input.count).data;
    const Dtype type = float_type(input, "x");
    const Released release;
    activation_forward(act, type, a, input.count, threads);
}

void run_activation_backward(const std::string& name, const py::object& dy, const py::object& x, const py::object& gate,
                             const py::object& dx, const py::object& dgate, int threads) {
    const Act act = act_of(name);
    const Tensor input = tensor(x, "x");
    Activation a{};
    a.x = input.data;
    a.dy = expect(dy, "dy", input.dtype, input.count).data;
    a.dx = expect(dx, "dx", input.dtype, input.count).data;
    a.gate = act == Act::swiglu ? expect(gate, "gate", input.dtype, input.count).data : input.data;
    a.dgate =
        act == Act::swiglu ? expect(dgate, "dgate", input.dtype, input.count).data : static_cast<void*>(input.data);
    const Dtype type = float_type(input, "x");
    const Released release;
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
        const bool narrow = p.dtype == Dtype::bfloat16, mixed = g.dtype == Dtype::bfloat16 && !narrow;
        float_type(p, "parameter"), float_type(g, "gradient");
        if (narrow && g.dtype != Dtype::bfloat16) refuse_tensor("gradient", "float32 for a bfloat16 parameter");
        if (g.count != p.count) refuse_tensor("gradient", "of another size than its parameter");
        Flat flat{};
        flat.p = p.data, flat.g = g.data, flat.count = p.count;
        flat.types = narrow ? 2 : mixed ? 1 : 0;
        flat.m = expect(parts[2], "m", p.dtype, p.count).data;
        flat.v = expect(parts[3], "v", p.dtype, p.count).data;
        flat.copy = maybe(parts[4], "copy", Dtype::bfloat16, p.count).data;
        flat.decay = parts[5].cast<float>();
        flats.push_back(flat);
    }
    const Released release;
    return adamw_step(flats.data(), static_cast<int64_t>(flats.size()), {lr, beta1, beta2, eps, clip, step, grad_scale},
                      threads);
}

void run_muon(const std::vector<py::tuple>& tensors, const std::vector<std::array<float, 3>>& quintics, float scale,
              float beta, float keep, int threads) {
    if (!has_muon()) throw Error(Kind::kernel, "muon: this variant has no products of bfloat16");
    std::vector<Muon> matrices;
    std::vector<Dtype> types;
    for (const py::tuple& parts : tensors) {
        if (parts.size() != 5)
            throw Error(Kind::usage, "each tensor comes as (parameter, gradient, momentum, bf16 copy or None, parts)");
        const Tensor p = tensor(parts[0], "parameter"), g = tensor(parts[1], "gradient");
        if (p.dtype != Dtype::float32) refuse_tensor("parameter", "float32 is served");
        if (p.shape.size() != 2 || g.count != p.count) refuse_tensor("gradient", "of another size than its parameter");
        float* momentum = at<float>(expect(parts[2], "momentum", Dtype::float32, p.count));
        auto* copy = at<uint16_t>(maybe(parts[3], "copy", Dtype::bfloat16, p.count));
        const Dtype type = float_type(g, "gradient");
        const int64_t columns = p.shape[1];
        int64_t row = 0;
        for (const auto& [rows, step] : parts[4].cast<std::vector<std::pair<int64_t, float>>>()) {
            const int64_t from = row * columns;
            row += rows;
            if (rows < 16 || rows % 16 || columns % 16 || row > p.shape[0])
                refuse_tensor("parameter", "sizes that are multiples of 16 are served");
            matrices.push_back({at<float>(p) + from, momentum + from, g.data + from * size_of(type),
                                copy ? copy + from : nullptr, rows, columns, quintics.front().data(),
                                static_cast<int64_t>(quintics.size()), scale, beta, keep, step});
            types.push_back(type);
        }
        if (row != p.shape[0]) refuse_tensor("parameter", "has other rows than its parts");
    }
    const Released release;
    muon_step(matrices.data(), types.data(), static_cast<int64_t>(matrices.size()), threads);
}

double run_norm_of(const std::vector<py::object>& tensors, int threads) {
    std::vector<Elements> all;
    for (const py::object& one : tensors) {
        const Tensor found = tensor(one, "gradient");
        all.push_back({found.data, found.count, float_type(found, "gradient")});
    }
    const Released release;
    return norm_of(all.data(), static_cast<int64_t>(all.size()), threads);
}

}  // namespace

void bind_rows(py::module_& module) {
    module.def("norm_forward", &run_norm_forward, py::arg("x"), py::arg("residual"), py::arg("weight"), py::arg("bias"),
               py::arg("y"), py::arg("h"), py::arg("mean"), py::arg("rstd"), py::arg("eps"), py::arg("offset"),
               py::arg("threads") = 0, "rms_norm (mean None) or layer_norm, residual fused.");
    module.def("norm_backward", &run_norm_backward, py::arg("dy"), py::arg("dh"), py::arg("h"), py::arg("weight"),
               py::arg("mean"), py::arg("rstd"), py::arg("dx"), py::arg("dweight"), py::arg("dbias"), py::arg("offset"),
               py::arg("threads") = 0, "Its gradients.");
    module.def(
        "cross_entropy_forward", &run_cross_entropy_forward, py::arg("logits"), py::arg("targets"), py::arg("losses"),
        py::arg("lse"), py::arg("ignore_index") = -100, py::arg("z_loss") = 0.0f, py::arg("softcap") = 0.0f,
        py::arg("threads") = 0, py::arg("dlogits") = py::none(), py::arg("ahead") = 1.0f,
        "One loss and one logarithm of the sum of exponentials a row; into dlogits (which may be the logits) the "
        "gradient of the losses' sum times `ahead`.");
    module.def("cross_entropy_backward", &run_cross_entropy_backward, py::arg("logits"), py::arg("targets"),
               py::arg("lse"), py::arg("grads"), py::arg("dlogits"), py::arg("ignore_index") = -100,
               py::arg("z_loss") = 0.0f, py::arg("softcap") = 0.0f, py::arg("threads") = 0,
               "The logits' gradient from one gradient a row; dlogits may be the logits.");
    module.def("activation_forward", &run_activation_forward, py::arg("name"), py::arg("x"), py::arg("gate"),
               py::arg("y"), py::arg("threads") = 0, "gelu, gelu_tanh, relu2, or swiglu: silu(gate) * x.");
    module.def("activation_backward", &run_activation_backward, py::arg("name"), py::arg("dy"), py::arg("x"),
               py::arg("gate"), py::arg("dx"), py::arg("dgate"), py::arg("threads") = 0, "Its gradients.");
    module.def("has_head_products", &has_head_products, "Whether this variant has pair_rows and head_gradients.");
    module.def("head_gradients", &run_head_gradients, py::arg("dlogits"), py::arg("x"), py::arg("weight_pairs"),
               py::arg("dx"), py::arg("dweight"), py::arg("threads") = 0,
               "dx = dlogits @ weight, dweight += dlogits.T @ x, in bf16.");
    module.def("gemv_int8", &run_gemv_int8, py::arg("weights"), py::arg("scales"), py::arg("x"), py::arg("y"),
               py::arg("threads") = 0, "y = scales * (weights @ x), int8 weights with a scale a row, x in fp32.");
    module.def(
        "read_all",
        [](const py::object& data, int threads) {
            const Tensor bytes = tensor(data, "data");
            if (bytes.dtype != Dtype::int8) refuse_tensor("data", "an int8 tensor is needed");
            const Released release;
            return read_all(bytes.data, bytes.count, threads);
        },
        py::arg("data"), py::arg("threads") = 0, "The sum of a tensor's words: how fast memory can be read.");
    module.def("adamw", &run_adamw, py::arg("tensors"), py::kw_only(), py::arg("lr"), py::arg("beta1"),
               py::arg("beta2"), py::arg("eps"), py::arg("clip"), py::arg("step"), py::arg("grad_scale") = 1.0f,
               py::arg("threads") = 0,
               "One AdamW step over (parameter, gradient, m, v, bf16 copy or None, decay); returns the gradients' norm "
               "before the clip. Where it is not finite nothing is changed.");
    module.def("has_muon", &has_muon, "Whether this variant has Muon's products.");
    module.def(
        "muon", &run_muon, py::arg("tensors"), py::kw_only(), py::arg("quintics"), py::arg("scale"), py::arg("beta"),
        py::arg("keep"), py::arg("threads") = 0,
        "One Muon step over (parameter, gradient, momentum, bf16 copy or None, [(rows of a matrix, what its update "
        "is multiplied by)]).");
    module.def("norm_of", &run_norm_of, py::arg("tensors"), py::arg("threads") = 0,
               "The root of the sum of all elements' squares.");
}
