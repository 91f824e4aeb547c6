// The Python face of csrc/: the only place that names pybind11.
#include <pybind11/pybind11.h>

namespace py = pybind11;

PYBIND11_MODULE(_native, module) {
    module.doc() = "pylm's C++ half: tokens to batches, logits to tokens, arithmetic on CPUs.";
    module.def(
        "build_info",
        [] {
            py::dict info;
            info["profile"] = PYLM_PROFILE;
            info["compiler"] = __VERSION__;
            return info;
        },
        "How this module was built: profile and compiler.");
}
