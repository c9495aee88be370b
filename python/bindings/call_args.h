// The arguments of a call: from the objects that Python passes to bytes that travel.
//
// Called with the GIL.

#pragma once

#include <nanobind/nanobind.h>

#include "python/bindings/session.h"

namespace ray_engine::python {

// As CPython's vectorcall passes them: those by position, then those by name.
struct PassedArgs {
  PyObject* const* values = nullptr;
  std::size_t positional = 0;
  PyObject* names = nullptr;  // a tuple; null: none

  std::size_t named() const { return names == nullptr ? 0 : static_cast<std::size_t>(PyTuple_GET_SIZE(names)); }
  // The same as f(*args, **kwargs) takes them.
  nb::object Tuple() const;
  nb::object Dict() const;
};

// `name` is for error messages. What raises leaves nothing held.
void EncodeArgs(const PassedArgs& args, const CallOptions& options, nb::handle name, CallArgs* out);

}  // namespace ray_engine::python
