#include "python/bindings/arrays.h"

#include <absl/container/flat_hash_map.h>

#include <cstring>
#include <string>
#include <utility>

#include "python/bindings/module.h"
#include "python/bindings/values.h"

namespace ray_engine::python {
namespace {

class Room;
absl::flat_hash_map<const void*, Room*> rooms;  // by where their arrays begin

// The memory of one array, which views keep alive. It may be written until it is stored.
class Room {
 public:
  Room(std::shared_ptr<Pin> pin, std::string head, std::size_t bytes)
      : pin_(std::move(pin)), head_(std::move(head)), bytes_(bytes), session_(session_number) {
    std::memcpy(const_cast<char*>(pin_->data), head_.data(), head_.size());
    std::memset(const_cast<char*>(pin_->data) + head_.size(), 0, ValuePieces::Align(head_.size()) - head_.size());
    rooms[data()] = this;
  }
  Room(const Room&) = delete;
  ~Room() { rooms.erase(data()); }

  char* data() const { return const_cast<char*>(pin_->data) + ValuePieces::Align(head_.size()); }
  std::size_t bytes() const { return bytes_; }
  bool stored() const { return stored_; }
  bool IsWhole(const ValuePieces& pieces) const {
    return session_ == session_number && pieces.buffers[0].second == bytes_ && pieces.head == head_;
  }
  std::shared_ptr<Pin> Store() {
    stored_ = true;
    return pin_;
  }

 private:
  std::shared_ptr<Pin> pin_;
  std::string head_;
  std::size_t bytes_;
  std::uint32_t session_;
  bool stored_ = false;
};

int GetRoomBuffer(PyObject* self, Py_buffer* view, int flags) {
  const Room* room = nb::inst_ptr<Room>(self);
  return PyBuffer_FillInfo(view, self, room->data(), static_cast<Py_ssize_t>(room->bytes()), room->stored() ? 1 : 0,
                           flags);
}

PyType_Slot kRoomSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(GetRoomBuffer)}, {0, nullptr}};

// Memory in the store for the one buffer, of `bytes`, of the value with this pickle. None if the value is so small that
// it travels inside messages.
nb::object MakeRoom(nb::bytes pickle, std::size_t bytes) {
  const std::string head = HeadOf({pickle.c_str(), pickle.size()}, {bytes});
  const std::size_t begin = ValuePieces::Align(head.size());
  Runtime& runtime = TheRuntime();
  if (begin + bytes <= runtime.inline_limit()) return nb::none();
  absl::StatusOr<std::shared_ptr<Pin>> pin = absl::UnknownError("");
  {
    const nb::gil_scoped_release release;
    pin = runtime.MakeRoom(begin + bytes);
  }
  if (!pin.ok()) RaiseSystemError(StoreErrorName(pin.status()), MessageOf(pin.status()));
  return nb::cast(new Room(*std::move(pin), head, bytes), nb::rv_policy::take_ownership);
}

// Every view of an array of empty() has the same base (empty() sees to that), which nothing else refers to.
bool IsOnlyView(const nb::object& base) { return Py_REFCNT(base.ptr()) == 2; }

}  // namespace

std::shared_ptr<Pin> TakeRoom(nb::handle value, const ValuePieces& pieces) {
  if (rooms.empty() || pieces.buffers.size() != 1) return nullptr;
  const auto found = rooms.find(pieces.buffers[0].first);
  if (found == rooms.end() || found->second->stored() || !found->second->IsWhole(pieces)) return nullptr;
  const nb::object base = nb::getattr(value, "base", nb::none());
  if (base.is_none() || !IsOnlyView(base)) return nullptr;
  const auto read_only = nb::arg("write") = false;
  value.attr("setflags")(read_only);
  base.attr("setflags")(read_only);
  return found->second->Store();
}

void BindArrays(nb::module_& module) {
  nb::class_<Room>(module, "Room", nb::type_slots(kRoomSlots));
  module.def("make_room", &MakeRoom);
}

}  // namespace ray_engine::python
