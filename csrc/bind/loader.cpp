// Python's view of the loader: every array is checked here, below are only pointers.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bind/release.hpp"
#include "error.hpp"
#include "loader/ring.hpp"

namespace py = pybind11;
using pylm::Error;
using pylm::Kind;
using pylm::Released;
using namespace pylm::loader;

namespace {

using ShardTuple = std::tuple<std::string, int, int64_t, std::string, std::string>;
using DatasetTuple = std::tuple<std::string, double, int64_t, std::vector<ShardTuple>>;

constexpr int64_t LARGEST = int64_t{1} << 31;

std::shared_ptr<Batches> open_batches(const std::vector<DatasetTuple>& datasets, int64_t context_length,
                                      int64_t batch_size, int64_t stride, bool packed, uint64_t seed, int rank,
                                      int world, int together) {
    const auto refuse = [](const std::string& message) { throw Error(Kind::usage, message); };
    if (datasets.empty()) refuse("no dataset was named");
    if (context_length < 1 || context_length >= LARGEST) refuse("context_length is " + std::to_string(context_length));
    if (batch_size < 1 || batch_size >= LARGEST || batch_size * context_length >= LARGEST)
        refuse("batch_size is " + std::to_string(batch_size) + " with a context_length of " +
               std::to_string(context_length));
    if (stride < 1) refuse("stride is " + std::to_string(stride) + ", it must be 1 or more");
    if (together < 1) refuse("together is " + std::to_string(together) + ", it must be 1 or more");
    if (world < 1 || rank < 0 || rank >= world)
        refuse("rank " + std::to_string(rank) + " of " + std::to_string(world) + " does not exist");
    if (batch_size % world != 0)
        throw Error(
            Kind::usage,
            "batch_size " + std::to_string(batch_size) + " cannot be shared by " + std::to_string(world) + " ranks",
            "make it a multiple of the ranks");
    std::vector<DatasetSpec> specs;
    for (const auto& [name, weight, vocab_size, shards] : datasets) {
        DatasetSpec spec{name, {}, vocab_size, weight};
        if (shards.empty()) throw Error(Kind::data, name + ": holds no shard", "name a folder or a file of tokens");
        for (const auto& [path, width, tokens, index, mask] : shards) {
            if (width != 0 && width != 2 && width != 4)
                refuse(path + ": tokens of " + std::to_string(width) + " bytes");
            spec.shards.push_back({path, width, tokens, index, mask});
        }
        specs.push_back(std::move(spec));
    }
    const Released release;
    return std::make_shared<Batches>(specs,
                                     Shape{context_length, batch_size, stride, rank, world, packed, seed, together});
}

void check_step(int64_t step, const Batches& batches) {
    // the number of a sequence must stay inside 64 bits
    if (step < 0 || step > (int64_t{1} << 62) / batches.about().batch_size)
        throw Error(Kind::usage, "step " + std::to_string(step) + " is out of range");
}

Buffers check_buffers(const Batches& batches, const py::array& inputs, const py::array& targets,
                      const std::optional<py::array>& starts) {
    const int64_t size = batches.rows() * batches.about().context_length;
    const auto check = [&](const py::array& array, const char* name, int64_t items) {
        const bool aligned = array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_;
        if (!(array.flags() & py::array::c_style) || !aligned || !array.writeable() || array.size() != items)
            throw Error(Kind::usage, std::string(name) + " must be a contiguous, aligned, writable array of " +
                                         std::to_string(items) + " items");
    };
    check(inputs, "inputs", size), check(targets, "targets", size);
    const bool wide = inputs.dtype().is(py::dtype::of<int64_t>());
    if ((!wide && !inputs.dtype().is(py::dtype::of<int32_t>())) || !targets.dtype().is(inputs.dtype()))
        throw Error(Kind::usage, "inputs and targets must both be int64 or int32");
    Buffers buffers{const_cast<void*>(inputs.data()), const_cast<void*>(targets.data()), nullptr, wide};
    if (batches.about().packed) {
        if (!starts || !starts->dtype().is(py::dtype::of<int32_t>()))
            throw Error(Kind::usage, "packed windows need an int32 array for the starts of segments");
        check(*starts, "starts", size + 1);
        buffers.starts = static_cast<int32_t*>(const_cast<void*>(starts->data()));
    }
    return buffers;
}

int64_t fill(const Batches& batches, int64_t step, const py::array& inputs, const py::array& targets,
             const std::optional<py::array>& starts, int threads) {
    check_step(step, batches);
    const Buffers to = check_buffers(batches, inputs, targets, starts);
    const Released release;
    // SAFETY: check_buffers saw room for rows × context_length items of this type
    return to.wide ? batches.fill(step, static_cast<int64_t*>(to.inputs), static_cast<int64_t*>(to.targets), to.starts,
                                  threads)
                   : batches.fill(step, static_cast<int32_t*>(to.inputs), static_cast<int32_t*>(to.targets), to.starts,
                                  threads);
}

std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>> excerpts(const Batches& batches,
                                                                                       int64_t step) {
    check_step(step, batches);
    std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>> list;
    for (const Excerpt& e : batches.excerpts(step))
        list.emplace_back(e.row, e.dataset, e.shard, e.document, e.start, e.length);
    return list;
}

const Shard& shard_at(const Batches& batches, int64_t dataset, int64_t shard, int64_t start, int64_t length) {
    if (dataset < 0 || dataset >= static_cast<int64_t>(batches.sets().size()))
        throw Error(Kind::usage, "dataset " + std::to_string(dataset) + " does not exist");
    const Dataset& data = batches.sets()[dataset];
    if (shard < 0 || shard >= static_cast<int64_t>(data.shards().size()) || start < 0 || length < 0 ||
        start > data.shards()[shard].tokens() || length > data.shards()[shard].tokens() - start)
        throw Error(Kind::usage, "tokens " + std::to_string(start) + " and " + std::to_string(length) +
                                     " on are not inside shard " + std::to_string(shard));
    return data.shards()[shard];
}

py::array_t<int64_t> read_tokens(const Batches& batches, int64_t dataset, int64_t shard, int64_t start,
                                 int64_t length) {
    shard_at(batches, dataset, shard, start, length);
    const Dataset& data = batches.sets()[dataset];
    py::array_t<int64_t> tokens(length);
    if (length > 0) data.check(data.shard_start(shard) + start, length);
    if (length > 0) data.read(data.shard_start(shard) + start, length, tokens.mutable_data());
    return tokens;
}

std::optional<py::array_t<bool>> read_mask(const Batches& batches, int64_t dataset, int64_t shard, int64_t start,
                                           int64_t length) {
    const Shard& one = shard_at(batches, dataset, shard, start, length);
    if (!one.masked()) return std::nullopt;
    one.check();
    py::array_t<bool> counts(length);
    for (int64_t i = 0; i < length; ++i) counts.mutable_data()[i] = one.counts(start + i);
    return counts;
}

// A ring and the arrays whose memory its threads write: the caller's list of them may change.
class PyRing {
  public:
    PyRing(const std::shared_ptr<Batches>& batches, const std::vector<py::tuple>& slots, int threads, int64_t step) {
        check_step(step, *batches);
        std::vector<Buffers> buffers;
        for (const py::tuple& slot : slots) {
            auto [inputs, targets, starts] = slot.cast<std::tuple<py::array, py::array, std::optional<py::array>>>();
            buffers.push_back(check_buffers(*batches, inputs, targets, starts));
            kept.insert(kept.end(), {std::move(inputs), std::move(targets)});
            if (starts) kept.push_back(std::move(*starts));
        }
        if (buffers.size() <= Ring::HELD)
            throw Error(Kind::usage, "a ring of " + std::to_string(buffers.size()) + " slots", "use 3 or more");
        if (threads < 1 || threads > 256) throw Error(Kind::usage, "threads is " + std::to_string(threads));
        ring = std::make_unique<Ring>(batches, std::move(buffers), threads, step);
    }
    ~PyRing() { close(); }
    PyRing(const PyRing&) = delete;
    PyRing& operator=(const PyRing&) = delete;

    std::pair<int64_t, int64_t> take() {
        for (;;) {
            Ring::Taken taken{};
            {
                const Released release;
                taken = ring->take(POLL_MILLISECONDS);
            }
            if (taken.slot >= 0) return {taken.slot, taken.starts};
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C while a disk is slow
        }
    }

    void close() {
        const Released release;
        ring->close();
    }

  private:
    static constexpr int POLL_MILLISECONDS = 200;
    std::vector<py::array> kept;
    std::unique_ptr<Ring> ring;  // lives as long as this object, which a call in another thread holds
};

}  // namespace

void bind_loader(py::module_& module) {
    py::class_<Batches, std::shared_ptr<Batches>>(module, "Batches",
                                                  "Batches as a pure function of (seed, step, rank, world).")
        .def(py::init(&open_batches), py::arg("datasets"), py::kw_only(), py::arg("context_length"),
             py::arg("batch_size"), py::arg("stride"), py::arg("packed"), py::arg("seed"), py::arg("rank"),
             py::arg("world"), py::arg("together") = 1)
        .def_property_readonly("rows", &Batches::rows, "Sequences of this rank's share of a batch.")
        .def_property_readonly(
            "windows",
            [](const Batches& self) {
                std::vector<int64_t> list;
                for (size_t d = 0; d < self.sets().size(); ++d) list.push_back(self.windows(d));
                return list;
            },
            "Windows of each dataset.")
        .def_property_readonly(
            "tokens",
            [](const Batches& self) {
                std::vector<int64_t> list;
                for (const Dataset& data : self.sets()) list.push_back(data.tokens());
                return list;
            },
            "Tokens of each dataset.")
        .def(
            "places",
            [](const Batches& self, int64_t step) {
                check_step(step, self);
                std::vector<std::tuple<int, uint64_t, uint64_t>> list;
                for (int64_t row = 0; row < self.rows(); ++row) {
                    const Place place = self.place(step, row);
                    list.emplace_back(place.dataset, place.epoch, place.window);
                }
                return list;
            },
            py::arg("step"), "Dataset, epoch and window of each row.")
        .def("fill", &fill, py::arg("step"), py::arg("inputs"), py::arg("targets"), py::arg("starts") = py::none(),
             py::arg("threads") = 1, "Fill the arrays with a step's batch; returns how many starts there are.")
        .def("excerpts", &excerpts, py::arg("step"),
             "Row, dataset, shard, document (-1: unknown), start and length of each piece of a batch.")
        .def("read", &read_tokens, py::arg("dataset"), py::arg("shard"), py::arg("start"), py::arg("length"),
             "Tokens of one shard.")
        .def("mask", &read_mask, py::arg("dataset"), py::arg("shard"), py::arg("start"), py::arg("length"),
             "Which tokens of one shard count as targets; None where nothing says, and all do.");
    py::class_<PyRing>(module, "Ring", "Batches made ahead in buffers that are used again and again.")
        .def(py::init<const std::shared_ptr<Batches>&, const std::vector<py::tuple>&, int, int64_t>(),
             py::arg("batches"), py::arg("slots"), py::arg("threads"), py::arg("step"))
        .def("take", &PyRing::take, "Slot and number of starts of the next step, when it is ready.")
        .def("close", &PyRing::close, "Stop the threads; the buffers are free then.");
}
