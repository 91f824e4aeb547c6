// The Python face of csrc/: bind/ is the only folder that names pybind11.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>

#include "cpu/dispatch.hpp"
#include "error.hpp"
#include "threads.hpp"

namespace py = pybind11;

// Each stands in the file of its name.
void bind_loader(py::module_& module);
void bind_sampler(py::module_& module);
void bind_rows(py::module_& module);
void bind_attention(py::module_& module);
void bind_engine(py::module_& module);

namespace {

// pylm.errors says what a user sees; its classes take the message and the hint apart.
void raise(const pylm::Error& error) {
    static const char* const names[] = {"UsageError", "DataError", "KernelError"};
    const py::object type = py::module_::import("pylm.errors").attr(names[static_cast<int>(error.kind)]);
    const py::object hint = error.hint.empty() ? py::none() : py::object(py::str(error.hint));
    PyErr_SetObject(type.ptr(), type(error.message, hint).ptr());
}

py::dict build_info() {
    py::dict info;
    info["profile"] = PYLM_PROFILE;
    info["compiler"] = __VERSION__;
    return info;
}

py::dict cpu_info() {
    py::dict info;
    py::list variants;
    for (auto one : pylm::cpu::available()) variants.append(pylm::cpu::name_of(one));
    info["variant"] = pylm::cpu::name_of(pylm::cpu::variant());
    info["variants"] = variants;
    info["features"] = pylm::cpu::features().names();
    info["cores"] = pylm::cores();
    info["pool"] = pylm::pool_name();
    return info;
}

}  // namespace

// pybind11's own entry, under another name: see below.
#define PyInit__native pylm_native_entry
PYBIND11_MODULE(_native, module) {
    module.doc() = "pylm's C++ half: tokens to batches, logits to tokens, arithmetic on CPUs.";
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const pylm::Error& error) {
            raise(error);
        }
    });
    // raised when the functions change, so that Python files beside an older module say so
    module.attr("INTERFACE") = 7;
    module.def("build_info", &build_info, "How this module was built: profile and compiler.");
    module.def("cpu_info", &cpu_info,
               "The variant of the kernels in use, those that run here, the processor's features, the cores that this "
               "process may use, and whose threads run the kernels.");
    module.def("force_variant", &pylm::cpu::force, py::arg("name"),
               "Use another variant from now on; an empty name returns to PYLM_CPU or the widest.");
    module.def("share_openmp", &pylm::share_openmp,
               "Run on the OpenMP pool that torch brought into the process; False where there is none.");
    bind_loader(module);
    bind_sampler(module);
    bind_rows(module);
    bind_attention(module);
    bind_engine(module);
}
#undef PyInit__native

// The module keeps state of the process (one pool of threads, the interpreter's types), so that it serves one
// interpreter. pybind11's entry asks for the lock in a way that never returns in a second one; whether it is one is
// asked before.
extern "C" PYBIND11_EXPORT PyObject* PyInit__native() {
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "pylm._native does not work in a sub-interpreter: import pylm in the main one");
        return nullptr;
    }
    return pylm_native_entry();
}
