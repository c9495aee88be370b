#include "objectstore/store.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <map>
#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {

Store::Entry* Store::Find(const ObjectId& object) const {
  const auto found = index_.find(object);
  return found == index_.end() ? nullptr : &**found;
}

Store::Entries::iterator Store::AddEntry(const ObjectId& object, Location place, Copy copy, List list) {
  const auto entry = lists_[list].emplace(lists_[list].end());
  entry->id = object;
  entry->offset = place.offset;
  entry->size = place.size;
  entry->copy = copy;
  entry->list = list;
  bytes_[copy == Copy::kSecondary] += place.size;
  ++created_;
  return entry;
}

// ---- creating ------------------------------------------------------------------------------------------------------

absl::StatusOr<std::uint64_t> Store::Create(const ObjectId& object, std::uint64_t size, ProcessId client, Copy copy) {
  if (const auto found = index_.find(object); found != index_.end()) return Reuse(*found, copy);
  const std::optional<std::uint64_t> offset = AllocateEvicting(size);
  if (!offset) return Full(size);
  const auto entry = AddEntry(object, {*offset, size}, copy, kHeld);
  entry->creator = client;
  index_.insert(entry);
  clients_[client].writing.insert(object);
  ++writing_;
  return *offset;
}

absl::StatusOr<std::uint64_t> Store::Reserve(std::uint64_t size, ProcessId client, Use use) {
  std::optional<std::uint64_t> offset;
  if (use != Use::kChunk) {
    offset = AllocateEvicting(size);
  } else if (size <= Obtainable() / kChunkShare) {
    offset = AllocateEvicting(size, size * kChunkShare);
  }
  if (!offset) return Full(size);
  reserved_.Add(client, *offset, {Allocator::Rounded(size), use});
  return *offset;
}

absl::Status Store::SealReserved(const ObjectId& object, Location part, ProcessId client, bool pin, ProcessId owner) {
  const std::optional<Reservations::Room> taken = reserved_.Take(client, part.offset, part.size, false);
  if (!taken) return absl::InvalidArgumentError("sealed memory it has not reserved");
  bool added = false;
  const auto found = index_.lazy_emplace(object, [&](const Index::constructor& place) {
    place(AddEntry(object, part, Copy::kPrimary, pin ? kHeld : kUnbacked));
    added = true;
  });
  if (!added) {
    pin ? reserved_.Add(client, part.offset, *taken) : memory_.Free(part.offset, taken->size);
    const absl::Status here = Reuse(*found, Copy::kPrimary);
    if (pin && absl::IsAlreadyExists(here)) AddPin(*found, client);
    return here;
  }
  (*found)->owner = owner;
  by_owner_.Add(&**found);
  if (pin) AddPin(*found, client);
  return absl::OkStatus();
}

bool Store::Return(Location part, ProcessId client) {
  const std::optional<Reservations::Room> taken = reserved_.Take(client, part.offset, part.size, true);
  if (taken) memory_.Free(part.offset, taken->size);
  return taken.has_value();
}

absl::Status Store::Reuse(Entries::iterator entry, Copy copy) {
  if (!entry->sealed())
    return absl::FailedPreconditionError(absl::StrCat("being written by ", ToString(entry->creator)));
  entry->doomed = false;
  if (copy == Copy::kPrimary) Promote(entry);
  return absl::AlreadyExistsError("the object is in the store");
}

void Store::Promote(Entries::iterator entry) {
  if (entry->copy == Copy::kPrimary) return;
  entry->copy = Copy::kPrimary;
  bytes_[true] -= entry->size;
  bytes_[false] += entry->size;
  if (entry->list != kHeld) MoveTo(RestOf(*entry), entry);
}

void Store::MakePrimary(const ObjectId& object) {
  const auto found = index_.find(object);
  if (found != index_.end()) Promote(*found);
}

std::optional<std::uint64_t> Store::AllocateEvicting(std::uint64_t size, std::uint64_t most) {
  std::optional<std::uint64_t> offset = memory_.Allocate(size);
  if (!offset && Allocator::Rounded(size) > Obtainable()) return std::nullopt;  // and give up nothing for it
  for (const List list : {kSecondary, kBacked}) {
    while (!offset && !lists_[list].empty()) {
      const std::uint64_t bytes = Allocator::Rounded(lists_[list].front().size);
      if (bytes > most) return std::nullopt;
      most -= bytes;
      Remove(index_.find(lists_[list].front().id));
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
  const auto found = index_.find(object);
  if (found == index_.end()) return absl::NotFoundError("sealed an object that was not created");
  Entry& entry = **found;
  if (entry.creator != client || entry.aborted)
    return absl::FailedPreconditionError("sealed an object it does not write");
  clients_[client].writing.erase(object);
  --writing_;
  ForgetIfIdle(client);
  entry.creator = ProcessId();
  LieDown(found);
  return absl::OkStatus();
}

void Store::Abort(const ObjectId& object, ProcessId client) {
  const auto found = index_.find(object);
  if (found == index_.end() || (*found)->aborted || (*found)->creator != client) return;
  clients_[client].writing.erase(object);
  --writing_;
  ForgetIfIdle(client);
  (*found)->aborted = true;
  LieDown(found);
}

void Store::SetWritten(const ObjectId& object, std::uint64_t bytes) { Find(object)->written = bytes; }

// ---- holding -------------------------------------------------------------------------------------------------------

absl::StatusOr<Store::Location> Store::Pin(const ObjectId& object, ProcessId client) {
  const auto found = index_.find(object);
  if (found == index_.end() || !(*found)->sealed()) return absl::NotFoundError("the object is not in the store");
  return AddPin(*found, client);
}

absl::StatusOr<Store::Location> Store::PinWhileWriting(const ObjectId& object, ProcessId client) {
  const auto found = index_.find(object);
  const bool mine = found != index_.end() && (*found)->creator == client && !(*found)->aborted;
  return mine ? AddPin(*found, client) : Pin(object, client);
}

Store::Location Store::AddPin(Entries::iterator entry, ProcessId client) {
  if (entry->pins++ == 0) {
    ++pinned_objects_;
    pinned_bytes_ += entry->size;
  }
  MoveTo(kHeld, entry);
  ++clients_[client].pins[entry->id];
  return Location{entry->offset, entry->size};
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
  DropPins(index_.find(object), 1);
}

void Store::DropPins(Place found, std::uint64_t count) {
  Entry& entry = **found;
  entry.pins -= static_cast<std::uint32_t>(count);
  if (entry.pins > 0) return;
  --pinned_objects_;
  pinned_bytes_ -= entry.size;
  LieDown(found);
}

Store::List Store::RestOf(const Entry& entry) {
  if (entry.copy == Copy::kSecondary) return kSecondary;
  return entry.backed ? kBacked : kUnbacked;
}

void Store::CountEvictable(const Entry& entry, bool added) {
  if (entry.list != kSecondary && entry.list != kBacked) return;
  const std::uint64_t bytes = Allocator::Rounded(entry.size);
  evictable_bytes_ = added ? evictable_bytes_ + bytes : evictable_bytes_ - bytes;
}

void Store::MoveTo(List list, Entries::iterator entry) {
  CountEvictable(*entry, false);
  lists_[list].splice(lists_[list].end(), lists_[entry->list], entry);
  entry->list = list;
  CountEvictable(*entry, true);
}

// The object may be sealed and unpinned now: let it go, or line it up to be given up.
void Store::LieDown(Place found) {
  const Entry& entry = **found;
  if (entry.pins > 0 || (!entry.sealed() && !entry.aborted)) return;
  if (entry.doomed || entry.aborted) return Remove(found);
  MoveTo(RestOf(entry), *found);
}

void Store::SetBacked(const ObjectId& object, bool backed) {
  const auto found = index_.find(object);
  if (found == index_.end() || (*found)->backed == backed) return;
  (*found)->backed = backed;
  if ((*found)->list != kHeld) MoveTo(RestOf(**found), *found);
}

// ---- letting go ----------------------------------------------------------------------------------------------------

void Store::Free(const ObjectId& object) {
  const auto found = index_.find(object);
  if (found == index_.end() || (*found)->doomed) return;
  ++freed_;
  (*found)->doomed = true;
  if ((*found)->sealed()) LieDown(found);
}

void Store::Remove(Place found) {
  const Entries::iterator entry = *found;
  CountEvictable(*entry, false);
  by_owner_.Remove(&*entry);
  memory_.Free(entry->offset, Allocator::Rounded(entry->size));
  bytes_[entry->copy == Copy::kSecondary] -= entry->size;
  index_.erase(found);
  lists_[entry->list].erase(entry);
}

void Store::OnClientGone(ProcessId client) {
  for (const auto& [offset, room] : reserved_.TakeAll(client)) memory_.Free(offset, room.size);
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  const Client gone = std::move(found->second);
  clients_.erase(found);
  writing_ -= gone.writing.size();
  for (const ObjectId& object : gone.writing) {
    const auto entry = index_.find(object);
    (*entry)->aborted = true;
    if (!gone.pins.contains(object)) Remove(entry);
  }
  for (const auto& [object, count] : gone.pins) DropPins(index_.find(object), count);
}

void Store::ForgetIfIdle(ProcessId client) {
  const auto found = clients_.find(client);
  if (found->second.idle()) clients_.erase(found);
}

// ---- questions -----------------------------------------------------------------------------------------------------

std::optional<Store::Location> Store::Lookup(const ObjectId& object) const {
  const Entry* entry = Find(object);
  if (entry == nullptr || !entry->sealed()) return std::nullopt;
  return Location{entry->offset, entry->size};
}

bool Store::BeingWritten(const ObjectId& object) const {
  const Entry* entry = Find(object);
  return entry != nullptr && !entry->sealed();
}

std::uint64_t Store::Written(const ObjectId& object) const {
  const Entry* entry = Find(object);
  if (entry == nullptr) return 0;
  return entry->sealed() ? entry->size : entry->written;
}

std::optional<ObjectId> Store::OldestUnbacked() const {
  if (lists_[kUnbacked].empty()) return std::nullopt;
  return lists_[kUnbacked].front().id;
}

void Store::SetOwner(const ObjectId& object, ProcessId owner) {
  Entry* entry = Find(object);
  if (entry == nullptr || entry->owner == owner) return;
  by_owner_.Remove(entry);
  entry->owner = owner;
  by_owner_.Add(entry);
}

ProcessId Store::OwnerOf(const ObjectId& object) const {
  const Entry* entry = Find(object);
  return entry == nullptr ? ProcessId() : entry->owner;
}

std::vector<ObjectId> Store::ObjectsOf(ProcessId owner) const {
  std::vector<ObjectId> objects;
  by_owner_.ForEach(owner, [&objects](const Entry& entry) { objects.push_back(entry.id); });
  return objects;
}

std::vector<std::pair<ProcessId, std::uint64_t>> Store::Holders() const {
  absl::flat_hash_map<ProcessId, std::uint64_t> bytes;
  for (const auto& [id, client] : clients_) {
    for (const auto& [object, count] : client.pins) bytes[id] += Find(object)->size;
    for (const ObjectId& object : client.writing) bytes[id] += Find(object)->size;
  }
  for (const auto& [id, rooms] : reserved_.all()) {
    for (const auto& [offset, room] : rooms) bytes[id] += room.size;
  }
  std::vector<std::pair<ProcessId, std::uint64_t>> holders(bytes.begin(), bytes.end());
  const auto more = [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  std::sort(holders.begin(), holders.end(), more);
  return holders;
}

StoreStats Store::Stats() const {
  StoreStats stats;
  stats.memory = memory_.Stats();
  stats.objects = index_.size();
  stats.pinned_bytes = pinned_bytes_;
  stats.in_chunks = in_chunks();
  stats.in_arrays = reserved_.bytes(Use::kArray);
  stats.created = created_;
  stats.freed = freed_;
  stats.evicted = evicted_;
  stats.unsealed = writing_;
  stats.pinned_objects = pinned_objects_;
  stats.primary_bytes = bytes_[false];
  stats.secondary_bytes = bytes_[true];
  return stats;
}

// ---- checks --------------------------------------------------------------------------------------------------------

std::string Store::CheckInvariants() const {
  if (std::string problem = reserved_.CheckInvariants(); !problem.empty()) return problem;
  absl::flat_hash_map<ObjectId, std::uint64_t> pins;
  std::map<std::uint64_t, std::uint64_t> taken;
  std::size_t writing = 0, unsealed = 0, listed = 0, owned = 0;
  std::uint64_t pinned_bytes = 0, evictable_bytes = 0;
  std::array<std::uint64_t, 2> by_copy{};
  std::uint64_t pinned_objects = 0;
  for (const auto& [id, client] : clients_) {
    if (client.idle()) return "store: an idle client was not forgotten";
    for (const auto& [object, count] : client.pins) pins[object] += count;
    writing += client.writing.size();
  }
  for (const auto& [id, rooms] : reserved_.all()) {
    for (const auto& [offset, room] : rooms) taken.emplace(offset, room.size);
  }
  for (const Entries& list : lists_) listed += list.size();
  if (listed != index_.size()) return "store: the lists and the index differ";
  for (const Entries::iterator at : index_) {
    const Entry& entry = *at;
    if (std::string problem = CheckEntry(entry); !problem.empty()) return problem;
    const auto held = pins.find(entry.id);
    if (entry.pins != (held == pins.end() ? 0 : held->second)) return "store: an object miscounts its pins";
    if (!taken.emplace(entry.offset, Allocator::Rounded(entry.size)).second) return "store: two things at one place";
    unsealed += !entry.sealed() && !entry.aborted;
    evictable_bytes += entry.list == kSecondary || entry.list == kBacked ? Allocator::Rounded(entry.size) : 0;
    pinned_bytes += entry.pins > 0 ? entry.size : 0;
    pinned_objects += entry.pins > 0;
    owned += !entry.owner.IsNil();
    by_copy[entry.copy == Copy::kSecondary] += entry.size;
  }
  if (unsealed != writing || unsealed != writing_) return "store: objects that are being written miscounted";
  if (evictable_bytes != evictable_bytes_) return "store: evictable bytes miscounted";
  if (by_copy != bytes_) return "store: bytes of primary and secondary copies miscounted";
  if (owned != by_owner_.Count()) return "store: objects of owners miscounted";
  if (pinned_objects != pinned_objects_) return "store: pinned objects miscounted";
  if (pinned_bytes != pinned_bytes_) return "store: pinned bytes miscounted";
  return memory_.CheckInvariants(taken);
}

std::string Store::CheckEntry(const Entry& entry) const {
  const bool idle = entry.sealed() && entry.pins == 0;
  if (entry.aborted && entry.pins == 0) return "store: an object that was given up lingers";
  if (idle && entry.doomed) return "store: a freed object lingers";
  if (entry.list != (idle ? RestOf(entry) : kHeld)) return "store: an object is in the wrong list";
  if (entry.sealed() || entry.aborted) return "";
  const auto creator = clients_.find(entry.creator);
  return creator != clients_.end() && creator->second.writing.count(entry.id) == 1 ? "" : "store: a creator is unknown";
}

}  // namespace ray_engine
