#include "python/bindings/call_sites.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include <string>

#include "python/bindings/module.h"

namespace ray_engine::python {

bool records_call_sites = false;

namespace {

constexpr int kFrames = 3;

std::string own_folder;  // whose code is none of the program's

std::string TextOf(PyObject* text) {
  const char* utf8 = PyUnicode_AsUTF8(text);
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 == nullptr ? "?" : utf8;
}

// The innermost frames of the program's files: "/home/me/app.py:main:12 | ...".
std::string CallSite() {
  std::string text;
  int found = 0;
  PyFrameObject* frame = PyThreadState_GetFrame(PyThreadState_Get());
  while (frame != nullptr && found < kFrames) {
    const nb::object code = nb::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
    const auto* raw = reinterpret_cast<const PyCodeObject*>(code.ptr());
    const std::string file = TextOf(raw->co_filename);
    if (file.rfind(own_folder, 0) != 0 && file.rfind("<frozen", 0) != 0) {
      text += fmt::format("{}{}:{}:{}", found++ == 0 ? "" : " | ", file, TextOf(raw->co_name),
                          PyFrame_GetLineNumber(frame));
    }
    PyFrameObject* outer = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = outer;
  }
  Py_XDECREF(frame);
  return text;
}

}  // namespace

void NoteCallSite(ObjectEntry* entry, const char* how) {
  TheRuntime().SetCallSite(entry, fmt::format("({}) {}", how, CallSite()));
}

void BindCallSites(nb::module_& module) {
  module.def(
      "record_call_sites",
      [](bool on, const std::string& folder) {
        records_call_sites = on;
        own_folder = folder;
      },
      nb::arg("on"), nb::arg("own_folder"));
}

}  // namespace ray_engine::python
