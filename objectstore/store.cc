#include "objectstore/store.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {

absl::StatusOr<std::uint64_t> Store::Create(const ObjectId& object, std::uint64_t size, ProcessId client, Copy copy) {
  if (const auto found = entries_.find(object); found != entries_.end()) return Reuse(found, copy);
  const std::optional<std::uint64_t> offset = AllocateEvicting(size);
  if (!offset) return Full(size);
  Entry entry;
  entry.offset = *offset;
  entry.size = size;
  entry.creator = client;
  entry.copy = copy;
  entries_.emplace(object, entry);
  bytes_[copy == Copy::kSecondary] += size;
  clients_[client].writing.insert(object);
  ++writing_;
  ++created_;
  return *offset;
}

absl::StatusOr<std::uint64_t> Store::Reserve(std::uint64_t size, ProcessId client, Use use) {
  std::optional<std::uint64_t> offset;
  if (use != Use::kChunk) {
    offset = AllocateEvicting(size);
  } else if (size <= FreeBytes() / kChunkShare) {
    offset = memory_.Allocate(size);
  }
  if (!offset) return Full(size);
  AddReservation(&clients_[client].reserved, *offset, {Allocator::Rounded(size), use});
  return *offset;
}

void Store::AddReservation(Reservations* reserved, std::uint64_t offset, Reservation reservation) {
  reserved->emplace(offset, reservation);
  reserved_bytes_[static_cast<std::size_t>(reservation.use)] += reservation.size;
  unsealed_reservations_ += reservation.use == Use::kObject;
}

void Store::RemoveReservation(Reservations* reserved, Reservations::iterator at) {
  reserved_bytes_[static_cast<std::size_t>(at->second.use)] -= at->second.size;
  unsealed_reservations_ -= at->second.use == Use::kObject;
  reserved->erase(at);
}

// Cuts the part out of what the client has reserved: a range of its own then, that nobody has. Nothing if it has no
// such part. The rest of a chunk may have any size, so that what is returned ends with the reservation at the latest.
std::optional<Store::Part> Store::TakePart(Location part, ProcessId client, bool to_return) {
  const auto holder = clients_.find(client);
  if (holder == clients_.end() || part.size > memory_.size()) return std::nullopt;
  Reservations& reserved = holder->second.reserved;
  auto at = reserved.upper_bound(part.offset);
  if (at == reserved.begin()) return std::nullopt;
  --at;
  const auto [begin, whole] = *at;
  const std::uint64_t skipped = part.offset - begin;
  if (skipped % Allocator::kAlignment != 0 || skipped >= whole.size) return std::nullopt;
  std::uint64_t size = Allocator::Rounded(part.size);
  if (to_return && part.size <= whole.size - skipped) size = std::min(size, whole.size - skipped);
  if (size > whole.size - skipped) return std::nullopt;
  RemoveReservation(&reserved, at);
  if (skipped > 0) {
    memory_.Split(begin, skipped);
    AddReservation(&reserved, begin, {skipped, whole.use});
  }
  if (const std::uint64_t rest = whole.size - skipped - size; rest > 0) {
    memory_.Split(part.offset, size);
    AddReservation(&reserved, part.offset + size, {rest, whole.use});
  }
  return Part{whole.use, size};
}

absl::Status Store::SealReserved(const ObjectId& object, Location part, ProcessId client, bool pin) {
  const std::optional<Part> taken = TakePart(part, client, false);
  if (!taken) return absl::InvalidArgumentError("sealed memory it has not reserved");
  if (const auto found = entries_.find(object); found != entries_.end()) {
    pin ? AddReservation(&clients_[client].reserved, part.offset, {taken->size, taken->use})
        : memory_.Free(part.offset);
    const absl::Status here = Reuse(found, Copy::kPrimary);
    if (pin && absl::IsAlreadyExists(here)) AddPin(found, client);
    ForgetIfIdle(client);
    return here;
  }
  Entry entry;
  entry.offset = part.offset;
  entry.size = part.size;
  const auto added = entries_.emplace(object, entry).first;
  bytes_[false] += part.size;
  ++created_;
  pin ? void(AddPin(added, client)) : LieDown(added);
  ForgetIfIdle(client);
  return absl::OkStatus();
}

bool Store::Return(Location part, ProcessId client) {
  if (!TakePart(part, client, true)) return false;
  memory_.Free(part.offset);
  ForgetIfIdle(client);
  return true;
}

std::vector<ProcessId> Store::Reservers() const {
  std::vector<ProcessId> reservers;
  for (const auto& [id, client] : clients_) {
    if (!client.reserved.empty()) reservers.push_back(id);
  }
  return reservers;
}

absl::Status Store::Reuse(Entries::iterator found, Copy copy) {
  Entry* entry = &found->second;
  if (!entry->sealed())
    return absl::FailedPreconditionError(absl::StrCat("being written by ", ToString(entry->creator)));
  entry->doomed = false;
  if (copy == Copy::kPrimary) Promote(found);
  return absl::AlreadyExistsError("the object is in the store");
}

void Store::Promote(Entries::iterator found) {
  Entry* entry = &found->second;
  if (entry->copy == Copy::kPrimary) return;
  Wake(entry);
  entry->copy = Copy::kPrimary;
  bytes_[true] -= entry->size;
  bytes_[false] += entry->size;
  LieDown(found);
}

void Store::MakePrimary(const ObjectId& object) {
  const auto entry = entries_.find(object);
  if (entry != entries_.end()) Promote(entry);
}

std::optional<std::uint64_t> Store::AllocateEvicting(std::uint64_t size) {
  std::optional<std::uint64_t> offset = memory_.Allocate(size);
  if (!offset && Allocator::Rounded(size) > Obtainable()) return std::nullopt;  // and give up nothing for it
  for (const Rest rest : {kSecondary, kBacked}) {
    while (!offset && !resting_[rest].empty()) {
      Remove(entries_.find(resting_[rest].front()));
      ++evicted_;
      offset = memory_.Allocate(size);
    }
  }
  return offset;
}

absl::Status Store::Full(std::uint64_t size) const {
  if (!CouldHold(size))
    return absl::ResourceExhaustedError(
        absl::StrCat("an object of ", size, " bytes (", BytesText(static_cast<double>(size)),
                     ") is larger than the whole object store of this node, which has ", memory_.size(), " bytes (",
                     BytesText(static_cast<double>(memory_.size())), "); see --object-store-memory"));
  std::string text = absl::StrCat("object store full: needs ", size, " bytes, ", memory_.used(), " of ", memory_.size(),
                                  " in use, ", pinned_bytes_, " pinned");
  if (Allocator::Rounded(size) <= memory_.size() - memory_.used()) {
    absl::StrAppend(&text, ", the longest free range has ", memory_.Stats().largest_free);
  }
  return absl::ResourceExhaustedError(text);
}

absl::Status Store::Seal(const ObjectId& object, ProcessId client) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end()) return absl::NotFoundError("sealed an object that was not created");
  if (entry->second.creator != client || entry->second.aborted)
    return absl::FailedPreconditionError("sealed an object it does not write");
  clients_[client].writing.erase(object);
  --writing_;
  ForgetIfIdle(client);
  entry->second.creator = ProcessId();
  LieDown(entry);
  return absl::OkStatus();
}

void Store::Abort(const ObjectId& object, ProcessId client) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || entry->second.aborted || entry->second.creator != client) return;
  clients_[client].writing.erase(object);
  --writing_;
  ForgetIfIdle(client);
  entry->second.aborted = true;
  LieDown(entry);
}

void Store::SetWritten(const ObjectId& object, std::uint64_t bytes) { entries_.find(object)->second.written = bytes; }

absl::StatusOr<Store::Location> Store::Pin(const ObjectId& object, ProcessId client) {
  const auto found = entries_.find(object);
  if (found == entries_.end() || !found->second.sealed()) return absl::NotFoundError("the object is not in the store");
  return AddPin(found, client);
}

absl::StatusOr<Store::Location> Store::PinWhileWriting(const ObjectId& object, ProcessId client) {
  const auto found = entries_.find(object);
  const bool mine = found != entries_.end() && found->second.creator == client && !found->second.aborted;
  return mine ? AddPin(found, client) : Pin(object, client);
}

Store::Location Store::AddPin(Entries::iterator found, ProcessId client) {
  Entry& entry = found->second;
  if (entry.pins++ == 0) {
    ++pinned_objects_;
    pinned_bytes_ += entry.size;
  }
  Wake(&entry);
  ++clients_[client].pins[found->first];
  return Location{entry.offset, entry.size};
}

void Store::Unpin(const ObjectId& object, ProcessId client) {
  const auto holder = clients_.find(client);
  if (holder == clients_.end()) return;
  const auto pins = holder->second.pins.find(object);
  if (pins == holder->second.pins.end()) return;
  if (--pins->second == 0) {
    holder->second.pins.erase(pins);
    ForgetIfIdle(client);
  }
  DropPins(entries_.find(object), 1);
}

void Store::DropPins(Entries::iterator entry, std::uint64_t count) {
  entry->second.pins -= count;
  if (entry->second.pins > 0) return;
  --pinned_objects_;
  pinned_bytes_ -= entry->second.size;
  LieDown(entry);
}

Store::Rest Store::RestOf(const Entry& entry) {
  if (entry.copy == Copy::kSecondary) return kSecondary;
  return entry.backed ? kBacked : kUnbacked;
}

// The object may be sealed and unpinned now: let it go, or line it up to be given up.
void Store::LieDown(Entries::iterator found) {
  Entry& entry = found->second;
  if (entry.pins > 0 || (!entry.sealed() && !entry.aborted)) return;
  if (entry.doomed || entry.aborted) return Remove(found);
  Wake(&entry);
  const Rest rest = RestOf(entry);
  entry.resting = resting_[rest].insert(resting_[rest].end(), found->first);
  if (rest != kUnbacked) evictable_bytes_ += Allocator::Rounded(entry.size);
}

void Store::Wake(Entry* entry) {
  if (!entry->resting) return;
  const Rest rest = RestOf(*entry);
  resting_[rest].erase(*entry->resting);
  entry->resting.reset();
  if (rest != kUnbacked) evictable_bytes_ -= Allocator::Rounded(entry->size);
}

void Store::SetBacked(const ObjectId& object, bool backed) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || entry->second.backed == backed) return;
  const bool rested = entry->second.resting.has_value();
  Wake(&entry->second);
  entry->second.backed = backed;
  if (rested) LieDown(entry);
}

std::optional<ObjectId> Store::OldestUnbacked() const {
  if (resting_[kUnbacked].empty()) return std::nullopt;
  return resting_[kUnbacked].front();
}

std::vector<std::pair<ProcessId, std::uint64_t>> Store::Holders() const {
  std::vector<std::pair<ProcessId, std::uint64_t>> holders;
  for (const auto& [id, client] : clients_) {
    std::uint64_t bytes = 0;
    for (const auto& [object, count] : client.pins) bytes += entries_.find(object)->second.size;
    for (const ObjectId& object : client.writing) bytes += entries_.find(object)->second.size;
    for (const auto& [offset, reservation] : client.reserved) bytes += reservation.size;
    holders.emplace_back(id, bytes);
  }
  const auto more = [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  std::sort(holders.begin(), holders.end(), more);
  return holders;
}

void Store::Free(const ObjectId& object) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || entry->second.doomed) return;
  ++freed_;
  entry->second.doomed = true;
  if (entry->second.sealed()) LieDown(entry);
}

void Store::Remove(Entries::iterator entry) {
  Wake(&entry->second);
  memory_.Free(entry->second.offset);
  bytes_[entry->second.copy == Copy::kSecondary] -= entry->second.size;
  entries_.erase(entry);
}

void Store::OnClientGone(ProcessId client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  Client gone = std::move(found->second);
  clients_.erase(found);
  while (!gone.reserved.empty()) {
    memory_.Free(gone.reserved.begin()->first);
    RemoveReservation(&gone.reserved, gone.reserved.begin());
  }
  writing_ -= gone.writing.size();
  for (const ObjectId& object : gone.writing) {
    const auto entry = entries_.find(object);
    entry->second.aborted = true;
    if (!gone.pins.contains(object)) Remove(entry);
  }
  for (const auto& [object, count] : gone.pins) DropPins(entries_.find(object), count);
}

void Store::ForgetIfIdle(ProcessId client) {
  const auto found = clients_.find(client);
  if (found->second.idle()) clients_.erase(found);
}

std::optional<Store::Location> Store::Lookup(const ObjectId& object) const {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || !entry->second.sealed()) return std::nullopt;
  return Location{entry->second.offset, entry->second.size};
}

bool Store::BeingWritten(const ObjectId& object) const {
  const auto entry = entries_.find(object);
  return entry != entries_.end() && !entry->second.sealed();
}

std::uint64_t Store::Written(const ObjectId& object) const {
  const auto entry = entries_.find(object);
  if (entry == entries_.end()) return 0;
  return entry->second.sealed() ? entry->second.size : entry->second.written;
}

StoreStats Store::Stats() const {
  StoreStats stats;
  stats.memory = memory_.Stats();
  stats.objects = entries_.size();
  stats.pinned_bytes = pinned_bytes_;
  stats.in_chunks = in_chunks();
  stats.in_arrays = reserved_bytes_[static_cast<std::size_t>(Use::kArray)];
  stats.created = created_;
  stats.freed = freed_;
  stats.evicted = evicted_;
  stats.unsealed = writing_;
  stats.pinned_objects = pinned_objects_;
  stats.primary_bytes = bytes_[false];
  stats.secondary_bytes = bytes_[true];
  return stats;
}

std::string Store::CheckInvariants() const {
  if (std::string problem = memory_.CheckInvariants(); !problem.empty()) return problem;
  absl::flat_hash_map<ObjectId, std::uint64_t> pins;
  std::size_t writing = 0, resting = 0, unsealed = 0;
  std::uint64_t pinned_bytes = 0, bytes = 0, evictable_bytes = 0;
  std::array<std::uint64_t, 3> reserved{};
  std::array<std::uint64_t, 2> by_copy{};
  std::uint64_t pinned_objects = 0;
  for (const auto& [id, client] : clients_) {
    if (client.idle()) return "store: an idle client was not forgotten";
    for (const auto& [object, count] : client.pins) pins[object] += count;
    writing += client.writing.size();
    for (const auto& [offset, reservation] : client.reserved) {
      reserved[static_cast<std::size_t>(reservation.use)] += reservation.size;
      bytes += reservation.size;
    }
  }
  if (reserved != reserved_bytes_) return "store: reserved bytes miscounted";
  for (const auto& [object, entry] : entries_) {
    if (std::string problem = CheckEntry(object, entry); !problem.empty()) return problem;
    const auto held = pins.find(object);
    if (entry.pins != (held == pins.end() ? 0 : held->second)) return "store: an object miscounts its pins";
    unsealed += !entry.sealed() && !entry.aborted;
    resting += entry.resting.has_value();
    evictable_bytes += entry.resting && RestOf(entry) != kUnbacked ? Allocator::Rounded(entry.size) : 0;
    pinned_bytes += entry.pins > 0 ? entry.size : 0;
    pinned_objects += entry.pins > 0;
    by_copy[entry.copy == Copy::kSecondary] += entry.size;
    bytes += Allocator::Rounded(entry.size);
  }
  const std::size_t listed = resting_[kSecondary].size() + resting_[kBacked].size() + resting_[kUnbacked].size();
  if (unsealed != writing || unsealed != writing_ || resting != listed) return "store: stale entry in a list";
  if (evictable_bytes != evictable_bytes_) return "store: evictable bytes miscounted";
  if (by_copy != bytes_) return "store: bytes of primary and secondary copies miscounted";
  if (pinned_objects != pinned_objects_) return "store: pinned objects miscounted";
  if (pinned_bytes != pinned_bytes_) return "store: pinned bytes miscounted";
  return bytes == memory_.used() ? "" : "store: objects and memory in use differ";
}

std::string Store::CheckEntry(const ObjectId& object, const Entry& entry) const {
  const bool idle = entry.sealed() && entry.pins == 0;
  if (entry.aborted && entry.pins == 0) return "store: an object that was given up lingers";
  if (idle && entry.doomed) return "store: a freed object lingers";
  if (entry.resting.has_value() != idle) return "store: an object rests or does not, wrongly";
  if (entry.resting && **entry.resting != object) return "store: the list of what rests names another object";
  if (entry.sealed() || entry.aborted) return "";
  const auto creator = clients_.find(entry.creator);
  return creator != clients_.end() && creator->second.writing.count(object) == 1 ? "" : "store: a creator is unknown";
}

}  // namespace ray_engine
