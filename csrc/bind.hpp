// What each bind_*.cpp adds to the module.
#pragma once
#include <pybind11/pybind11.h>

void bind_loader(pybind11::module_& module);
