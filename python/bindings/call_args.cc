#include "python/bindings/call_args.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "python/bindings/object_ref.h"
#include "python/bindings/values.h"

namespace ray_engine::python {
namespace {

void AppendRef(ObjectEntry* entry, CallArgs* args) {  // takes over one hold
  ArgHeader header;
  header.kind = ArgHeader::kUnresolved;
  args->unresolved.emplace_back(args->payload.size(), entry);
  args->holds.push_back(entry);
  AppendPlain(&args->payload, header);
}

void AppendEncoded(EncodedValue encoded, CallArgs* args) {
  Runtime& runtime = TheRuntime();
  ArgHeader header;
  header.size = encoded.pieces.Size();
  if (header.size > runtime.inline_limit()) {
    absl::StatusOr<ObjectEntry*> entry = absl::UnknownError("");
    {
      const nb::gil_scoped_release release;
      entry = runtime.Put(std::move(encoded.pieces));
    }
    if (!entry.ok()) RaiseSystemError(StoreErrorName(entry.status()), MessageOf(entry.status()));
    return AppendRef(*entry, args);
  }
  header.ref_count = static_cast<std::uint32_t>(encoded.pieces.contained.size());
  AppendPlain(&args->payload, header);
  Writer writer(&args->payload);
  for (ObjectEntry* entry : encoded.pieces.contained) {
    writer(runtime.Export(entry));
    args->holds.push_back(entry);
  }
  const std::size_t at = args->payload.size();
  args->payload.resize(at + header.size);
  encoded.pieces.CopyTo(args->payload.data() + at);
}

void AppendArg(nb::handle value, nb::handle name, CallArgs* args) {
  ++args->count;
  if (const ObjectRef* ref = AsRef(value)) {
    ObjectEntry* entry = ref->Entry();
    TheRuntime().Hold(entry);
    return AppendRef(entry, args);
  }
  const std::size_t at = args->payload.size();
  ArgHeader header;
  AppendPlain(&args->payload, header);
  if (AppendNative(value, &args->payload)) {
    header.size = args->payload.size() - at - sizeof header;
    if (header.size <= TheRuntime().inline_limit()) {
      std::memcpy(args->payload.data() + at, &header, sizeof header);
      return;
    }
  }
  args->payload.resize(at);
  AppendEncoded(EncodedValue(value, name, false), args);
}

// What was held for a call that is not made after all.
void DropArgs(CallArgs* args) {
  for (ObjectEntry* entry : args->holds) TheRuntime().Drop(entry);
  args->Clear();
}

void AppendKeyword(PyObject* keyword, std::string* keywords) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(keyword, &size);
  if (text == nullptr) throw nb::python_error();
  const auto length = std::min<std::size_t>(static_cast<std::size_t>(size), 255);
  keywords->push_back(static_cast<char>(length));
  keywords->append(text, length);
}

}  // namespace

nb::object PassedArgs::Tuple() const {
  const nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(positional)));
  if (!tuple.is_valid()) throw nb::python_error();
  for (std::size_t i = 0; i < positional; ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), Py_NewRef(values[i]));
  }
  return tuple;
}

nb::object PassedArgs::Dict() const {
  nb::dict dict;
  for (std::size_t i = 0; i < named(); ++i) {
    dict[nb::handle(PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i)))] = nb::handle(values[positional + i]);
  }
  return dict;
}

void EncodeArgs(const PassedArgs& args, const CallOptions& options, nb::handle name, CallArgs* out) {
  out->Begin(options.name, options.tail.size());
  try {
    const std::size_t named = args.named();
    for (std::size_t i = 0; i < args.positional + named; ++i) AppendArg(args.values[i], name, out);
    if (named == 0) return;
    std::string keywords;
    for (std::size_t i = 0; i < named; ++i) {
      AppendKeyword(PyTuple_GET_ITEM(args.names, static_cast<Py_ssize_t>(i)), &keywords);
    }
    out->keywords = static_cast<std::uint16_t>(named);
    out->payload += keywords;
  } catch (...) {
    DropArgs(out);
    throw;
  }
}

}  // namespace ray_engine::python
