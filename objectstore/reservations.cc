#include "objectstore/reservations.h"

#include <algorithm>
#include <utility>

#include "objectstore/allocator.h"

namespace ray_engine {

void Reservations::Count(const Room& room, bool added) {
  std::uint64_t& bytes = bytes_[static_cast<std::size_t>(room.use)];
  bytes = added ? bytes + room.size : bytes - room.size;
  if (room.use == Use::kObject) for_objects_ = added ? for_objects_ + 1 : for_objects_ - 1;
}

void Reservations::Add(ProcessId client, std::uint64_t offset, Room room) {
  rooms_[client].emplace(offset, room);
  Count(room, true);
}

std::optional<Reservations::Room> Reservations::Take(ProcessId client, std::uint64_t offset, std::uint64_t size,
                                                     bool to_return) {
  const auto holder = rooms_.find(client);
  if (holder == rooms_.end()) return std::nullopt;
  Rooms& rooms = holder->second;
  auto at = rooms.upper_bound(offset);
  if (at == rooms.begin()) return std::nullopt;
  --at;
  const auto [begin, whole] = *at;
  const std::uint64_t skipped = offset - begin;
  if (skipped % Allocator::kAlignment != 0 || skipped >= whole.size) return std::nullopt;
  const std::uint64_t left = whole.size - skipped;
  if (size > left) return std::nullopt;
  const std::uint64_t taken = to_return ? std::min(Allocator::Rounded(size), left) : Allocator::Rounded(size);
  if (taken > left) return std::nullopt;

  Count(whole, false);
  Rooms::node_type room = rooms.extract(at);  // used again: chunks are consumed from the front
  if (const std::uint64_t rest = left - taken; rest > 0) {
    Count({rest, whole.use}, true);
    room.key() = offset + taken;
    room.mapped().size = rest;
    rooms.insert(std::move(room));
  }
  if (skipped > 0) Add(client, begin, {skipped, whole.use});
  if (rooms.empty()) rooms_.erase(holder);
  return Room{taken, whole.use};
}

Reservations::Rooms Reservations::TakeAll(ProcessId client) {
  const auto holder = rooms_.find(client);
  if (holder == rooms_.end()) return {};
  Rooms rooms = std::move(holder->second);
  rooms_.erase(holder);
  for (const auto& [offset, room] : rooms) Count(room, false);
  return rooms;
}

std::vector<ProcessId> Reservations::Clients() const {
  std::vector<ProcessId> clients;
  for (const auto& [client, rooms] : rooms_) clients.push_back(client);
  return clients;
}

std::string Reservations::CheckInvariants() const {
  std::array<std::uint64_t, 3> bytes{};
  std::uint64_t for_objects = 0;
  for (const auto& [client, rooms] : rooms_) {
    if (rooms.empty()) return "store: a client without reservations was not forgotten";
    for (const auto& [offset, room] : rooms) {
      bytes[static_cast<std::size_t>(room.use)] += room.size;
      for_objects += room.use == Use::kObject;
    }
  }
  return bytes == bytes_ && for_objects == for_objects_ ? "" : "store: reservations miscounted";
}

}  // namespace ray_engine
