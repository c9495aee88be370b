#include "python/bindings/object_ref.h"

#include <fmt/format.h>
#include <structmember.h>

#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <string_view>

#include "python/bindings/module.h"
#include "python/bindings/slots.h"

namespace ray_engine::python {

PyTypeObject* object_ref_type = nullptr;

ObjectRef::ObjectRef(const ObjectRef& other) : entry_(other.entry_), session_(other.session_), id_(other.id_) {
  if (session_ == session_number) TheRuntime().Hold(entry_);
}

ObjectRef& ObjectRef::operator=(ObjectRef other) noexcept {
  std::swap(id_, other.id_);
  std::swap(session_, other.session_);
  std::swap(entry_, other.entry_);
  return *this;
}

ObjectEntry* ObjectRef::LookUp() const {
  if (SessionHasEnded()) {
    Raise(PyExc_ValueError,
          fmt::format("Ray object whose owner is unknown: {} belongs to a session that has ended. Ray objects whose "
                      "owner is unknown can be neither read nor passed on.",
                      id_.Hex()));
  }
  entry_ = TheRuntime().Adopt({id_, owner_});
  session_ = session_number;
  return entry_;
}

PyObject* MakeRef(ObjectRef&& ref) noexcept {
  auto* made = PyObject_New(ObjectRefObject, object_ref_type);
  if (made == nullptr) return nullptr;
  made->weakrefs = nullptr;
  new (&made->ref) ObjectRef(std::move(ref));
  return reinterpret_cast<PyObject*>(made);
}

namespace {

ObjectRef& RefIn(PyObject* self) { return reinterpret_cast<ObjectRefObject*>(self)->ref; }

PyObject* Bytes(std::string_view bytes) {
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}
PyObject* Text(std::string_view text) {
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

// ---- life ----------------------------------------------------------------------------------------------------------

PyObject* New(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) new (&RefIn(self)) ObjectRef();
  return self;
}

// What ObjectRef(other), ObjectRef(binary) and ObjectRef(binary, owner) stand for. Raises TypeError for anything else.
ObjectRef RefFrom(PyObject* args, PyObject* kwargs) {
  const Py_ssize_t count = kwargs == nullptr || PyDict_GET_SIZE(kwargs) == 0 ? PyTuple_GET_SIZE(args) : 0;
  PyObject* first = count == 1 || count == 2 ? PyTuple_GET_ITEM(args, 0) : Py_None;
  PyObject* owner = count == 2 ? PyTuple_GET_ITEM(args, 1) : nullptr;
  const ObjectRef* other = AsRef(first);
  if (other != nullptr && owner == nullptr) return *other;
  if (!PyBytes_Check(first) || (owner != nullptr && !PyBytes_Check(owner))) {
    Raise(PyExc_TypeError, "ObjectRef() takes another ObjectRef, or the bytes of an id and perhaps of its owner");
  }
  const std::string_view id(PyBytes_AS_STRING(first), static_cast<std::size_t>(PyBytes_GET_SIZE(first)));
  if (id.size() != ObjectId::kSize) {
    Raise(PyExc_ValueError, fmt::format("ID string needs to have length {}, got {}", ObjectId::kSize, id.size()));
  }
  ProcessId process;
  if (owner != nullptr && PyBytes_GET_SIZE(owner) == sizeof process) {
    std::memcpy(&process, PyBytes_AS_STRING(owner), sizeof process);
  }
  return {ObjectId::FromBinary(id), process};
}

int Init(PyObject* self, PyObject* args, PyObject* kwargs) {
  return Raising(-1, [&] {
    RefIn(self) = RefFrom(args, kwargs);
    return 0;
  });
}

void Dealloc(PyObject* self) {
  if (reinterpret_cast<ObjectRefObject*>(self)->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  PyTypeObject* type = Py_TYPE(self);
  RefIn(self).~ObjectRef();
  type->tp_free(self);
  Py_DECREF(type);
}

// A copy counts at once; one that was pickled is looked up when it is first used.
PyObject* Copy(PyObject* self, PyObject*) { return MakeRef(ObjectRef(RefIn(self))); }

// ---- as an id ------------------------------------------------------------------------------------------------------

Py_hash_t Hash(PyObject* self) {
  const auto hash = static_cast<Py_hash_t>(std::hash<std::string_view>()(RefIn(self).id().Binary()));
  return hash == -1 ? -2 : hash;  // -1 means an error
}

PyObject* Compare(PyObject* self, PyObject* other, int how) {
  const ObjectRef* right = AsRef(other);
  const ObjectId& id = RefIn(self).id();
  if (right != nullptr && how == Py_LT) return PyBool_FromLong(id < right->id());
  if (how == Py_EQ || how == Py_NE) {
    const bool equal = right != nullptr && id == right->id();
    return PyBool_FromLong(equal == (how == Py_EQ));
  }
  Py_RETURN_NOTIMPLEMENTED;
}

PyObject* Repr(PyObject* self) { return Text("ObjectRef(" + RefIn(self).id().Hex() + ")"); }
PyObject* Binary(PyObject* self, PyObject*) { return Bytes(RefIn(self).id().Binary()); }
PyObject* Hex(PyObject* self, PyObject*) { return Text(RefIn(self).id().Hex()); }
PyObject* IsNil(PyObject* self, PyObject*) { return PyBool_FromLong(RefIn(self).id().IsNil()); }
PyObject* Task(PyObject* self, PyObject*) { return Bytes(TaskOf(RefIn(self).id()).Binary()); }
PyObject* Job(PyObject* self, PyObject*) { return Bytes(RefIn(self).id().Binary().substr(20, JobId::kSize)); }

// Whoever asks for the owner means to name the object somewhere else.
PyObject* Owner(PyObject* self, PyObject*) {
  return Raising(static_cast<PyObject*>(nullptr), [self] {
    const ProcessId owner = RefIn(self).owner();
    if (!owner.IsNil()) TheRuntime().Export(RefIn(self).Entry());
    std::string bytes;
    AppendPlain(&bytes, owner);
    return Bytes(bytes);
  });
}

// ---- the type ------------------------------------------------------------------------------------------------------

constexpr char kHelp[] =
    "A reference to an object, and a future of its value: what calls and put() return. get() and await read it; as an\n"
    "argument of a call it stands for the value. The object lives as long as there are references to it.";

PyMethodDef kMethods[] = {
    {"binary", Binary, METH_NOARGS, "binary($self, /)\n--\n\nThe id as bytes."},
    {"hex", Hex, METH_NOARGS, "hex($self, /)\n--\n\nThe id in hexadecimal digits."},
    {"is_nil", IsNil, METH_NOARGS, "is_nil($self, /)\n--\n\nWhether it stands for no object."},
    {"task_id", Task, METH_NOARGS, "task_id($self, /)\n--\n\n"},
    {"job_id", Job, METH_NOARGS, "job_id($self, /)\n--\n\n"},
    {"owner", Owner, METH_NOARGS, "owner($self, /)\n--\n\nThe process that made the object, as bytes."},
    {"__copy__", Copy, METH_NOARGS, nullptr},
    {"__deepcopy__", Copy, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef kMembers[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(ObjectRefObject, weakrefs), READONLY, nullptr},
                          {nullptr, 0, 0, 0, nullptr}};

PyType_Slot kSlots[] = {{Py_tp_doc, const_cast<char*>(kHelp)},
                        {Py_tp_new, reinterpret_cast<void*>(New)},
                        {Py_tp_init, reinterpret_cast<void*>(Init)},
                        {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                        {Py_tp_hash, reinterpret_cast<void*>(Hash)},
                        {Py_tp_richcompare, reinterpret_cast<void*>(Compare)},
                        {Py_tp_repr, reinterpret_cast<void*>(Repr)},
                        {Py_tp_methods, kMethods},
                        {Py_tp_members, kMembers},
                        {0, nullptr}};

PyType_Spec kSpec = {"ray_engine._core.ObjectRef", sizeof(ObjectRefObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                     kSlots};

}  // namespace

void BindObjectRef(nb::module_& module) {
  const nb::object type = nb::steal(PyType_FromSpec(&kSpec));
  if (!type.is_valid()) throw nb::python_error();
  object_ref_type = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());  // for the life of the process
  module.attr("ObjectRef") = type;
}

}  // namespace ray_engine::python
