// The part of Ownership about stored values: where their copies lie, and what happens when they go.

#include <algorithm>
#include <utility>

#include "engine/core/ownership.h"

namespace ray_engine {

// ---- copies --------------------------------------------------------------------------------------------------------

void Ownership::On(const CopyAdded& message) {
  ObjectEntry* entry = Find(message.object);
  const bool faded = entry != nullptr && entry->rare != nullptr && entry->rare->faded;
  if (entry == nullptr || entry->freed || faded) {
    sender_->Send(ProcessId{message.node, 0}, StoreFree{{message.object}});
  } else {
    AddCopy(entry, message.node);
  }
}

void Ownership::AddCopy(ObjectEntry* entry, std::uint32_t node) {
  if (entry->kind != WireValue::kStored || node == entry->node) return;
  auto& copies = entry->Extra().copies;
  if (std::find(copies.begin(), copies.end(), node) == copies.end()) copies.push_back(node);
}

// It was made again though it was not lost; it may lie in a store only this time.
void Ownership::TakeSecondCopy(ObjectEntry* entry, std::uint32_t node) {
  if (entry->freed || entry->kind != WireValue::kStored)
    return sender_->Send(ProcessId{node, 0}, StoreFree{{entry->id}});
  AddCopy(entry, node);
}

void Ownership::FreeCopies(ObjectEntry* entry) {
  if (!entry->ready || entry->kind != WireValue::kStored) return;
  const StoreFree message{{entry->id}};
  sender_->Send(ProcessId{entry->node, 0}, message);
  if (entry->rare == nullptr) return;
  for (const std::uint32_t node : std::exchange(entry->rare->copies, {})) sender_->Send(ProcessId{node, 0}, message);
}

void Ownership::Free(ObjectEntry* entry) {
  const bool own = entry->owner == sender_->self();
  if (entry->is_error || entry->freed || (own && !entry->ready)) return;
  entry->freed = entry->ready;
  DropHint(entry);  // what this process reads from now on it asks the owner for, who hears of this first
  if (own) {
    FreeCopies(entry);
  } else if (!gone_.contains(entry->owner)) {
    sender_->Send(entry->owner, StoreFree{{entry->id}});
  }
}

void Ownership::On(const StoreFree& message) {
  for (const ObjectId& object : message.objects) {
    ObjectEntry* entry = Find(object);
    if (entry != nullptr && entry->owner == sender_->self()) Free(entry);
  }
}

// ---- lost values, and lineage --------------------------------------------------------------------------------------

void Ownership::Fade(ObjectEntry* entry) {
  if (std::exchange(entry->rare->faded, true)) return;
  entry->rare->released |= entry->ready;
  entry->ready = false;
  DropContained(entry);
  if (entry->origin == ObjectEntry::kHandle) listener_->OnHandleFaded(entry->id);
}

void Ownership::DropLineage(ObjectEntry* entry) {
  --entry->rare->lineage_holds;
  Hold(entry);
  Drop(entry);
}

void Ownership::Recall(ObjectEntry* entry) {
  Hold(entry);
  if (entry->origin == ObjectEntry::kTask && entry->freed.exchange(false) && !entry->rare->faded) Fade(entry);
  Revive(entry);
}

void Ownership::Revive(ObjectEntry* entry) {
  if (entry->rare == nullptr || !std::exchange(entry->rare->faded, false)) return;
  if (entry->freed) {  // by the program: whoever reads it is told so
    entry->ready = true;
    return;
  }
  to_revive_.push_back(entry);
  Hold(entry);
  if (reviving_) return;
  reviving_ = true;
  while (!to_revive_.empty()) {
    ObjectEntry* next = to_revive_.back();
    to_revive_.pop_back();
    Remake(next, "it was released");
    Drop(next);
  }
  reviving_ = false;
}

void Ownership::Lose(ObjectEntry* entry, std::uint32_t node, const std::string& reason) {
  if (!entry->ready || entry->freed || entry->kind != WireValue::kStored) return;
  if (entry->owner == sender_->self()) return LoseOwned(entry, node, reason);
  entry->ready = false;
  DropHint(entry);
  ReleaseContained(entry);
  entry->requested = false;
  RequestValue(entry, node, reason);
}

void Ownership::LoseOwned(ObjectEntry* entry, std::uint32_t node, const std::string& reason) {
  std::vector<std::uint32_t>& copies = entry->Extra().copies;
  copies.erase(std::remove(copies.begin(), copies.end(), node), copies.end());
  if (entry->node != node) return;  // old news
  if (!copies.empty()) {
    entry->node = copies.back();
    copies.pop_back();
    sender_->Send(ProcessId{entry->node, 0}, StoreKeep{entry->id});
    return;
  }
  entry->ready = false;  // what it contains stays until it has a value again, for those that have read it
  Remake(entry, reason);
}

void Ownership::Remake(ObjectEntry* entry, const std::string& reason) {
  if (std::optional<WireValue> error = listener_->OnObjectLost(entry, reason)) SetValue(entry, *std::move(error));
}

}  // namespace ray_engine
