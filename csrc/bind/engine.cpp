// Python's view of the engine: weights come as anything with dtype, shape and data, logits go as numpy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bind/release.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/engine/engine.hpp"
#include "error.hpp"

namespace py = pybind11;
using namespace pylm;
using namespace pylm::cpu;

namespace {

using Floats = py::array_t<float>;

// A float's type, as safetensors or numpy name it.
Dtype dtype_of(const std::string& name, const std::string& tensor) {
    const Dtype found = name == "F32"    ? Dtype::float32
                        : name == "BF16" ? Dtype::bfloat16
                        : name == "F16"  ? Dtype::float16
                                         : dtype_named(name);
    if (is_float(found)) return found;
    throw Error(Kind::data, tensor + " is of type " + name, "an engine takes float32, bfloat16 and float16");
}

// Keeps the buffers of the tensors while the engine copies them.
struct Sources {
    std::map<std::string, Source> tensors;
    std::vector<py::buffer_info> buffers;

    explicit Sources(const py::dict& given) {
        for (const auto& item : given) {
            const auto name = item.first.cast<std::string>();
            for (const char* part : {"dtype", "shape", "data"})
                if (!py::hasattr(item.second, part))
                    throw Error(Kind::usage, name + " is no tensor: it has no " + part);
            Source source{dtype_of(py::str(item.second.attr("dtype")), name),
                          item.second.attr("shape").cast<std::vector<int64_t>>(), nullptr};
            const py::object data = item.second.attr("data");
            if (!py::isinstance<py::buffer>(data)) throw Error(Kind::usage, name + ": its data is no buffer");
            py::buffer_info info = py::reinterpret_borrow<py::buffer>(data).request();
            int64_t count = 1, step = info.itemsize;
            for (int64_t size : source.shape)
                if (size < 0 || __builtin_mul_overflow(count, size, &count) || count > INT64_MAX / 4)
                    throw Error(Kind::data, name + " is of a shape that no memory holds");
            for (auto i = info.ndim; i-- > 0; step *= info.shape[i])
                if (info.shape[i] > 1 && info.strides[i] != step)
                    throw Error(Kind::usage, name + ": its memory has gaps", "pass a contiguous copy");
            if (info.size * info.itemsize != count * size_of(source.dtype))
                throw Error(Kind::data, name + ": " + std::to_string(info.size * info.itemsize) +
                                            " bytes do not fit its shape and type");
            source.data = info.ptr;
            buffers.push_back(std::move(info));
            tensors.emplace(name, std::move(source));
        }
    }
};

template <class T>
T one_of(const std::string& value, const char* what, const std::map<std::string, T>& choices) {
    const auto found = choices.find(value);
    if (found != choices.end()) return found->second;
    std::string names;
    for (const auto& choice : choices) names += (names.empty() ? "" : ", ") + choice.first;
    throw Error(Kind::usage, std::string(what) + " is " + value, "choose one of " + names);
}

std::unique_ptr<Engine> make_engine(const py::dict& tensors, int64_t n_layers, int64_t n_heads, int64_t n_kv_heads,
                                    int64_t d_model, int64_t d_ff, int64_t vocab_size, int64_t context_length,
                                    const std::string& norm, float norm_eps, const std::string& mlp,
                                    const std::string& position, double rope_theta, bool qk_norm, bool bias, bool tied,
                                    int64_t window, float attention_softcap, float logit_softcap,
                                    const std::string& quantize, int threads, int64_t head_dim,
                                    std::vector<double> rope_frequencies, double rope_magnitude,
                                    std::optional<bool> qkv_bias, std::optional<bool> out_bias, bool norm_gain,
                                    bool embed_norm) {
    Shape s{};
    if (!head_dim && n_heads > 0 && d_model % n_heads)
        throw Error(Kind::usage, std::to_string(n_heads) + " heads do not divide the width " + std::to_string(d_model));
    s.head = head_dim ? head_dim : n_heads > 0 ? d_model / n_heads : 0;
    s.frequencies = std::move(rope_frequencies), s.magnitude = rope_magnitude;
    s.qkv_bias = qkv_bias.value_or(bias), s.out_bias = out_bias.value_or(bias);
    s.layers = n_layers, s.heads = n_heads, s.kv_heads = n_kv_heads, s.width = d_model, s.inner = d_ff;
    s.vocab = vocab_size, s.context = context_length, s.eps = norm_eps, s.theta = rope_theta;
    s.qk_norm = qk_norm, s.norm_gain = norm_gain, s.embed_norm = embed_norm, s.bias = bias, s.tied = tied,
    s.window = window;
    s.attention_softcap = attention_softcap, s.logit_softcap = logit_softcap;
    s.layer_norm = one_of<bool>(norm, "norm", {{"rmsnorm", false}, {"layernorm", true}});
    s.mlp = one_of<Act>(mlp, "mlp", {{"gelu", Act::gelu_tanh}, {"relu2", Act::relu2}, {"swiglu", Act::swiglu}});
    s.positions = one_of<Positions>(
        position, "position", {{"rope", Positions::rope}, {"learned", Positions::learned}, {"none", Positions::none}});
    const auto how = one_of<Quantise>(
        quantize, "quantize",
        {{"none", Quantise::none}, {"bf16", Quantise::bfloat16}, {"int8", Quantise::int8}, {"int4", Quantise::int4}});
    const Sources sources(tensors);
    const Released release;
    return std::make_unique<Engine>(s, sources.tensors, how, threads);
}

std::shared_ptr<Cache> make_cache(const Engine& engine, int64_t capacity) {
    return std::make_shared<Cache>(engine.shape(), capacity ? capacity : engine.shape().context, engine.cache_type);
}

Floats read_ids(Engine& engine, const std::vector<int64_t>& ids, Cache& cache, bool every) {
    const int64_t vocab = engine.shape().vocab, count = static_cast<int64_t>(ids.size());
    Floats logits = every ? Floats(std::vector<py::ssize_t>{count, vocab}) : Floats(vocab);
    float* to = logits.mutable_data();
    const Released release;
    engine.read(ids.data(), count, cache, every, to);
    return logits;
}

// The caches are held here, for another thread may empty the list that they came in.
Floats decode_ids(Engine& engine, const std::vector<int64_t>& ids, const std::vector<std::shared_ptr<Cache>>& given) {
    std::vector<Cache*> caches;
    for (const auto& cache : given) caches.push_back(cache.get());
    const auto count = static_cast<int64_t>(ids.size());
    if (ids.size() != caches.size())
        throw Error(Kind::usage,
                    std::to_string(ids.size()) + " tokens for " + std::to_string(caches.size()) + " caches");
    for (const Cache* cache : caches)
        if (!cache) throw Error(Kind::usage, "a cache is None");
    Floats logits(std::vector<py::ssize_t>{count, engine.shape().vocab});
    float* to = logits.mutable_data();
    const Released release;
    engine.decode(ids.data(), caches.data(), count, to);
    return logits;
}

py::tuple score_branches(Engine& engine, std::vector<int64_t> ids, std::vector<int64_t> parents,
                         const std::shared_ptr<Cache>& root, std::vector<int64_t> after, std::vector<int64_t> targets) {
    const Engine::Branches branches{std::move(ids), std::move(parents), std::move(after), std::move(targets)};
    const auto count = static_cast<py::ssize_t>(branches.targets.size());
    Floats nats(count);
    py::array_t<bool> likeliest(count);
    float* to = nats.mutable_data();
    bool* flags = likeliest.mutable_data();
    {
        const Released release;
        engine.score(branches, root.get(), to, flags);
    }
    return py::make_tuple(nats, likeliest);
}

}  // namespace

void bind_engine(py::module_& module) {
    py::class_<Cache, std::shared_ptr<Cache>>(module, "EngineCache", "What an engine has read of one sequence.")
        .def_property_readonly(
            "length", [](const Cache& cache) { return cache.length.load(); }, "Tokens that it holds.")
        .def_readonly("capacity", &Cache::capacity, "Tokens that it can hold.")
        .def("truncate", &Cache::truncate, py::arg("length"), "Forget what follows the first tokens.")
        .def("copy", &Cache::copy, py::arg("other"), "Become what another cache of the same model is.");
    py::class_<Engine>(module, "Engine", "A decoder on the CPU: token ids in, logits out.")
        .def(py::init(&make_engine), py::arg("tensors"), py::kw_only(), py::arg("n_layers"), py::arg("n_heads"),
             py::arg("n_kv_heads"), py::arg("d_model"), py::arg("d_ff"), py::arg("vocab_size"),
             py::arg("context_length"), py::arg("norm") = "rmsnorm", py::arg("norm_eps") = 1e-5f,
             py::arg("mlp") = "swiglu", py::arg("position") = "rope", py::arg("rope_theta") = 10000.0,
             py::arg("qk_norm") = false, py::arg("bias") = false, py::arg("tied") = true, py::arg("window") = 0,
             py::arg("attention_softcap") = 0.0f, py::arg("logit_softcap") = 0.0f, py::arg("quantize") = "none",
             py::arg("threads") = 0, py::arg("head_dim") = 0, py::arg("rope_frequencies") = std::vector<double>(),
             py::arg("rope_magnitude") = 1.0, py::arg("qkv_bias") = py::none(), py::arg("out_bias") = py::none(),
             py::arg("norm_gain") = true, py::arg("embed_norm") = false)
        .def_property_readonly("weight_bytes", &Engine::weight_bytes, "Bytes of weights that a decoded token reads.")
        .def("cache", &make_cache, py::arg("capacity") = 0, "Room for one sequence; 0: the model's context.")
        .def("read", &read_ids, py::arg("ids"), py::arg("cache"), py::arg("every") = false,
             "Append ids to a sequence: the logits [vocab] after the last, or [ids, vocab] after each.")
        .def("decode", &decode_ids, py::arg("ids"), py::arg("caches"),
             "Append one id to each sequence: the logits [ids, vocab] after them.")
        .def("score", &score_branches, py::arg("ids"), py::arg("parents"), py::arg("root").none(true), py::arg("after"),
             py::arg("targets"),
             "How unlikely targets are after tokens that branch off a sequence and are not kept, in nats, and whether "
             "each is the likeliest.");
}
