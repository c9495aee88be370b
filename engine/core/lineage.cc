#include "engine/core/lineage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/core/actor_submitter.h"
#include "engine/core/task_table.h"

namespace ray_engine {
namespace {

std::size_t BytesOf(const Lineage& lineage) {
  const std::size_t pointers = lineage.holds.size() + lineage.parents.size() + lineage.results.size();
  std::size_t bytes = sizeof lineage + lineage.spec.payload.size() + pointers * sizeof(void*);
  for (const ObjectEntry* entry : lineage.holds) bytes += sizeof *entry + entry->bytes.size();
  return bytes;
}

// It is there, and there is no other way to have it again. What contains references may keep more alive than itself,
// such as actors: small results with some are not held. What belongs to others is theirs to keep, unless it is small.
bool IsWorthHolding(const ObjectEntry& entry, bool own) {
  if (!entry.ready || entry.origin == ObjectEntry::kTask || entry.origin == ObjectEntry::kHandle) return false;
  if (!own && entry.kind != WireValue::kInline) return false;
  return entry.contained.empty() || (own && entry.origin != ObjectEntry::kNoLineage);
}

// It can be made again, or started again; or it has no value yet.
bool IsParent(const ObjectEntry& entry) {
  return entry.origin == ObjectEntry::kTask || entry.origin == ObjectEntry::kHandle || entry.kind == WireValue::kStored;
}

std::shared_ptr<Lineage> LineageOf(const TaskRecord& record) {
  auto lineage = std::make_shared<Lineage>();
  lineage->id = record.id;
  lineage->parent = record.Parent();
  if (record.actor != nullptr) lineage->actor = record.actor->actor;
  lineage->options = record.options;
  lineage->stream = record.GetStream();
  return lineage;
}

void SetResult(const std::shared_ptr<Lineage>& lineage, ObjectEntry* entry) {
  const std::size_t place = Lineage::PlaceOf(entry->id);
  if (lineage->results.size() <= place) lineage->results.resize(place + 1);
  lineage->results[place] = entry;
  ++lineage->alive;
  entry->origin = ObjectEntry::kTask;
  entry->Extra().lineage = lineage;
}

}  // namespace

std::size_t Lineage::PlaceOf(const ObjectId& result) {
  std::uint32_t index = 0;
  std::memcpy(&index, result.data() + TaskId::kSize, sizeof index);
  return index - 1;
}

ObjectEntry* Lineage::Item(std::uint32_t index) const {
  return index + 1 < results.size() ? results[index + 1] : nullptr;
}

bool Lineage::HasPassed(const ObjectEntry& item) const {
  return stream != nullptr && stream->HasPassed(static_cast<std::uint32_t>(PlaceOf(item.id)) - 1);
}

ObjectEntry::Origin LineageKeeper::OriginOf(const CallOptions& options) const {
  if (most_bytes_ == 0) return ObjectEntry::kNoLineage;
  return options.max_retries == 0 ? ObjectEntry::kRetriesDisabled : ObjectEntry::kTask;
}

void LineageKeeper::Keep(TaskRecord* record, const std::vector<WireValue>& values) {
  if (record->GetLineage() == nullptr) {
    const auto is_stored = [](const WireValue& value) { return value.kind == WireValue::kStored; };
    if (std::none_of(values.begin(), values.end(), is_stored)) return;
    const ObjectEntry::Origin origin = OriginOf(*record->options);
    for (ObjectEntry* entry : record->returns) entry->origin = origin;
    if (origin != ObjectEntry::kTask) return;
    record->Extra().lineage = LineageOf(*record);
    for (ObjectEntry* entry : record->returns) SetResult(record->rare->lineage, entry);
  }
  Lineage* lineage = record->rare->lineage.get();
  if (lineage->bytes != 0 || lineage->alive == 0) return;
  if (const auto origin = OriginOf(*record->options); origin != ObjectEntry::kTask)
    return void(Disown(lineage, origin));
  TakeSpec(record, lineage);
  lineage->bytes = BytesOf(*lineage);
  lineage->age = by_age_.insert(by_age_.end(), lineage);
  counts_.bytes += lineage->bytes;
  ++counts_.tasks;
  while (counts_.bytes > most_bytes_ && EvictOldest()) {
  }
}

void LineageKeeper::KeepItem(TaskRecord* record, ObjectEntry* item) {
  if (item->origin == ObjectEntry::kTask) return;
  if (record->options->max_retries == 0) {
    item->origin = OriginOf(*record->options);
    return;
  }
  if (record->GetLineage() == nullptr) {
    record->Extra().lineage = LineageOf(*record);
    record->rare->lineage->record = record;
  }
  SetResult(record->rare->lineage, item);
}

void LineageKeeper::TakeSpec(TaskRecord* record, Lineage* lineage) {
  lineage->retries_left = record->retries_left;
  lineage->spec = std::move(record->rare->remade);
  if (lineage->spec.payload.empty()) lineage->spec.payload = std::move(record->payload);
  std::vector<ObjectEntry*> rest;
  for (ObjectEntry* entry : record->holds) {
    const bool own = ownership_->IsOwn(*entry);
    if (IsWorthHolding(*entry, own)) {
      lineage->holds.push_back(entry);
      continue;
    }
    rest.push_back(entry);
    if (!own || !IsParent(*entry)) continue;
    ownership_->HoldLineage(entry);
    lineage->parents.push_back(entry);
  }
  record->holds = std::move(rest);
}

std::string_view LineageKeeper::WhyNot(const ObjectEntry& lost) {
  switch (lost.origin) {
    case ObjectEntry::kPut:
      return "PUT";
    case ObjectEntry::kRetriesDisabled:
      return "RETRIES_DISABLED";
    case ObjectEntry::kLineageEvicted:
      return "LINEAGE_EVICTED";
    case ObjectEntry::kNoLineage:
    case ObjectEntry::kHandle:
      return "LINEAGE_DISABLED";
    case ObjectEntry::kTask:
      break;
  }
  const Lineage& lineage = *lost.rare->lineage;
  if (lineage.cancelled) return "TASK_CANCELLED";
  if (lost.rare->released) return "";
  const bool comes = lineage.record != nullptr && !lineage.HasPassed(lost);
  const std::int32_t retries_left = lineage.record != nullptr ? lineage.record->retries_left : lineage.retries_left;
  return comes || retries_left != 0 ? "" : "MAX_ATTEMPTS_EXCEEDED";
}

void LineageKeeper::Forget(const ObjectEntry& result) {
  const std::shared_ptr<Lineage> lineage = result.rare->lineage;
  lineage->results[Lineage::PlaceOf(result.id)] = nullptr;
  if (--lineage->alive == 0 && lineage->bytes != 0) Release(lineage.get());
}

// What is being made again stays until it is there.
bool LineageKeeper::EvictOldest() {
  const auto oldest =
      std::find_if(by_age_.begin(), by_age_.end(), [](const Lineage* lineage) { return lineage->record == nullptr; });
  if (oldest == by_age_.end()) return false;
  const std::shared_ptr<Lineage> lineage = Disown(*oldest, ObjectEntry::kLineageEvicted);
  Release(lineage.get());
  return true;
}

// Its results have none any more. Returns it, as long as somebody holds it.
std::shared_ptr<Lineage> LineageKeeper::Disown(Lineage* lineage, ObjectEntry::Origin origin) {
  std::shared_ptr<Lineage> disowned;
  for (ObjectEntry* entry : lineage->results) {
    if (entry == nullptr) continue;
    entry->origin = origin;
    disowned = std::move(entry->rare->lineage);
  }
  return disowned;
}

void LineageKeeper::Release(Lineage* lineage) {
  by_age_.erase(lineage->age);
  counts_.bytes -= std::exchange(lineage->bytes, 0);
  --counts_.tasks;
  for (ObjectEntry* entry : std::exchange(lineage->holds, {})) ownership_->Drop(entry);
  for (ObjectEntry* entry : std::exchange(lineage->parents, {})) ownership_->DropLineage(entry);
}

}  // namespace ray_engine
