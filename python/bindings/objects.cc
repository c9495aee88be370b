// get, put.

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "python/bindings/call_sites.h"
#include "python/bindings/generators.h"
#include "python/bindings/module.h"
#include "python/bindings/values.h"
#include "python/bindings/waiting.h"

namespace ray_engine::python {

namespace {

void RaiseIfFreed(const ObjectEntry* entry) {
  if (entry->freed) RaiseSystemError("ObjectFreedError", "", entry->id.Binary());
}

// False: some have been lost, and may be ready again later, or errors.
bool Pins(const std::vector<ObjectEntry*>& entries, std::int64_t deadline, std::vector<std::shared_ptr<Pin>>* pins) {
  std::vector<ObjectEntry*> stored;
  std::vector<std::size_t> places;  // of them among the entries
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i]->kind != WireValue::kStored) continue;
    stored.push_back(entries[i]);
    places.push_back(i);
  }
  pins->assign(entries.size(), nullptr);
  if (stored.empty()) return true;
  PinRequest request(std::move(stored));
  const WaitResult result = WaitForPins(&request, deadline);
  if (request.lost) return false;
  if (result == WaitResult::kTimeout)
    RaiseSystemError("GetTimeoutError", "Get timed out: the object is still being fetched.");
  if (result == WaitResult::kDisconnected) RaiseEnded();
  for (std::size_t next = 0; next < places.size(); ++next) {
    const std::size_t i = places[next];
    (*pins)[i] = std::move(request.pins[next]);
    if ((*pins)[i] != nullptr) continue;
    RaiseIfFreed(entries[i]);
    if (request.problem == StoreProblem::kFull) RaiseSystemError("ObjectStoreFullError", request.error);
    if (request.problem == StoreProblem::kOutOfDisk) RaiseSystemError("OutOfDiskError", request.error);
    RaiseSystemError(TheRuntime().OwnerIsGone(entries[i]) ? "OwnerDiedError" : "ObjectLostError", request.error,
                     entries[i]->id.Binary());
  }
  return true;
}

nb::object ValueOf(ObjectEntry* entry, const std::shared_ptr<Pin>& pin) {
  if (entry->is_error) {
    const nb::object error = DecodeError(entry);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
    throw nb::python_error();
  }
  if (pin != nullptr) return DecodeValue({pin->data, pin->size}, pin, entry->contained);
  return DecodeValue(entry->bytes, nullptr, entry->contained);
}

std::vector<ObjectEntry*> EntriesOf(nb::handle refs, const char* what) {
  std::vector<ObjectEntry*> entries;
  entries.reserve(nb::len(refs));
  for (nb::handle value : refs) {
    const ObjectRef* ref = AsRef(value);
    if (ref == nullptr) {
      throw nb::value_error(fmt::format("Invalid type of object refs, {}, is given. '{}' must be a list of ObjectRefs.",
                                        nb::type_name(value.type()).c_str(), what)
                                .c_str());
    }
    entries.push_back(ref->Entry());
  }
  return entries;
}

void WaitAll(const std::vector<ObjectEntry*>& entries, std::int64_t deadline) {
  const WaitResult result = WaitFor(entries, entries.size(), deadline, true);
  if (result == WaitResult::kTimeout) {
    RaiseSystemError("GetTimeoutError", "Get timed out: some object(s) not ready.");
  }
  if (result == WaitResult::kDisconnected) RaiseEnded();
}

// One error is raised; the others, and those that are yet to come, count as seen.
void RaiseFirstError(const std::vector<ObjectEntry*>& entries) {
  for (ObjectEntry* entry : entries) {
    RaiseIfFreed(entry);
    if (!entry->ready || !entry->is_error) continue;
    for (ObjectEntry* other : entries) other->seen = true;
    ValueOf(entry, nullptr);
  }
}

// What is said to lie in a store is pinned there without asking its owner. The pins are kept until the values are read;
// for what does not lie there any more WaitAll() asks.
std::optional<PinRequest> PinHinted(const std::vector<ObjectEntry*>& entries, std::int64_t deadline) {
  std::vector<ObjectEntry*> hinted = TheRuntime().Hinted(entries);
  if (hinted.empty()) return std::nullopt;
  PinRequest request(std::move(hinted));
  if (WaitForPins(&request, deadline) == WaitResult::kDisconnected) RaiseEnded();
  return request;
}

nb::object GetOne(const ObjectRef& ref, std::int64_t deadline) {
  const std::vector<ObjectEntry*> entries{ref.Entry()};
  std::optional<PinRequest> early;
  bool ready = TheRuntime().IsReady(entries[0]);
  if (!ready) early = PinHinted(entries, deadline);
  std::vector<std::shared_ptr<Pin>> pins;
  do {
    if (!ready) WaitAll(entries, deadline);
    ready = false;  // what has been lost is waited for again
    RaiseIfFreed(entries[0]);
  } while (!entries[0]->is_error && !Pins(entries, deadline, &pins));
  return ValueOf(entries[0], pins.empty() ? nullptr : pins[0]);
}

nb::object Get(nb::handle refs, nb::object timeout, nb::handle) {
  const std::int64_t deadline = Deadline(timeout);
  if (const ObjectRef* ref = AsRef(refs)) return GetOne(*ref, deadline);
  if (nb::isinstance<ObjectRefGenerator>(refs)) return nb::borrow(refs);
  if (!nb::isinstance<nb::list>(refs) && !nb::isinstance<nb::tuple>(refs)) {
    throw nb::value_error(
        fmt::format("Invalid type of object refs, {}, is given. 'object_refs' must either be an ObjectRef "
                    "or a list of ObjectRefs. ",
                    nb::type_name(refs.type()).c_str())
            .c_str());
  }
  const nb::object keep = nb::borrow(refs);
  const std::vector<ObjectEntry*> entries = EntriesOf(refs, "object_refs");
  const std::optional<PinRequest> early = PinHinted(entries, deadline);
  std::vector<std::shared_ptr<Pin>> pins;
  do {
    WaitAll(entries, deadline);
    RaiseFirstError(entries);
  } while (!Pins(entries, deadline, &pins));
  nb::object values = nb::steal(PyList_New(static_cast<Py_ssize_t>(entries.size())));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    PyList_SET_ITEM(values.ptr(), static_cast<Py_ssize_t>(i), ValueOf(entries[i], pins[i]).release().ptr());
  }
  return values;
}

ObjectRef Put(nb::handle value) {
  if (AsRef(value) != nullptr) {
    throw nb::type_error(
        "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can wrap the "
        "ray.ObjectRef in a list and call 'put' on it.");
  }
  Runtime& runtime = TheRuntime();  // first: connects the process, if need be, and so brings the hooks
  EncodedValue encoded(value, nb::none(), false);
  absl::StatusOr<ObjectEntry*> entry = absl::UnknownError("");
  if (encoded.pieces.buffers.empty() && encoded.pieces.head.size() < runtime.inline_limit()) {
    entry = runtime.Put(std::move(encoded.pieces));
  } else {
    const nb::gil_scoped_release release;
    entry = runtime.Put(std::move(encoded.pieces));
  }
  if (!entry.ok()) RaiseSystemError(StoreErrorName(entry.status()), MessageOf(entry.status()));
  if (records_call_sites) NoteCallSite(*entry, "put object");
  return ObjectRef(*entry);
}

void OnReady(const ObjectRef& ref, nb::callable callback) {
  PyObject* call = callback.release().ptr();
  TheRuntime().OnReady(ref.Entry(), [call] {
    if (Py_IsInitialized() == 0) return;
    const nb::gil_scoped_acquire gil;
    PyObject* result = PyObject_CallNoArgs(call);
    if (result == nullptr) PyErr_WriteUnraisable(call);
    Py_XDECREF(result);
    Py_DECREF(call);
  });
}

// [(indices of nodes, bytes)] for each reference, as far as this process knows; no nodes: not there yet.
nb::list Places(nb::handle refs) {
  nb::list places;
  for (const ObjectEntry* entry : EntriesOf(refs, "object_refs")) {
    const Place place = TheRuntime().PlaceOf(entry);
    places.append(nb::make_tuple(place.nodes, place.size));
  }
  return places;
}

// ---- help ----------------------------------------------------------------------------------------------------------

constexpr char kGetHelp[] =
    "The value of an object, or the list of the values of several; waits until they are there.\n\n"
    "- object_refs: a reference, or a list or tuple of them. A generator comes back as it is.\n"
    "- timeout: seconds to wait at most; None: any time.\n\n"
    "Large values are views into shared memory and read-only. Raises what the task raised (an instance of its class "
    "and\n"
    "of RayTaskError), GetTimeoutError, ValueError for anything but references, and the other errors of\n"
    "ray.exceptions where a value cannot be had: of several objects, that of the first that failed.";
constexpr char kPutHelp[] =
    "Stores a value and returns a reference to it.\n\n"
    "Values of more than 100 KiB go to the shared memory of this node, where all its processes read them without a "
    "copy.\n\n"
    "- _owner: the actor to own the object, by its handle; None: this process. An object ends with its owner.\n\n"
    "Raises TypeError for a reference and for what cannot be serialised, ObjectStoreFullError where there is no room, "
    "RuntimeError for an owner that is dead.";

}  // namespace

void BindObjects(nb::module_& module) {
  module.def("get", &Get, nb::arg("object_refs"), nb::arg("timeout") = nb::none(), nb::arg("_use_object_store") = false,
             kGetHelp);
  module.def(
      "put",
      [](nb::handle value, nb::object owner) {
        if (owner.is_none()) return nb::cast(Put(value));
        return nb::module_::import_("ray_engine._private.assigned_owner").attr("put")(value, owner);
      },
      nb::arg("value").none(), nb::kw_only(), nb::arg("_owner") = nb::none(), kPutHelp);
  module.def("on_ready", &OnReady);
  module.def("free", [](const ObjectRef& ref) { TheRuntime().Free(ref.Entry()); });
  module.def("places", &Places);
  module.def("is_own", [](const ObjectRef& ref) { return ref.Entry()->owner == TheRuntime().self(); });
}

}  // namespace ray_engine::python
