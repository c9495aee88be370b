// Lineage: how the stored results of a task were made, so that a lost one can be made again.
//
// Kept with the results of a normal task that may be retried, once it has ended and left something in a store: its
// spec, and what its arguments mention, as far as it is small or can be made again in turn. The latter keep their
// lineage, not their values: these go when the program lets go of them. It all goes with the last of the task's
// results. Of a process together it takes about kMostBytes at most; what ends beyond that cannot be made again.
//
// Part of the task table. Thread-compatible (the runtime's lock).

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "engine/core/object_entry.h"

namespace ray_engine {

class Ownership;
struct CallOptions;
struct TaskRecord;

// A task's payload in which the values of some arguments are still to be inserted: (offset of ArgHeader, object).
struct UnresolvedSpec {
  std::string payload;
  std::vector<std::pair<std::size_t, ObjectEntry*>> unresolved;
};

struct Lineage {
  TaskId id, parent;
  CallOptions* options = nullptr;
  UnresolvedSpec spec;                // what is unresolved is among `parents`
  std::vector<ObjectEntry*> holds;    // small values among what the arguments mention, held
  std::vector<ObjectEntry*> parents;  // results among it that can be made again (Ownership::HoldLineage)
  std::vector<ObjectEntry*> returns;  // not held; null: gone
  std::int32_t retries_left = 0;      // -1: for ever
  bool cancelled = false;             // by the program, after the end
  bool under_way = false;             // it is being made again
};

class LineageKeeper {
 public:
  static constexpr std::size_t kMostBytes = std::size_t{1} << 30;

  explicit LineageKeeper(Ownership* ownership, std::size_t most_bytes = kMostBytes)
      : ownership_(ownership), most_bytes_(most_bytes) {}

  // A task has ended well. Takes what serves a purpose of its spec and holds; those left in the record are not needed.
  void Keep(TaskRecord* record, const std::vector<WireValue>& values);
  // Why a lost object cannot be made again: the name of a ReconstructionFailure (ray_engine.exceptions). Empty if it
  // can be.
  static std::string_view WhyNot(const ObjectEntry& lost);
  // A result with lineage goes.
  void Forget(const ObjectEntry& result);

  struct Counts {
    std::size_t tasks = 0, bytes = 0;
  };
  Counts Stats() const { return counts_; }

 private:
  void TakeHolds(TaskRecord* record, Lineage* lineage);

  Ownership* ownership_;
  std::size_t most_bytes_;
  Counts counts_;
};

}  // namespace ray_engine
