// _core: the Python module of the engine. Thin: opaque objects and functions; the API is Python (python/ray_engine).

#include "python/bindings/module.h"

NB_MODULE(_core, module) {
  using namespace ray_engine::python;
  nb::set_leak_warnings(false);  // references in the globals of a program outlive the module
  BindAccelerators(module);
  BindSession(module);
  BindValues(module);
  BindArrays(module);
  BindCallSites(module);
  BindObjectRef(module);
  BindObjects(module);
  BindWait(module);
  BindGenerators(module);
  BindCalls(module);
  BindGroups(module);
  BindWorker(module);
  BindServices(module);
  BindState(module);
}
