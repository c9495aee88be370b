#include "engine/node/watch_table.h"

namespace ray_engine {

bool WatchTable::Add(ProcessId watcher, ProcessId target) {
  auto& watchers = watchers_[target];
  const bool first = watchers.empty();
  watchers.insert(watcher);
  targets_[watcher].insert(target);
  return first;
}

std::vector<ProcessId> WatchTable::Take(ProcessId target) {
  const auto it = watchers_.find(target);
  if (it == watchers_.end()) return {};
  const std::vector<ProcessId> taken(it->second.begin(), it->second.end());
  watchers_.erase(it);
  for (const ProcessId watcher : taken) {
    auto& targets = targets_[watcher];
    targets.erase(target);
    if (targets.empty()) targets_.erase(watcher);
  }
  return taken;
}

std::vector<ProcessId> WatchTable::TargetsOn(std::uint32_t node) const {
  std::vector<ProcessId> targets;
  for (auto it = watchers_.lower_bound(ProcessId{node, 0}); it != watchers_.end() && it->first.node == node; ++it) {
    targets.push_back(it->first);
  }
  return targets;
}

void WatchTable::Forget(ProcessId watcher) {
  const auto it = targets_.find(watcher);
  if (it == targets_.end()) return;
  for (const ProcessId target : it->second) {
    const auto watchers = watchers_.find(target);
    watchers->second.erase(watcher);
    if (watchers->second.empty()) watchers_.erase(watchers);
  }
  targets_.erase(it);
}

}  // namespace ray_engine
