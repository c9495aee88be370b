// Slots: functions of ours in the tables of CPython types, which know no exceptions of C++.
//
// Called with the GIL.

#pragma once

#include <nanobind/nanobind.h>

#include <exception>
#include <string>

namespace ray_engine::python {

namespace nb = nanobind;

[[noreturn]] inline void Raise(PyObject* type, const std::string& text) {
  PyErr_SetString(type, text.c_str());
  throw nb::python_error();
}

// What `call` returns; `failed`, with a Python exception set, if it throws.
template <class T, class Call>
T Raising(T failed, const Call& call) noexcept {
  try {
    return call();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return failed;
}

}  // namespace ray_engine::python
