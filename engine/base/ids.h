// Ids: the typed names of everything in the engine.
//
// Public ids are fixed-size byte strings with the sizes Ray programs rely on (a nil id is all 0xff). A ProcessId is the
// engine's own routing address: eight bytes, never reused within a session, so a late message to a dead process is
// recognisable as such.
//
// Immutable value types.

#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

namespace ray_engine {

template <std::size_t kBytes, class Tag>
class Id {
 public:
  static constexpr std::size_t kSize = kBytes;

  Id() { bytes_.fill(0xff); }

  // REQUIRES: binary.size() == kSize.
  static Id FromBinary(std::string_view binary) {
    Id id;
    std::memcpy(id.bytes_.data(), binary.data(), kBytes);
    return id;
  }
  static Id Random();  // defined in ids.cc

  bool IsNil() const { return *this == Id(); }
  std::string_view Binary() const { return {reinterpret_cast<const char*>(bytes_.data()), kBytes}; }
  std::string Hex() const;  // defined in ids.cc

  std::uint8_t* data() { return bytes_.data(); }
  const std::uint8_t* data() const { return bytes_.data(); }

  friend bool operator==(const Id& a, const Id& b) { return a.bytes_ == b.bytes_; }
  friend bool operator!=(const Id& a, const Id& b) { return !(a == b); }
  friend bool operator<(const Id& a, const Id& b) { return a.bytes_ < b.bytes_; }

  // The first eight bytes of every id are unique enough to serve as its hash.
  template <class H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine_contiguous(std::move(h), id.bytes_.data(), kBytes);
  }

 private:
  std::array<std::uint8_t, kBytes> bytes_;
};

using JobId = Id<4, struct JobTag>;
using ActorId = Id<16, struct ActorTag>;    // 12 bytes of its own + JobId
using TaskId = Id<24, struct TaskTag>;      // 8 bytes of its own + ActorId (nil but for the job in normal tasks)
using ObjectId = Id<28, struct ObjectTag>;  // TaskId + 4-byte return index, little endian, from 1
using NodeId = Id<28, struct NodeTag>;
using WorkerId = Id<28, struct WorkerTag>;
using PlacementGroupId = Id<18, struct PlacementGroupTag>;
using FunctionId = Id<16, struct FunctionTag>;  // hash of the exported definition

// A process of the session. `serial` 0 is the node engine; the head is {0, 0}.
struct ProcessId {
  std::uint32_t node = 0xffffffff;
  std::uint32_t serial = 0xffffffff;

  bool IsNil() const { return node == 0xffffffff && serial == 0xffffffff; }
  bool IsEngine() const { return serial == 0; }
  ProcessId Engine() const { return {node, 0}; }

  friend bool operator==(ProcessId a, ProcessId b) { return a.node == b.node && a.serial == b.serial; }
  friend bool operator!=(ProcessId a, ProcessId b) { return !(a == b); }
  friend bool operator<(ProcessId a, ProcessId b) { return a.node != b.node ? a.node < b.node : a.serial < b.serial; }
  template <class H>
  friend H AbslHashValue(H h, ProcessId p) {
    return H::combine(std::move(h), p.node, p.serial);
  }
};

inline constexpr ProcessId kHead{0, 0};

// A lease: the right to use one worker with given resources. Unique in the session; given by the head.
enum class LeaseId : std::uint64_t { kNone = 0 };

std::string ToString(ProcessId process);
ObjectId ReturnObjectId(const TaskId& task, std::uint32_t index);
TaskId TaskOf(const ObjectId& object);

}  // namespace ray_engine
