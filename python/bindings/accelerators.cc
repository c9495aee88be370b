// What engine/base/accelerators.h knows, for Python.

#include "engine/base/accelerators.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/bindings/module.h"

namespace ray_engine::python {
namespace {

// One tuple per family: resource, variable, the variable that forbids to set it, whether units are given as wholes
// only, and what this process sees (None: all).
nb::list Families() {
  const Environment environment = Environment::OfThisProcess();
  nb::list families;
  for (const AcceleratorFamily& family : Accelerators(environment)) {
    families.append(
        nb::make_tuple(family.resource, family.variable, family.noset, family.whole, VisibleIds(family, environment)));
  }
  return families;
}

}  // namespace

void BindAccelerators(nb::module_& module) {
  module.def("accelerators", &Families);
  module.def("unit_resources", &UnitResources);
}

}  // namespace ray_engine::python
