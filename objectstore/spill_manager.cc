#include "objectstore/spill_manager.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

namespace ray_engine {

SpillManager::SpillManager(Store* store, ProcessId self, bool enabled)
    : store_(store), self_(self), enabled_(enabled), reserve_(std::min(kReserve, store->size() / 4)) {}

SpillActions SpillManager::Relieve(std::uint64_t size) {
  SpillActions actions;
  short_ = true;
  WriteUntil(size + reserve_, &actions);
  // There may be enough, but not in one piece: then one more, and one more.
  if (!Writing() && store_->Obtainable() >= size) WriteOldest(&actions);
  return actions;
}

SpillActions SpillManager::KeepReserve() {
  SpillActions actions;
  if (short_ && store_->FreeBytes() >= reserve_) short_ = false;
  if (short_) WriteUntil(reserve_, &actions);
  return actions;
}

void SpillManager::WriteUntil(std::uint64_t obtainable, SpillActions* actions) {
  while (store_->Obtainable() + writing_bytes_ < obtainable && WriteOldest(actions)) {
  }
}

bool SpillManager::WriteOldest(SpillActions* actions) {
  const std::optional<ObjectId> oldest = enabled_ && !paused_ ? store_->OldestUnbacked() : std::nullopt;
  if (!oldest) return false;
  const Store::Location location = *store_->Pin(*oldest, self_);
  Object& object = objects_[*oldest];
  object.id = *oldest;
  object.size = location.size;
  object.owner = store_->OwnerOf(*oldest);
  by_owner_.Add(&object);
  writing_bytes_ += location.size;
  ++writing_;
  actions->jobs.push_back({SpillJob::kWrite, *oldest, location.offset, location.size, {}});
  return true;
}

bool SpillManager::Away(const ObjectId& id) const {
  if (objects_.empty()) return false;
  const auto object = objects_.find(id);
  return object != objects_.end() && !object->second.freed && !store_->Contains(id);
}

bool SpillManager::OnDisk(const ObjectId& id) const {
  const auto object = objects_.find(id);
  return object != objects_.end() && object->second.state != State::kWriting;
}

bool SpillManager::OnWant(const ObjectId& id, ProcessId client, std::uint64_t token) {
  Object& object = objects_.find(id)->second;
  object.waiters.push_back({client, token});
  return object.state == State::kOnDisk && object.waiters.size() == 1;
}

bool SpillManager::TryRestore(const ObjectId& id, SpillActions* actions) {
  const auto found = objects_.find(id);
  if (found == objects_.end() || found->second.state != State::kOnDisk || found->second.waiters.empty()) return true;
  Object& object = found->second;
  const absl::StatusOr<std::uint64_t> offset = store_->Create(id, object.size, self_);
  if (!offset.ok()) return false;
  object.state = State::kReading;
  actions->jobs.push_back({SpillJob::kRead, id, *offset, object.size, object.slot});
  return true;
}

SpillActions SpillManager::GiveUpRestore(const ObjectId& id, const std::string& error) {
  SpillActions actions;
  const auto object = objects_.find(id);
  if (object != objects_.end() && object->second.state == State::kOnDisk)
    Fail(id, error, true, &object->second, &actions);
  return actions;
}

SpillActions SpillManager::OnDone(const SpillDone& done, std::uint64_t now_ms) {
  SpillActions actions;
  const auto object = objects_.find(done.job.object);
  if (done.job.kind == SpillJob::kWrite) {
    OnWritten(object, done, now_ms, &actions);
  } else {
    OnRead(object, done, &actions);
  }
  return actions;
}

void SpillManager::OnWritten(Objects::iterator found, const SpillDone& done, std::uint64_t now_ms,
                             SpillActions* actions) {
  const ObjectId id = found->first;
  Object& object = found->second;
  writing_bytes_ -= object.size;
  --writing_;
  stats_.spill_ns += done.took_ns;
  if (done.status.ok()) {
    stats_.spilled_bytes += object.size;
    ++stats_.spilled_objects;
    stats_.on_disk_bytes += object.size;
    ++stats_.on_disk_objects;
    object.slot = done.job.slot;
    object.state = State::kOnDisk;
    trouble_ = Trouble::kNone;
    object.freed ? Forget(found, actions) : store_->SetBacked(id, true);
  } else {
    Erase(found);
    NoteTrouble(done.status, now_ms);
  }
  store_->Unpin(id, self_);
}

void SpillManager::NoteTrouble(const absl::Status& status, std::uint64_t now_ms) {
  if (absl::IsCancelled(status)) return;
  trouble_ = absl::IsResourceExhausted(status) ? Trouble::kDiskFull : Trouble::kUnusable;
  trouble_text_ = std::string(status.message());
  paused_ = true;
  paused_since_ms_ = now_ms;
}

void SpillManager::OnRead(Objects::iterator found, const SpillDone& done, SpillActions* actions) {
  const ObjectId id = found->first;
  Object& object = found->second;
  const std::vector<Waiter> waiters = std::exchange(object.waiters, {});
  stats_.restore_ns += done.took_ns;
  object.state = State::kOnDisk;
  if (!done.status.ok()) {
    store_->Abort(id, self_);
    const std::string error =
        absl::StrCat("the object was spilled, and what is on disk is not what was written: ", done.status.message());
    for (const Waiter& waiter : waiters) actions->failed.push_back({waiter.client, waiter.token, id, error, false});
    if (!object.freed) lost_[id] = {object.owner, error};
    return Forget(found, actions);
  }
  stats_.restored_bytes += object.size;
  ++stats_.restored_objects;
  (void)store_->Seal(id, self_);
  store_->SetOwner(id, object.owner);
  store_->SetBacked(id, true);
  if (object.freed) Forget(found, actions);
  Answer(id, waiters, actions);
}

void SpillManager::Answer(const ObjectId& id, const std::vector<Waiter>& waiters, SpillActions* actions) {
  for (const Waiter& waiter : waiters) {
    if (waiter.client.IsEngine()) {
      actions->here.push_back({waiter.client, id});
    } else if (absl::StatusOr<Store::Location> pinned = store_->Pin(id, waiter.client); pinned.ok()) {
      actions->pinned.push_back({waiter.client, waiter.token, id, *pinned});
    } else {
      actions->failed.push_back({waiter.client, waiter.token, id, "the object was freed by its owner", false});
    }
  }
}

void SpillManager::Fail(const ObjectId& id, const std::string& error, bool full, Object* object,
                        SpillActions* actions) {
  for (const Waiter& waiter : std::exchange(object->waiters, {}))
    actions->failed.push_back({waiter.client, waiter.token, id, error, full});
}

// The place on disk is free again.
void SpillManager::Forget(Objects::iterator found, SpillActions* actions) {
  stats_.on_disk_bytes -= found->second.size;
  --stats_.on_disk_objects;
  SpillJob job;
  job.kind = SpillJob::kFree;
  job.object = found->first;
  job.slot = found->second.slot;
  actions->jobs.push_back(job);
  store_->SetBacked(found->first, false);
  Erase(found);
  paused_ = false;
  if (trouble_ == Trouble::kDiskFull) trouble_ = Trouble::kNone;
}

void SpillManager::Erase(Objects::iterator found) {
  by_owner_.Remove(&found->second);
  objects_.erase(found);
}

SpillActions SpillManager::OnFree(const ObjectId& id) {
  SpillActions actions;
  if (lost_.empty() && objects_.empty()) return actions;
  lost_.erase(id);
  const auto found = objects_.find(id);
  if (found == objects_.end() || found->second.freed) return actions;
  Fail(id, "the object was freed by its owner", false, &found->second, &actions);
  if (found->second.state == State::kOnDisk) {
    Forget(found, &actions);
  } else {
    found->second.freed = true;
  }
  return actions;
}

void SpillManager::OnClientGone(ProcessId client) {
  const auto gone = [client](const Waiter& waiter) { return waiter.client == client; };
  for (auto& [id, object] : objects_)
    object.waiters.erase(std::remove_if(object.waiters.begin(), object.waiters.end(), gone), object.waiters.end());
}

void SpillManager::OnTick(std::uint64_t now_ms) {
  if (paused_ && now_ms - paused_since_ms_ >= kDiskPauseMs) paused_ = false;
}

std::string SpillManager::WhyLost(const ObjectId& object) const {
  const auto lost = lost_.find(object);
  return lost == lost_.end() ? "" : lost->second.why;
}

std::vector<ObjectId> SpillManager::ObjectsOf(ProcessId owner) const {
  std::vector<ObjectId> found;
  by_owner_.ForEach(owner, [&found](const Object& object) {
    if (!object.freed) found.push_back(object.id);
  });
  for (const auto& [id, lost] : lost_) {
    if (lost.owner == owner) found.push_back(id);
  }
  return found;
}

SpillStats SpillManager::Stats() const { return stats_; }

std::vector<ObjectId> SpillManager::AwayObjects() const {
  std::vector<ObjectId> away;
  for (const auto& [id, object] : objects_) {
    if (Away(id)) away.push_back(id);
  }
  return away;
}

std::string SpillManager::CheckInvariants() const {
  std::uint64_t writing = 0, writing_bytes = 0, bytes = 0, owned = 0;
  for (const auto& [id, object] : objects_) {
    owned += !object.owner.IsNil();
    const bool is_writing = object.state == State::kWriting;
    writing += is_writing;
    writing_bytes += is_writing ? object.size : 0;
    bytes += is_writing ? 0 : object.size;
    if (is_writing && !store_->Contains(id)) return "spilling: what is being written is not in memory";
    if (is_writing && !object.waiters.empty()) return "spilling: somebody waits for what is in memory";
    if (object.state == State::kOnDisk && object.freed) return "spilling: a freed object lies on disk";
    if ((object.state == State::kReading) != store_->BeingWritten(id)) return "spilling: a read has no memory";
  }
  if (owned != by_owner_.Count()) return "spilling: objects of owners miscounted";
  if (writing != writing_ || writing_bytes != writing_bytes_) return "spilling: writes miscounted";
  return bytes == stats_.on_disk_bytes ? "" : "spilling: bytes on disk miscounted";
}

}  // namespace ray_engine
