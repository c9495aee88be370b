// WatchTable: who wants to know when a process is gone.
//
// A watcher is a process of this node, or the engine of another node on behalf of its own watchers. Processes of other
// nodes are watched here too: their engine is asked once, and its answer goes to all who wait.
//
// Pure bookkeeping. Loop-bound.

#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <vector>

#include "engine/base/ids.h"

namespace ray_engine {

class WatchTable {
 public:
  // True if nobody watched `target` before.
  bool Add(ProcessId watcher, ProcessId target);
  // The watchers of `target`, which is gone; they are forgotten.
  std::vector<ProcessId> Take(ProcessId target);
  // Targets on a node, which is lost.
  std::vector<ProcessId> TargetsOn(std::uint32_t node) const;
  // A watcher is gone, or with its node.
  void Forget(ProcessId watcher);

  std::size_t targets() const { return watchers_.size(); }

 private:
  absl::btree_map<ProcessId, absl::btree_set<ProcessId>> watchers_;  // by target
  absl::btree_map<ProcessId, absl::btree_set<ProcessId>> targets_;   // by watcher
};

}  // namespace ray_engine
