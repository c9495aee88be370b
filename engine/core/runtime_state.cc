// The part of Runtime that tells people what this process has submitted, runs and holds.

#include <absl/container/flat_hash_map.h>

#include <utility>

#include "engine/core/runtime.h"

namespace ray_engine {

void Runtime::OnStateQuery(const StateQuery& query) {
  StateReport report{query.round, {}};
  if (query.kind == StateKind::kTasks) report.rows.tasks = ReportTasks();
  if (query.kind == StateKind::kReferences) report.rows.references = ReportReferences();
  peers_->SendToEngine(report);
}

// What this process has submitted, and what it runs; the same task may be in both.
std::vector<TaskInfo> Runtime::ReportTasks() const {
  std::vector<TaskInfo> tasks = tasks_->Report();
  for (TaskInfo& info : tasks) info.owner = self();
  for (const auto& task : executor_->running()) {
    tasks.push_back(DescribeRunning(*task));
    tasks.back().process = self();
  }
  for (TaskInfo& info : tasks) info.job = job_;
  return tasks;
}

std::vector<TaskInfo> Runtime::Tasks() {
  const std::lock_guard lock(mutex_);
  return ReportTasks();
}

std::vector<ReferenceInfo> Runtime::References() {
  const std::lock_guard lock(mutex_);
  return ReportReferences();
}

// What is held for another reason than a reference of the program is counted first; the rest are the program's.
std::vector<ReferenceInfo> Runtime::ReportReferences() const {
  struct Counts {
    std::uint32_t submitted = 0, returned = 0, contained = 0;
  };
  absl::flat_hash_map<const ObjectEntry*, Counts> counts;
  tasks_->ForEach([&](const TaskRecord* record) {
    for (const ObjectEntry* entry : record->holds) ++counts[entry].submitted;
    for (const ObjectEntry* entry : record->returns) ++counts[entry].returned;
  });
  ownership_->ForEach([&](const ObjectEntry* entry) {
    for (const ObjectEntry* inner : entry->contained) ++counts[inner].contained;
  });
  std::vector<ReferenceInfo> report;
  ownership_->ForEach([&](const ObjectEntry* entry) {
    const Counts of = counts[entry];
    ReferenceInfo& info = report.emplace_back();
    info.object = entry->id;
    info.holder = self();
    info.owner = entry->owner;
    info.ready = entry->ready;
    info.stored = entry->kind == WireValue::kStored;
    info.size = info.stored ? entry->size : entry->bytes.size();
    info.actor_handle = actors_->IsHandle(entry->id);
    const std::uint32_t other = of.submitted + of.returned + of.contained;
    info.local = entry->holds > other ? entry->holds - other : 0;
    info.submitted = of.submitted;
    info.contained = of.contained;
    if (info.stored) info.nodes.push_back(entry->node);
    if (entry->rare == nullptr) return;
    info.borrowers = static_cast<std::uint32_t>(entry->rare->borrowers.size());
    info.nodes.insert(info.nodes.end(), entry->rare->copies.begin(), entry->rare->copies.end());
    if (entry->rare->call_site != nullptr) info.call_site = *entry->rare->call_site;
  });
  return report;
}

}  // namespace ray_engine
