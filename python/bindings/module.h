// The parts of the Python module; each binds what its file of the same name defines.

#pragma once

#include <nanobind/nanobind.h>

namespace ray_engine::python {

namespace nb = nanobind;

void BindAccelerators(nb::module_& module);
void BindArrays(nb::module_& module);
void BindCallSites(nb::module_& module);
void BindSession(nb::module_& module);
void BindValues(nb::module_& module);
void BindObjectRef(nb::module_& module);
void BindObjects(nb::module_& module);
void BindGenerators(nb::module_& module);
void BindCalls(nb::module_& module);
void BindGroups(nb::module_& module);
void BindWorker(nb::module_& module);
void BindServices(nb::module_& module);
void BindState(nb::module_& module);
void BindWait(nb::module_& module);

}  // namespace ray_engine::python
