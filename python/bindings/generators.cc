#include "python/bindings/generators.h"

#include <nanobind/stl/optional.h>

#include "python/bindings/module.h"

namespace ray_engine::python {

ObjectRefGenerator::~ObjectRefGenerator() {
  if (stream_ != nullptr && session_ == session_number) TheRuntime().CloseStream(stream_.get());
}

Runtime& ObjectRefGenerator::TheRuntimeOfThis() const {
  completion_.Entry();
  return TheRuntime();
}

ObjectRef ObjectRefGenerator::Peek() const { return ObjectRef(TheRuntimeOfThis().PeekItem(stream_.get())); }

std::optional<ObjectRef> ObjectRefGenerator::Take() const {
  ObjectEntry* entry = TheRuntimeOfThis().TakeItem(stream_.get());
  if (entry == nullptr) return std::nullopt;
  return ObjectRef(entry);
}

bool ObjectRefGenerator::HasEnded() const { return TheRuntimeOfThis().StreamHasEnded(stream_.get()); }

// Iteration, awaiting and the rest are added in Python (ray_engine/_private/generators.py).
void BindGenerators(nb::module_& module) {
  nb::class_<ObjectRefGenerator>(module, "ObjectRefGenerator", nb::dynamic_attr(), nb::is_weak_referenceable(),
                                 "What a call of a function that yields returns: an iterator, and an asynchronous one, "
                                 "over references to the\nitems. next() waits for the next item; the iteration raises "
                                 "at its end what the function raised.")
      .def(
          "completed", [](const ObjectRefGenerator& self) { return ObjectRef(self.completion()); },
          "A reference that is ready when the task has ended.")
      .def("_peek", &ObjectRefGenerator::Peek)
      .def("_take", &ObjectRefGenerator::Take)
      .def("_has_ended", &ObjectRefGenerator::HasEnded);
}

}  // namespace ray_engine::python
