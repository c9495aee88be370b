// The runtime's part for objects: values, references, waiting for them, streams of them.

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/core/runtime.h"

namespace ray_engine {

// ---- objects -------------------------------------------------------------------------------------------------------

absl::StatusOr<WireValue> Runtime::MakeValue(std::unique_lock<std::mutex>& lock, const ObjectId& object,
                                             ProcessId owner, const ValuePieces& pieces) {
  WireValue value;
  value.is_error = pieces.is_error;
  const std::size_t size = pieces.Size();
  if (size <= inline_limit() || pieces.is_error) {  // an error is raised far from the store it would lie in
    value.bytes.resize(size);
    pieces.CopyTo(value.bytes.data());
    return value;
  }
  std::uint64_t offset = 0;
  if (pieces.room != nullptr) {
    offset = static_cast<std::uint64_t>(pieces.room->data - store_->segment().data());
    pieces.room->object = object;
  } else {
    const std::optional<std::uint64_t> carved = chunk_->Carve(size, NowNs());
    lock.unlock();
    const absl::StatusOr<std::uint64_t> place = carved ? *carved : Reserve(size, StoreUse::kObject);
    if (place.ok()) pieces.CopyTo(store_->ForWriting(*place, size));
    lock.lock();
    if (!place.ok()) return place.status();
    offset = *place;
  }
  peers_->SendToEngine(StoreSeal{object, owner, offset, size, pieces.room != nullptr});
  value.kind = WireValue::kStored;
  value.node = welcome_.node_index;
  value.size = size;
  return value;
}

// OutOfRange: the disk is full as well.
absl::StatusOr<std::uint64_t> Runtime::Reserve(std::uint64_t size, StoreUse use) {
  const absl::StatusOr<StoreReserved> reserved = Call<StoreReserved>(self().Engine(), StoreReserve{0, size, use});
  if (!reserved.ok()) return reserved.status();
  if (reserved->problem == StoreProblem::kOutOfDisk) return absl::OutOfRangeError(reserved->error);
  if (reserved->problem != StoreProblem::kNone) return absl::ResourceExhaustedError(reserved->error);
  if (store_->ForWriting(reserved->offset, size) == nullptr)
    return absl::InternalError("the engine granted memory outside the store");
  return reserved->offset;
}

absl::StatusOr<std::shared_ptr<Pin>> Runtime::MakeRoom(std::uint64_t size) {
  const absl::StatusOr<std::uint64_t> offset = Reserve(size, StoreUse::kArray);
  if (!offset.ok()) return offset.status();
  const std::lock_guard lock(mutex_);
  return pins_->RoomAt(*offset, size);
}

absl::StatusOr<ObjectEntry*> Runtime::Put(ValuePieces pieces) {
  std::unique_lock lock(mutex_);
  if (++put_count_ == 0) process_task_ = NewTaskId();
  const ObjectId id = ReturnObjectId(process_task_, put_count_);
  absl::StatusOr<WireValue> value = MakeValue(lock, id, self(), pieces);
  if (!value.ok()) {
    for (ObjectEntry* entry : pieces.contained) ownership_->Drop(entry);
    return value.status();
  }
  ObjectEntry* entry = ownership_->NewOwned(id);
  entry->origin = ObjectEntry::kPut;
  if (pieces.room != nullptr) entry->Extra().pin = pieces.room;
  ownership_->SetLocalValue(entry, *std::move(value), std::move(pieces.contained));
  Unpark();
  return entry;
}

void Runtime::Hold(ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  ownership_->Hold(entry);
}

void Runtime::Hold(const std::vector<ObjectEntry*>& entries) {
  const std::lock_guard lock(mutex_);
  for (ObjectEntry* entry : entries) ownership_->Hold(entry);
}

void Runtime::Drop(ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  ownership_->Drop(entry);
  Unpark();
}

WireRef Runtime::Export(ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  return ownership_->Export(entry);
}

ObjectEntry* Runtime::Adopt(const WireRef& ref) {
  const std::lock_guard lock(mutex_);
  ObjectEntry* entry = ownership_->Receive(ref, false);
  ownership_->RegisterNow(entry);
  return entry;
}

bool Runtime::IsReady(ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  return entry->ready;
}

std::vector<ObjectEntry*> Runtime::NotReady(const std::vector<ObjectEntry*>& entries) {
  const std::lock_guard lock(mutex_);
  std::vector<ObjectEntry*> rest;
  std::copy_if(entries.begin(), entries.end(), std::back_inserter(rest),
               [](const auto* entry) { return !entry->ready; });
  return rest;
}

Runtime::ReadyObjects Runtime::FindReady(const std::vector<ObjectEntry*>& entries, std::size_t count, bool here_only) {
  const std::lock_guard lock(mutex_);
  const auto is_here = [&](const ObjectEntry* entry) {
    if (!here_only || entry->kind != WireValue::kStored || entry->node == welcome_.node_index) return true;
    return entry->rare != nullptr && !entry->rare->pin.expired();
  };
  ReadyObjects ready;
  for (std::size_t i = 0; i < entries.size() && ready.here.size() < count; ++i) {
    if (entries[i]->ready) (is_here(entries[i]) ? ready.here : ready.elsewhere).push_back(i);
  }
  ready.elsewhere.resize(std::min(ready.elsewhere.size(), count - ready.here.size()));
  return ready;
}

void Runtime::Free(ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  ownership_->Free(entry);
  Unpark();
}

Place Runtime::PlaceOf(const ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  Place place;
  if (!entry->ready || entry->freed) return place;
  const bool stored = entry->kind == WireValue::kStored;
  place.nodes.push_back(stored ? entry->node : entry->owner.node);
  if (entry->rare != nullptr)
    place.nodes.insert(place.nodes.end(), entry->rare->copies.begin(), entry->rare->copies.end());
  place.size = stored ? entry->size : entry->bytes.size();
  return place;
}

void Runtime::SetCallSite(ObjectEntry* entry, const std::string& call_site) {
  const std::lock_guard lock(mutex_);
  entry->Extra().call_site = &*call_sites_.insert(call_site).first;
}

bool Runtime::OwnerIsGone(const ObjectEntry* entry) {
  const std::lock_guard lock(mutex_);
  return ownership_->IsGone(entry->owner);
}

WaitResult Runtime::WaitObjects(const std::vector<ObjectEntry*>& entries, std::size_t count, std::int64_t deadline_ns,
                                bool stop_at_error) {
  std::unique_lock lock(mutex_);
  for (ObjectEntry* entry : entries) {
    if (!entry->ready) ownership_->RequestValue(entry);
  }
  std::size_t first = 0;  // entries before it are ready
  // All are looked at only where one of them may have become what is waited for: there may be millions.
  const bool all = count == entries.size();
  const std::uint64_t& changes = all ? failed_ : readied_;
  std::uint64_t changes_seen = changes - 1;
  return WaitFor(
      lock,
      [&] {
        while (first < entries.size() && entries[first]->ready) {
          if (stop_at_error && entries[first]->is_error) return true;
          ++first;
        }
        if (first >= count) return true;
        if (std::exchange(changes_seen, changes) == changes || (all && !stop_at_error)) return false;
        std::size_t ready = first;
        for (std::size_t i = first; i < entries.size() && ready < count; ++i) {
          if (!entries[i]->ready) continue;
          if (stop_at_error && entries[i]->is_error) return true;
          ++ready;
        }
        return ready >= count;
      },
      deadline_ns, kPatienceNs);
}

std::vector<ObjectEntry*> Runtime::Hinted(const std::vector<ObjectEntry*>& entries) {
  const std::lock_guard lock(mutex_);
  std::vector<ObjectEntry*> hinted;
  for (ObjectEntry* entry : entries) {
    if (!entry->ready && Ownership::StorePlaceOf(*entry)) hinted.push_back(entry);
  }
  return hinted;
}

WaitResult Runtime::PinObjects(PinRequest* request, std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  if (request->pins.empty()) pins_->Ask(request);
  const std::int64_t patience = request->from_elsewhere ? kPatienceNs : kLocalPatienceNs;
  const WaitResult result = WaitFor(
      lock, [&] { return pins_->AllAnswered(request); }, deadline_ns, patience);
  if (result != WaitResult::kInterrupted) pins_->Take(request);
  return result;
}

void Runtime::Abandon(PinRequest* request) {
  if (request->asked.empty()) return;
  const std::lock_guard lock(mutex_);
  pins_->Abandon(request);
}

void Runtime::OnReady(ObjectEntry* entry, std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  if (entry->ready) return Upcall(std::move(callback));
  entry->Extra().on_ready.push_back([this, callback = std::move(callback)](ObjectEntry*) {
    --callbacks_;
    Upcall(callback);
  });
  ++callbacks_;
  ownership_->RequestValue(entry);
  UpdateWantsReplies();
}

// ---- streams -------------------------------------------------------------------------------------------------------

ObjectEntry* Runtime::PeekItem(Stream* stream) {
  const std::lock_guard lock(mutex_);
  ObjectEntry* entry = stream->Peek();
  ownership_->Hold(entry);
  return entry;
}

ObjectEntry* Runtime::TakeItem(Stream* stream) {
  const std::lock_guard lock(mutex_);
  return stream->Peek()->ready && !stream->AtEnd() ? stream->Take() : nullptr;
}

bool Runtime::StreamHasEnded(Stream* stream) {
  const std::lock_guard lock(mutex_);
  return stream->Peek()->ready && stream->AtEnd();
}

void Runtime::CloseStream(Stream* stream) {
  const std::lock_guard lock(mutex_);
  stream->Close();
  Unpark();
}

}  // namespace ray_engine
