#include "python/bindings/values.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "python/bindings/arrays.h"
#include "python/bindings/module.h"
#include "python/bindings/object_ref.h"

namespace ray_engine::python {
namespace {

nb::object Steal(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

nb::object Call(PyObject* hook, std::initializer_list<PyObject*> args) {
  return Steal(PyObject_Vectorcall(hook, args.begin(), args.size(), nullptr));
}

// A read-only window on a pinned object, or on a copy of a small one; Python views of it keep either.
struct PinnedBuffer {
  std::shared_ptr<const void> owner;
  std::string_view bytes;
};

// A copy whose buffers begin where those of a stored object would: at multiples of 64 bytes.
PinnedBuffer AlignedCopy(std::string_view bytes) {
  const std::size_t room = std::max(ValuePieces::Align(bytes.size()), ValuePieces::Align(1));
  std::shared_ptr<char> copy(static_cast<char*>(std::aligned_alloc(ValuePieces::Align(1), room)), std::free);
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return {copy, {copy.get(), bytes.size()}};
}

int GetPinnedBuffer(PyObject* self, Py_buffer* view, int flags) {
  const auto* buffer = nb::inst_ptr<PinnedBuffer>(self);
  return PyBuffer_FillInfo(view, self, const_cast<char*>(buffer->bytes.data()),
                           static_cast<Py_ssize_t>(buffer->bytes.size()), 1, flags);
}

PyType_Slot kPinnedBufferSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(GetPinnedBuffer)}, {0, nullptr}};

nb::object BytesObject(std::string_view bytes) {
  return Steal(PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
}

nb::object RefList(const std::vector<ObjectEntry*>& refs) {
  TheRuntime().Hold(refs);
  const nb::object list = Steal(PyList_New(static_cast<Py_ssize_t>(refs.size())));
  for (std::size_t i = 0; i < refs.size(); ++i) {
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), NewRef(refs[i]).release().ptr());
  }
  return list;
}

// The references of the value that this thread is loading: a list, borrowed.
thread_local PyObject* refs_to_load = nullptr;

// To be given back what it returns, once the value is loaded.
nb::object SetRefsToLoad(nb::handle refs) {
  PyObject* outer = std::exchange(refs_to_load, refs.is_none() ? nullptr : refs.ptr());
  return outer == nullptr ? nb::none() : nb::borrow(outer);
}

// Called once for each reference in a pickle, so without the work of a bound function.
PyObject* RefAt(PyObject*, PyObject* index) {
  if (refs_to_load == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this pickle has references beside it and cannot be loaded without them");
    return nullptr;
  }
  const Py_ssize_t place = PyLong_AsSsize_t(index);
  return place == -1 && PyErr_Occurred() ? nullptr : PySequence_GetItem(refs_to_load, place);
}

PyMethodDef ref_at = {
    "ref_at", RefAt, METH_O,
    "ref_at($module, index, /)\n--\n\nWhile a value is loaded: the reference at this place of its table."};

nb::object Loads(nb::handle pickle, nb::handle buffers, const std::vector<ObjectEntry*>& refs) {
  if (refs.empty()) return Call(hooks.loads, {pickle.ptr(), buffers.ptr()});
  const nb::object list = RefList(refs);
  return Call(hooks.loads, {pickle.ptr(), buffers.ptr(), list.ptr()});
}

template <class T>
T ReadPlain(std::string_view bytes, std::size_t at) {
  T value{};
  if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

nb::object DecodeWithBuffers(std::string_view bytes, const std::shared_ptr<Pin>& pin,
                             const std::vector<ObjectEntry*>& refs) {
  const auto count = ReadPlain<std::uint32_t>(bytes, 1);
  std::size_t at = 5 + std::size_t{count} * 8;
  const auto pickle_size = ReadPlain<std::uint32_t>(bytes, at);
  at += 4;
  if (at + pickle_size > bytes.size()) RaiseSystemError("RaySystemError", "a value is malformed");
  const nb::object pickle = BytesObject(bytes.substr(at, pickle_size));
  at += pickle_size;
  // One owner for all buffers: the pin, or for an inline value a copy of the part that holds them.
  const std::size_t start = ValuePieces::Align(at);
  const std::string_view rest = start <= bytes.size() ? bytes.substr(start) : std::string_view();
  const nb::object owner = nb::cast(pin != nullptr ? PinnedBuffer{pin, rest} : AlignedCopy(rest));
  const nb::object whole = Steal(PyMemoryView_FromObject(owner.ptr()));
  nb::list buffers;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t from = ValuePieces::Align(at) - start;
    const auto size = ReadPlain<std::uint64_t>(bytes, 5 + std::size_t{i} * 8);
    const nb::object slice = Steal(PySlice_New(nb::int_(from).ptr(), nb::int_(from + size).ptr(), nullptr));
    buffers.append(Steal(PyObject_GetItem(whole.ptr(), slice.ptr())));
    at = start + from + size;
  }
  return Loads(pickle, buffers, refs);
}

}  // namespace

bool AppendNative(nb::handle value, std::string* out) {
  PyObject* object = value.ptr();
  if (object == Py_None) return out->push_back('N'), true;
  if (object == Py_True) return out->push_back('T'), true;
  if (object == Py_False) return out->push_back('F'), true;
  if (PyLong_CheckExact(object)) {
    int overflow = 0;
    const std::int64_t number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0) return false;
    out->push_back('i');
    AppendPlain(out, number);
    return true;
  }
  if (PyFloat_CheckExact(object)) {
    out->push_back('d');
    AppendPlain(out, PyFloat_AS_DOUBLE(object));
    return true;
  }
  if (PyBytes_CheckExact(object) && static_cast<std::size_t>(PyBytes_GET_SIZE(object)) < kMaxInlineValue) {
    out->push_back('b');
    out->append(PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object)));
    return true;
  }
  if (PyUnicode_CheckExact(object)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text == nullptr) {  // lone surrogates
      PyErr_Clear();
      return false;
    }
    out->push_back('s');
    out->append(text, static_cast<std::size_t>(size));
    return true;
  }
  return false;
}

std::string HeadOf(std::string_view pickle, const std::vector<std::uint64_t>& buffer_sizes) {
  std::string head = "B";
  AppendPlain(&head, static_cast<std::uint32_t>(buffer_sizes.size()));
  for (const std::uint64_t size : buffer_sizes) AppendPlain(&head, size);
  AppendPlain(&head, static_cast<std::uint32_t>(pickle.size()));
  head.append(pickle);
  return head;
}

EncodedValue::EncodedValue(nb::handle value, nb::handle name, bool is_result) {
  if (AppendNative(value, &pieces.head)) return;
  const nb::object result = Call(hooks.dumps, {value.ptr(), name.ptr(), is_result ? Py_True : Py_False});
  const nb::tuple parts = nb::cast<nb::tuple>(result);
  const nb::bytes pickle = nb::cast<nb::bytes>(parts[0]);
  const nb::list buffers = nb::cast<nb::list>(parts[1]);
  for (nb::handle ref : nb::cast<nb::list>(parts[2])) {
    ObjectEntry* entry = AsRef(ref)->Entry();
    TheRuntime().Hold(entry);
    pieces.contained.push_back(entry);
  }
  pieces.head.clear();
  if (buffers.size() == 0) {
    pieces.head.push_back('P');
    pieces.head.append(pickle.c_str(), pickle.size());
    return;
  }
  std::vector<std::uint64_t> sizes;
  for (nb::handle buffer : buffers) {
    Py_buffer view;
    if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_FULL_RO) != 0) throw nb::python_error();
    views_.push_back(view);
    sizes.push_back(static_cast<std::uint64_t>(view.len));
    pieces.buffers.emplace_back(view.buf, static_cast<std::size_t>(view.len));
  }
  pieces.head = HeadOf({pickle.c_str(), pickle.size()}, sizes);
  pieces.room = TakeRoom(value, pieces);
}

EncodedValue::~EncodedValue() {
  for (Py_buffer& view : views_) PyBuffer_Release(&view);
}

nb::object DecodeValue(std::string_view bytes, const std::shared_ptr<Pin>& pin, const std::vector<ObjectEntry*>& refs) {
  if (bytes.empty()) return nb::none();
  const std::string_view rest = bytes.substr(1);
  switch (bytes.front()) {
    case 'N':
      return nb::none();
    case 'T':
      return nb::bool_(true);
    case 'F':
      return nb::bool_(false);
    case 'i':
      return Steal(PyLong_FromLongLong(ReadPlain<std::int64_t>(bytes, 1)));
    case 'd':
      return Steal(PyFloat_FromDouble(ReadPlain<double>(bytes, 1)));
    case 'b':
      return BytesObject(rest);
    case 's':
      return Steal(PyUnicode_FromStringAndSize(rest.data(), static_cast<Py_ssize_t>(rest.size())));
    case 'P':
      return Loads(BytesObject(rest), nb::make_tuple(), refs);
    case 'B':
      return DecodeWithBuffers(bytes, pin, refs);
    default:
      RaiseSystemError("RaySystemError", "a value of an unknown kind");
  }
}

nb::object DecodeError(ObjectEntry* entry) {
  entry->seen = true;
  const std::string bytes = entry->bytes;
  if (entry->kind != WireValue::kSystemError) {
    const nb::object error = DecodeValue(bytes, nullptr, entry->contained);
    return Call(hooks.raise_task_error, {error.ptr()});
  }
  const SystemErrorParts parts = PartsOf(bytes, entry->id);
  const nb::object kind =
      Steal(PyUnicode_FromStringAndSize(parts.kind.data(), static_cast<Py_ssize_t>(parts.kind.size())));
  const nb::object what =
      Steal(PyUnicode_DecodeUTF8(parts.text.data(), static_cast<Py_ssize_t>(parts.text.size()), "replace"));
  return Call(hooks.system_error, {kind.ptr(), what.ptr(), BytesObject(parts.detail).ptr()});
}

void BindValues(nb::module_& module) {
  nb::class_<PinnedBuffer>(module, "PinnedBuffer", nb::type_slots(kPinnedBufferSlots));
  module.def("set_refs_to_load", &SetRefsToLoad, nb::arg("refs").none());
  module.attr("ref_at") = Steal(PyCFunction_NewEx(&ref_at, nullptr, nb::str(module.attr("__name__")).ptr()));
}

}  // namespace ray_engine::python
