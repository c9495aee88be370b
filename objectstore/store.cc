#include "objectstore/store.h"

#include <absl/strings/str_cat.h>

#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {

absl::StatusOr<std::uint64_t> Store::Create(const ObjectId& object, std::uint64_t size, ProcessId client, Copy copy) {
  if (const auto found = entries_.find(object); found != entries_.end()) return Reuse(&found->second, copy);
  const std::optional<std::uint64_t> offset = AllocateEvicting(size);
  if (!offset) return Full(size);
  Entry entry;
  entry.offset = *offset;
  entry.size = size;
  entry.creator = client;
  entry.copy = copy;
  entries_.emplace(object, entry);
  clients_[client].writing.insert(object);
  ++created_;
  return *offset;
}

absl::Status Store::Reuse(Entry* entry, Copy copy) {
  if (!entry->sealed())
    return absl::FailedPreconditionError(absl::StrCat("being written by ", ToString(entry->creator)));
  entry->doomed = false;
  if (copy == Copy::kPrimary) Promote(entry);
  return absl::AlreadyExistsError("the object is in the store");
}

void Store::Promote(Entry* entry) {
  entry->copy = Copy::kPrimary;
  MakeUnevictable(entry);
}

void Store::MakePrimary(const ObjectId& object) {
  const auto entry = entries_.find(object);
  if (entry != entries_.end()) Promote(&entry->second);
}

std::optional<std::uint64_t> Store::AllocateEvicting(std::uint64_t size) {
  if (!CouldHold(size)) return std::nullopt;  // and evict nothing for it
  std::optional<std::uint64_t> offset = memory_.Allocate(size);
  while (!offset && !evictable_.empty()) {
    Remove(entries_.find(evictable_.front()));
    ++evicted_;
    offset = memory_.Allocate(size);
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
  ForgetIfIdle(client);
  entry->second.creator = ProcessId();
  Rest(entry);
  return absl::OkStatus();
}

void Store::Abort(const ObjectId& object, ProcessId client) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || entry->second.aborted || entry->second.creator != client) return;
  clients_[client].writing.erase(object);
  ForgetIfIdle(client);
  entry->second.aborted = true;
  Rest(entry);
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
  if (entry.pins++ == 0) pinned_bytes_ += entry.size;
  MakeUnevictable(&entry);
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
  pinned_bytes_ -= entry->second.size;
  Rest(entry);
}

// The object may be sealed and unpinned now: let it go, or line it up to be evicted.
void Store::Rest(Entries::iterator found) {
  Entry& entry = found->second;
  if (entry.pins > 0 || (!entry.sealed() && !entry.aborted)) return;
  if (entry.doomed || entry.aborted) {
    Remove(found);
  } else if (entry.copy == Copy::kSecondary) {
    MakeUnevictable(&entry);
    entry.evictable = evictable_.insert(evictable_.end(), found->first);
  }
}

void Store::MakeUnevictable(Entry* entry) {
  if (!entry->evictable) return;
  evictable_.erase(*entry->evictable);
  entry->evictable.reset();
}

void Store::Free(const ObjectId& object) {
  const auto entry = entries_.find(object);
  if (entry == entries_.end() || entry->second.doomed) return;
  ++freed_;
  entry->second.doomed = true;
  if (entry->second.sealed()) Rest(entry);
}

void Store::Remove(Entries::iterator entry) {
  MakeUnevictable(&entry->second);
  memory_.Free(entry->second.offset);
  entries_.erase(entry);
}

void Store::OnClientGone(ProcessId client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  const Client gone = std::move(found->second);
  clients_.erase(found);
  for (const ObjectId& object : gone.writing) {
    const auto entry = entries_.find(object);
    entry->second.aborted = true;
    if (!gone.pins.contains(object)) Remove(entry);
  }
  for (const auto& [object, count] : gone.pins) DropPins(entries_.find(object), count);
}

void Store::ForgetIfIdle(ProcessId client) {
  const auto found = clients_.find(client);
  if (found->second.pins.empty() && found->second.writing.empty()) clients_.erase(found);
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
  stats.created = created_;
  stats.freed = freed_;
  stats.evicted = evicted_;
  for (const auto& [object, entry] : entries_) {
    stats.unsealed += !entry.sealed();
    stats.pinned_objects += entry.pins > 0;
    (entry.copy == Copy::kPrimary ? stats.primary_bytes : stats.secondary_bytes) += entry.size;
  }
  return stats;
}

std::string Store::CheckInvariants() const {
  if (std::string problem = memory_.CheckInvariants(); !problem.empty()) return problem;
  absl::flat_hash_map<ObjectId, std::uint64_t> pins;
  std::size_t writing = 0, evictable = 0, unsealed = 0;
  std::uint64_t pinned_bytes = 0, bytes = 0;
  for (const auto& [id, client] : clients_) {
    if (client.pins.empty() && client.writing.empty()) return "store: an idle client was not forgotten";
    for (const auto& [object, count] : client.pins) pins[object] += count;
    writing += client.writing.size();
  }
  for (const auto& [object, entry] : entries_) {
    if (std::string problem = CheckEntry(object, entry); !problem.empty()) return problem;
    const auto held = pins.find(object);
    if (entry.pins != (held == pins.end() ? 0 : held->second)) return "store: an object miscounts its pins";
    unsealed += !entry.sealed() && !entry.aborted;
    evictable += entry.evictable.has_value();
    pinned_bytes += entry.pins > 0 ? entry.size : 0;
    bytes += Allocator::Rounded(entry.size);
  }
  if (unsealed != writing || evictable != evictable_.size()) return "store: stale entry in a list";
  if (pinned_bytes != pinned_bytes_) return "store: pinned bytes miscounted";
  return bytes == memory_.used() ? "" : "store: objects and memory in use differ";
}

std::string Store::CheckEntry(const ObjectId& object, const Entry& entry) const {
  const bool idle = entry.sealed() && entry.pins == 0;
  if (entry.aborted && entry.pins == 0) return "store: an object that was given up lingers";
  if (idle && entry.doomed) return "store: a freed object lingers";
  if (entry.evictable.has_value() != (idle && entry.copy == Copy::kSecondary)) return "store: wrong state of eviction";
  if (entry.evictable && **entry.evictable != object) return "store: the eviction list names another object";
  if (entry.sealed() || entry.aborted) return "";
  const auto creator = clients_.find(entry.creator);
  return creator != clients_.end() && creator->second.writing.count(object) == 1 ? "" : "store: a creator is unknown";
}

}  // namespace ray_engine
