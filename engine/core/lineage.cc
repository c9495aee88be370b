#include "engine/core/lineage.h"

#include <algorithm>
#include <utility>

#include "engine/core/task_table.h"

namespace ray_engine {
namespace {

std::size_t BytesOf(const Lineage& lineage) {
  return sizeof lineage + lineage.spec.payload.size() + (lineage.holds.size() + lineage.parents.size()) * sizeof(void*);
}

// Holding it cannot keep anything else alive, such as an actor.
bool IsPlain(const ObjectEntry& entry) {
  return entry.ready && entry.kind == WireValue::kInline && entry.contained.empty() &&
         entry.origin != ObjectEntry::kHandle;
}

ObjectEntry::Origin OriginOf(const CallOptions& options, bool there_is_room) {
  if (options.max_retries == 0) return ObjectEntry::kRetriesDisabled;
  if (options.kind != TaskKind::kNormal || options.yields != Yields::kNo) return ObjectEntry::kNoLineage;
  return there_is_room ? ObjectEntry::kTask : ObjectEntry::kLineageEvicted;
}

}  // namespace

void LineageKeeper::Keep(TaskRecord* record, const std::vector<WireValue>& values) {
  if (record->lineage != nullptr) return;
  const bool stored = std::any_of(values.begin(), values.end(),
                                  [](const WireValue& value) { return value.kind == WireValue::kStored; });
  if (!stored) return;
  const ObjectEntry::Origin origin = OriginOf(*record->options, counts_.bytes < most_bytes_);
  for (ObjectEntry* entry : record->returns) entry->origin = origin;
  if (origin != ObjectEntry::kTask) return;
  auto lineage = std::make_shared<Lineage>();
  lineage->id = record->id;
  lineage->parent = record->parent;
  lineage->options = record->options;
  lineage->spec = std::move(record->remade);
  if (lineage->spec.payload.empty()) lineage->spec.payload = std::move(record->payload);
  TakeHolds(record, lineage.get());
  lineage->returns = record->returns;
  lineage->retries_left = record->retries_left;
  counts_.bytes += BytesOf(*lineage);
  ++counts_.tasks;
  for (ObjectEntry* entry : record->returns) entry->Extra().lineage = lineage;
}

void LineageKeeper::TakeHolds(TaskRecord* record, Lineage* lineage) {
  std::vector<ObjectEntry*> rest;
  for (ObjectEntry* entry : record->holds) {
    if (entry->origin == ObjectEntry::kTask) {
      ownership_->HoldLineage(entry);
      lineage->parents.push_back(entry);
      rest.push_back(entry);
    } else {
      (IsPlain(*entry) ? lineage->holds : rest).push_back(entry);
    }
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
  return lineage.retries_left == 0 && !lineage.under_way ? "MAX_ATTEMPTS_EXCEEDED" : "";
}

void LineageKeeper::Forget(const ObjectEntry& result) {
  Lineage& lineage = *result.rare->lineage;
  std::replace(lineage.returns.begin(), lineage.returns.end(), const_cast<ObjectEntry*>(&result),
               static_cast<ObjectEntry*>(nullptr));
  const bool needed =
      std::any_of(lineage.returns.begin(), lineage.returns.end(), [](const ObjectEntry* entry) { return entry; });
  if (needed) return;
  counts_.bytes -= BytesOf(lineage);
  --counts_.tasks;
  const std::shared_ptr<Lineage> keep = result.rare->lineage;
  for (ObjectEntry* entry : std::exchange(lineage.holds, {})) ownership_->Drop(entry);
  for (ObjectEntry* entry : std::exchange(lineage.parents, {})) ownership_->DropLineage(entry);
}

}  // namespace ray_engine
