// Python's view of the sampler. Logits come as numpy arrays: bfloat16, which numpy has not, as uint16.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bind/release.hpp"
#include "error.hpp"
#include "sampler/sampler.hpp"
#include "threads.hpp"

namespace py = pybind11;
using namespace pylm::sampler;
using pylm::Dtype;
using pylm::Error;
using pylm::Kind;
using pylm::Released;

namespace {

using History = std::optional<std::vector<py::array_t<int64_t, py::array::c_style | py::array::forcecast>>>;

struct Logits {
    const char* data;
    Dtype dtype;
    int64_t rows, width, row_bytes;
};

Logits check_logits(const py::array& logits, const std::string& dtype) {
    const Dtype type = pylm::dtype_named(dtype);
    if (!pylm::is_float(type))
        throw Error(Kind::usage, "logits of type " + dtype, "float32, float16 and bfloat16 are read");
    const char kind = logits.dtype().kind();
    const auto size = logits.itemsize();
    const bool fits = type == Dtype::bfloat16 ? kind == 'u' || kind == 'i' : kind == 'f';
    if (!fits || size != pylm::size_of(type) || logits.dtype().byteorder() == '>')
        throw Error(Kind::usage, "the array of logits does not hold " + dtype,
                    "bfloat16 crosses as uint16, the others as themselves");
    if (logits.ndim() != 2 || logits.shape(1) < 1 || logits.shape(0) < 1)
        throw Error(Kind::usage, "logits must have two dimensions, rows and vocabulary, neither empty");
    if (logits.strides(1) != size) throw Error(Kind::usage, "the logits of a row must lie side by side");
    if (reinterpret_cast<uintptr_t>(logits.data()) % size != 0 || logits.strides(0) % size != 0)
        throw Error(Kind::usage, "the logits are not aligned to their type");
    return {static_cast<const char*>(logits.data()), type, logits.shape(0), logits.shape(1), logits.strides(0)};
}

int64_t check_vocab(const Logits& logits, int64_t vocab_size) {
    if (vocab_size < 0 || vocab_size > logits.width)
        throw Error(Kind::usage, "vocab_size is " + std::to_string(vocab_size) + ", a row has " +
                                     std::to_string(logits.width) + " logits");
    return vocab_size ? vocab_size : logits.width;
}

const int64_t* history_of(const History& history, int64_t row, int64_t rows, int64_t& length) {
    if (!history) return length = 0, nullptr;
    if (static_cast<int64_t>(history->size()) != rows)
        throw Error(Kind::usage,
                    "history has " + std::to_string(history->size()) + " rows, logits have " + std::to_string(rows));
    const auto& mine = (*history)[row];
    length = mine.size();
    return mine.data();
}

uint64_t unsigned_64(const py::int_& value, const char* name) {
    const uint64_t number = PyLong_AsUnsignedLongLong(value.ptr());
    if (number == ~uint64_t{0} && PyErr_Occurred()) {
        PyErr_Clear();
        throw Error(Kind::usage, std::string(name) + " is " + std::string(py::str(value)),
                    "it is 0 or more and below 2**64");
    }
    return number;
}

std::vector<uint64_t> one_a_row(const std::vector<py::int_>& values, const char* name, int64_t rows) {
    if (static_cast<int64_t>(values.size()) != rows)
        throw Error(Kind::usage, std::string(name) + " has " + std::to_string(values.size()) +
                                     " entries, logits have " + std::to_string(rows) + " rows");
    std::vector<uint64_t> numbers;
    for (const auto& value : values) numbers.push_back(unsigned_64(value, name));
    return numbers;
}

py::tuple sample_rows(const py::array& array, const std::string& dtype, const Settings& settings,
                      const History& history, const py::int_& seed, const std::vector<py::int_>& sequence,
                      const std::vector<py::int_>& position, int64_t vocab_size, bool logprobs, int64_t alternatives,
                      int threads) {
    const Logits logits = check_logits(array, dtype);
    const int64_t vocabulary = check_vocab(logits, vocab_size);
    settings.check(vocabulary);
    if (alternatives < 0 || alternatives > vocabulary)
        throw Error(Kind::usage, "alternatives is " + std::to_string(alternatives));
    const uint64_t key = unsigned_64(seed, "seed");
    const auto sequences = one_a_row(sequence, "sequence", logits.rows);
    const auto positions = one_a_row(position, "position", logits.rows);
    std::vector<Row> rows;
    for (int64_t r = 0; r < logits.rows; ++r) {
        int64_t length = 0;
        const int64_t* past = history_of(history, r, logits.rows, length);
        rows.push_back({logits.data + r * logits.row_bytes, logits.dtype, vocabulary, past, length, r});
    }
    std::vector<Choice> choices(logits.rows);
    {
        // SAFETY: the arrays are held by our arguments, the rows were measured above
        const Released release;
        pylm::parallel(threads, logits.rows, [&](int64_t r) {
            choices[r] = sample(rows[r], settings, key, sequences[r], positions[r], logprobs, alternatives);
        });
    }
    py::array_t<int64_t> ids(logits.rows);
    py::array_t<float> values(logprobs ? logits.rows : 0);
    py::array_t<int64_t> top_ids({logits.rows, alternatives});
    py::array_t<float> top_values({logits.rows, alternatives});
    for (int64_t r = 0; r < logits.rows; ++r) {
        ids.mutable_at(r) = choices[r].id;
        if (logprobs) values.mutable_at(r) = choices[r].logprob;
        for (int64_t a = 0; a < alternatives; ++a) {
            top_ids.mutable_at(r, a) = choices[r].top[a].first;
            top_values.mutable_at(r, a) = choices[r].top[a].second;
        }
    }
    return py::make_tuple(ids, logprobs ? py::object(values) : py::none(),
                          alternatives ? py::object(top_ids) : py::none(),
                          alternatives ? py::object(top_values) : py::none());
}

py::array_t<double> probabilities(const py::array& array, const std::string& dtype, const Settings& settings,
                                  const History& history, int64_t vocab_size) {
    const Logits logits = check_logits(array, dtype);
    const int64_t vocabulary = check_vocab(logits, vocab_size);
    settings.check(vocabulary);
    py::array_t<double> result({logits.rows, logits.width});
    for (int64_t r = 0; r < logits.rows; ++r) {
        int64_t length = 0;
        const int64_t* past = history_of(history, r, logits.rows, length);
        const auto kept =
            weights({logits.data + r * logits.row_bytes, logits.dtype, vocabulary, past, length, r}, settings);
        double sum = 0;
        for (uint32_t weight : kept) sum += weight;
        for (int64_t i = 0; i < logits.width; ++i) result.mutable_at(r, i) = i < vocabulary ? kept[i] / sum : 0.0;
    }
    return result;
}

Settings make_settings(float temperature, int64_t top_k, float top_p, float min_p, float repetition_penalty,
                       float presence_penalty, float frequency_penalty,
                       const std::vector<std::pair<int64_t, float>>& logit_bias) {
    Settings made{temperature,       top_k,     top_p, min_p, repetition_penalty, presence_penalty,
                  frequency_penalty, logit_bias};
    made.check(INT64_MAX);  // what needs no vocabulary to be wrong
    return made;
}

}  // namespace

void bind_sampler(py::module_& module) {
    py::class_<Settings>(
        module, "SampleSettings",
        "How to draw: temperature 0 takes the most likely token; top_k 0, top_p 1 and min_p 0 are off.")
        .def(py::init(&make_settings), py::kw_only(), py::arg("temperature") = 1.0f, py::arg("top_k") = 0,
             py::arg("top_p") = 1.0f, py::arg("min_p") = 0.0f, py::arg("repetition_penalty") = 1.0f,
             py::arg("presence_penalty") = 0.0f, py::arg("frequency_penalty") = 0.0f,
             py::arg("logit_bias") = std::vector<std::pair<int64_t, float>>{});
    module.def("sample", &sample_rows, py::arg("logits"), py::arg("dtype"), py::arg("settings"), py::arg("history"),
               py::arg("seed"), py::arg("sequence"), py::arg("position"), py::kw_only(), py::arg("vocab_size") = 0,
               py::arg("logprobs") = true, py::arg("alternatives") = 0, py::arg("threads") = 0,
               "One token a row: ids, their log-probabilities under the logits as they came, and ids and "
               "log-probabilities of the most likely ones (None where not asked for).");
    module.def("sample_probabilities", &probabilities, py::arg("logits"), py::arg("dtype"), py::arg("settings"),
               py::arg("history") = py::none(), py::kw_only(), py::arg("vocab_size") = 0,
               "The distribution that `sample` draws from, after penalties, temperature and filters.");
}
