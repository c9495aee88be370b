// Reservations: which ranges of a node's store its clients have reserved and neither sealed nor given back.
//
// A client seals or returns a range as a whole or part by part, in any order.
//
// Pure bookkeeping. Loop-bound (engine's loop).

#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"

namespace ray_engine {

class Reservations {
 public:
  // What room is reserved for: one object that is sealed soon; one that is sealed whenever the program likes; many.
  enum class Use : std::uint8_t { kObject, kArray, kChunk };
  struct Room {
    std::uint64_t size = 0;  // as the allocator counts
    Use use{};
  };
  using Rooms = std::map<std::uint64_t, Room>;  // by offset

  void Add(ProcessId client, std::uint64_t offset, Room room);
  // Cuts a part out of what the client has reserved: nobody has it then. Nothing if the client has no such part. The
  // rest of a chunk may have any size, so that what is returned ends with its room at the latest.
  std::optional<Room> Take(ProcessId client, std::uint64_t offset, std::uint64_t size, bool to_return);
  Rooms TakeAll(ProcessId client);

  std::vector<ProcessId> Clients() const;
  std::uint64_t bytes(Use use) const { return bytes_[static_cast<std::size_t>(use)]; }
  std::uint64_t for_objects() const { return for_objects_; }
  const absl::flat_hash_map<ProcessId, Rooms>& all() const { return rooms_; }
  // What is wrong; empty if nothing is.
  std::string CheckInvariants() const;

 private:
  void Count(const Room& room, bool added);

  absl::flat_hash_map<ProcessId, Rooms> rooms_;  // none is empty
  std::array<std::uint64_t, 3> bytes_{};         // by use
  std::uint64_t for_objects_ = 0;                // rooms
};

}  // namespace ray_engine
