// ObjectRef: the Python type of references, and what an instance of it holds.
//
// A type of CPython's own making, not one of nanobind's: a reference is made and dropped on every call and a million
// may be alive, so an instance is 64 bytes, with neither a header of the garbage collector (it refers to nothing that
// could refer back) nor an entry in a table beside it. Functions bound with nanobind take and return it like any other
// class.
//
// Called with the GIL.

#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>

#include "python/bindings/session.h"

namespace ray_engine::python {

// One hold of an entry, or just an id: of what its session knows nothing of yet.
class ObjectRef {
 public:
  ObjectRef() : owner_() {}  // stands for no object
  // Takes over one hold.
  explicit ObjectRef(ObjectEntry* entry) : entry_(entry), session_(session_number), id_(entry->id) {}
  ObjectRef(const ObjectId& id, ProcessId owner) : owner_(owner), id_(id) {}
  ObjectRef(const ObjectRef& other);
  ObjectRef(ObjectRef&& other) noexcept
      : entry_(other.entry_), session_(std::exchange(other.session_, kNoSession)), id_(other.id_) {}
  ObjectRef& operator=(ObjectRef other) noexcept;
  ~ObjectRef() {
    if (session_ == session_number) TheRuntime().Drop(entry_);
  }

  const ObjectId& id() const { return id_; }
  ProcessId owner() const { return session_ == kNoSession ? owner_ : Entry()->owner; }
  bool SessionHasEnded() const { return session_ != session_number && session_ != kNoSession; }
  // The entry; an id alone is looked up with its owner. Raises if its session has ended.
  ObjectEntry* Entry() const { return session_ == session_number ? entry_ : LookUp(); }

 private:
  ObjectEntry* LookUp() const;

  union {  // of equal size; copied as an entry, whichever it is
    mutable ObjectEntry* entry_;
    ProcessId owner_;  // of an id alone
  };
  mutable std::uint32_t session_ = kNoSession;  // the entry's; kNoSession: an id alone
  ObjectId id_;
};

// An instance in Python.
struct ObjectRefObject {
  PyObject head;
  PyObject* weakrefs;
  ObjectRef ref;
};
static_assert(sizeof(ObjectRefObject) == 64);

extern PyTypeObject* object_ref_type;

// The reference that a Python object is; null: it is none.
inline const ObjectRef* AsRef(nb::handle value) {
  PyTypeObject* type = Py_TYPE(value.ptr());
  if (type != object_ref_type && PyType_IsSubtype(type, object_ref_type) == 0) return nullptr;
  return &reinterpret_cast<ObjectRefObject*>(value.ptr())->ref;
}
// A new instance. Null, with a MemoryError set: there is no room for it.
PyObject* MakeRef(ObjectRef&& ref) noexcept;
// A new instance that takes over one hold.
inline nb::object NewRef(ObjectEntry* entry) {
  PyObject* object = MakeRef(ObjectRef(entry));
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

}  // namespace ray_engine::python

namespace nanobind::detail {

template <>
struct type_caster<ray_engine::python::ObjectRef> {
  using Value = ray_engine::python::ObjectRef;
  static constexpr auto Name = const_name("ObjectRef");
  template <class T>
  using Cast = const Value&;
  template <class T>
  static constexpr bool can_cast() {
    return true;
  }

  bool from_python(handle object, std::uint32_t, cleanup_list*) noexcept {
    value = ray_engine::python::AsRef(object);
    return value != nullptr;
  }
  static handle from_cpp(Value ref, rv_policy, cleanup_list*) noexcept {
    return ray_engine::python::MakeRef(std::move(ref));
  }
  explicit operator const Value&() const { return *value; }

  const Value* value = nullptr;
};

}  // namespace nanobind::detail
