// Values: Python objects to bytes and back.
//
// The first byte tells the kind. None, bool, small int, float, bytes and str are written here; everything else is a
// pickle made by the hook `dumps`, with its large buffers beside it:
//   'N' 'T' 'F'   None, True, False            'i' int64        'd' double
//   'b' bytes     's' UTF-8                    'P' pickle
//   'B' u32 buffers, u64 size of each, u32 pickle bytes, pickle; then the buffers, each at a multiple of 64
//
// Called with the GIL.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "python/bindings/session.h"

namespace ray_engine::python {

// Appends a native value to `out`; false if the value needs a pickle.
bool AppendNative(nb::handle value, std::string* out);

// What comes before the buffers of a value that has some.
std::string HeadOf(std::string_view pickle, const std::vector<std::uint64_t>& buffer_sizes);

// A value with its buffers; the buffers are held until destruction.
class EncodedValue {
 public:
  // `name` and `is_result` are for error messages. Raises what the hook raises.
  EncodedValue(nb::handle value, nb::handle name, bool is_result);
  ~EncodedValue();
  EncodedValue(EncodedValue&& other) noexcept : pieces(std::move(other.pieces)), views_(std::move(other.views_)) {
    other.views_.clear();
  }

  ValuePieces pieces;

 private:
  std::vector<Py_buffer> views_;
};

// The value of a ready object that is not an error. `pin` for stored ones.
nb::object DecodeValue(std::string_view bytes, const std::shared_ptr<Pin>& pin, const std::vector<ObjectEntry*>& refs);
// The exception to raise for a ready object that is an error.
nb::object DecodeError(ObjectEntry* entry);

}  // namespace ray_engine::python
