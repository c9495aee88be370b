// Lineage: how the stored results of a task were made, so that a lost one can be made again.
//
// Kept with the results of a task or method that may be retried, once it has ended and left something in a store: its
// spec, and what its arguments mention. Of what can be made again in turn only the lineage is kept, not the value: that
// goes when the program lets go of it; of an actor whose methods are to be called again only the way to start it again.
// Own objects that cannot be made again (those that were put) stay. It all goes with the last of the task's results. Of
// a process together it takes a limited number of bytes; beyond that the oldest goes, and what it was for cannot be
// made again. What lies in the stores of a task that yields is known as the items come, since they may be lost before
// it ends.
//
// Part of the task table. Thread-compatible (the runtime's lock).

#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "engine/core/object_entry.h"

namespace ray_engine {

class Ownership;
class Stream;
struct CallOptions;
struct TaskRecord;

// A task's payload in which the values of some arguments are still to be inserted: (offset of ArgHeader, object).
struct UnresolvedSpec {
  std::string payload;
  std::vector<std::pair<std::size_t, ObjectEntry*>> unresolved;
};

struct Lineage {
  TaskId id, parent;
  ActorId actor;  // of a method
  CallOptions* options = nullptr;
  UnresolvedSpec spec;                // what is unresolved is among the two below
  std::vector<ObjectEntry*> holds;    // what the arguments mention and cannot be made again, held
  std::vector<ObjectEntry*> parents;  // stored ones among it that are not held (Ownership::HoldLineage)
  std::vector<ObjectEntry*> results;  // by return index - 1; not held; null: gone, or an item that needs no lineage
  std::size_t alive = 0;              // of the results
  std::shared_ptr<Stream> stream;     // of a task that yields
  std::int32_t retries_left = 0;      // -1: for ever
  bool cancelled = false;             // by the program, after the end
  TaskRecord* record = nullptr;       // that makes the results, or makes them again
  std::size_t bytes = 0;              // 0: the task has not ended yet, or has been evicted
  std::list<Lineage*>::iterator age;  // in the keeper's list, if it takes bytes

  // Where the result stands in `results`.
  static std::size_t PlaceOf(const ObjectId& result);
  // An item of a task that yields; it may have faded. Null: it is gone, or needs no lineage.
  ObjectEntry* Item(std::uint32_t index) const;
  // An item that the attempt that runs, or ran last, has brought.
  bool HasPassed(const ObjectEntry& item) const;
};

class LineageKeeper {
 public:
  static constexpr std::size_t kMostBytes = std::size_t{1} << 30;

  explicit LineageKeeper(Ownership* ownership) : ownership_(ownership) {}

  // 0: none is kept. Counts for tasks that end from now on.
  void set_most_bytes(std::size_t bytes) { most_bytes_ = bytes; }

  // A task has ended. Takes what serves a purpose of its spec and holds; those left in the record are not needed.
  void Keep(TaskRecord* record, const std::vector<WireValue>& values);
  // An item of the task has come that lies in a store.
  void KeepItem(TaskRecord* record, ObjectEntry* item);
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
  ObjectEntry::Origin OriginOf(const CallOptions& options) const;
  void TakeSpec(TaskRecord* record, Lineage* lineage);
  bool EvictOldest();
  static std::shared_ptr<Lineage> Disown(Lineage* lineage, ObjectEntry::Origin origin);
  void Release(Lineage* lineage);

  Ownership* ownership_;
  std::size_t most_bytes_ = kMostBytes;
  Counts counts_;
  std::list<Lineage*> by_age_;  // of tasks that have ended, the oldest first
};

}  // namespace ray_engine
