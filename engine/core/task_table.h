// TaskTable: the tasks this process has submitted and not yet seen the end of.
//
// A TaskRecord holds the spec (kept until the end, so that a retry sends the same bytes), the objects the task returns
// and the objects its arguments need. The table resolves arguments: top-level references are waited for and replaced by
// the value itself or by the place where it is stored. How a task reaches a worker is the business of TaskSubmitter and
// ActorSubmitter; both end it here.
//
// Pure state machine. Thread-compatible (the runtime's lock).

#pragma once

#include <absl/container/inlined_vector.h>
#include <absl/functional/function_ref.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/lineage.h"
#include "engine/core/ownership.h"
#include "engine/core/stream.h"
#include "engine/core/task_history.h"
#include "engine/wire/task_spec.h"

namespace ray_engine {

struct LeaseQueue;
struct LeasedWorker;
struct ActorLine;

// What all calls of one function (with the same options), or of one method, share. Lives as long as the runtime.
struct CallOptions {
  TaskKind kind = TaskKind::kNormal;
  FunctionId function;
  std::string name;
  std::uint16_t num_returns = 1;
  Yields yields = Yields::kNo;
  std::uint32_t stream_limit = 0;
  bool captures_children = false;
  std::uint8_t concurrency_group = 0;  // kActorMethod
  bool out_of_order = false;           // kActorMethod: may overtake calls whose arguments are not there yet
  std::uint32_t max_pending = 0;       // kActorMethod: refused beyond so many calls under way; 0: never
  std::uint32_t max_calls = 0;         // kNormal: the worker ends after so many; 0: never
  std::int32_t max_retries = 3;        // -1: for ever
  bool retry_exceptions = false;
  // Which ones; null: all. Called without the lock.
  std::shared_ptr<std::function<bool(const std::string& error)>> retry_if;
  std::string title;            // kActorMethod: another name for its calls; empty: none
  LeaseClass lease_class;       // kNormal
  std::string tail;             // what ends the spec
  LeaseQueue* queue = nullptr;  // kNormal; set at the first call
  std::int64_t mean_ns = -1;    // measured duration, exponentially weighted; -1: never run
};

// Most calls return one object: it needs no allocation.
using ReturnedObjects = absl::InlinedVector<ObjectEntry*, 2>;

struct TaskRecord {
  TaskId id;
  CallOptions* options = nullptr;  // null: the record is free
  std::uint32_t slot = 0;
  std::uint32_t attempt = 0;  // serial of the last push; 0: never pushed
  std::int32_t retries_left = 0;
  bool cancelled = false;
  DoneHeader::Outcome outcome = DoneHeader::kOk;  // as its worker has reported
  ProcessId process;                              // to which it was pushed last
  std::string payload;                            // TaskHeader, name, args, keywords
  ReturnedObjects returns;                        // held
  std::vector<ObjectEntry*> holds;                // everything the arguments mention, held
  LeasedWorker* worker = nullptr;
  ActorLine* actor = nullptr;  // of a method, or of what creates it

  struct Rare {
    TaskId parent;          // task that submitted it, for recursive cancel
    UnresolvedSpec remade;  // the payload, but for own arguments in a store; empty if there are none
    std::vector<std::pair<std::size_t, ObjectEntry*>> unresolved;  // (offset of ArgHeader in payload, object)
    std::uint32_t missing = 0;                                     // of `unresolved`, not ready yet
    std::uint32_t locality = kNoNode;  // node that holds most bytes of its stored arguments, once they are ready
    std::function<void(TaskRecord*, ObjectEntry* failed)> on_args_ready;
    std::shared_ptr<Stream> stream;    // kStreaming
    std::shared_ptr<Lineage> lineage;  // of what it makes again, or of items that have come
    std::uint32_t raised = 0;          // attempts that ended in an exception and were tried again
    bool starts_over = false;          // it has been cancelled only to be run again
  };
  std::unique_ptr<Rare> rare;

  Rare& Extra() {
    if (rare == nullptr) rare = std::make_unique<Rare>();
    return *rare;
  }
  bool IsResolved() const { return rare == nullptr || rare->unresolved.empty(); }
  std::uint32_t Missing() const { return rare == nullptr ? 0 : rare->missing; }
  std::uint32_t Locality() const { return rare == nullptr ? kNoNode : rare->locality; }
  TaskId Parent() const { return rare == nullptr ? TaskId() : rare->parent; }
  std::shared_ptr<Stream> GetStream() const { return rare == nullptr ? nullptr : rare->stream; }
  std::shared_ptr<Lineage> GetLineage() const { return rare == nullptr ? nullptr : rare->lineage; }
};
static_assert(sizeof(TaskRecord) == 160);  // a program may have queued millions

class TaskTable {
 public:
  explicit TaskTable(Ownership* ownership) : ownership_(ownership), lineage_(ownership) {}

  // A record with fresh return objects (held for the record; the caller adds its own holds).
  TaskRecord* New(const TaskId& id, CallOptions* options);
  TaskRecord* Get(std::uint32_t slot) {
    return slot < records_.size() && records_[slot].options != nullptr ? &records_[slot] : nullptr;
  }
  // The live task of that id, or nullptr. O(tasks): for cancel.
  TaskRecord* FindById(const TaskId& id);

  // Calls `then` once all argument objects are there and written into the spec, at once if they are. If one of them is
  // an error, `failed` names it (else it is null) and the spec is as it was.
  void ResolveArgs(TaskRecord* record, std::function<void(TaskRecord*, ObjectEntry* failed)> then);
  // Gives the record a serial for its next push to that process, written into the spec with the lease it runs under.
  void BeginAttempt(TaskRecord* record, ProcessId process, LeaseId lease = LeaseId::kNone);

  // Reads a TaskDone: the task it ends and the values it brings. Null if it is of an attempt that was given up.
  TaskRecord* ReadDone(std::string_view payload, DoneHeader* done, std::vector<WireValue>* values);
  // The end: the return values, or one error for all. Frees the record.
  void Finish(TaskRecord* record, std::vector<WireValue> values, const RunTime& ran = {});
  void FinishWithError(TaskRecord* record, const WireValue& error);
  void FinishWithErrorOf(TaskRecord* record, ObjectEntry* failed);

  void On(ProcessId from, StreamItem item);

  // Its worker has found arguments to be lost: the spec is as before ResolveArgs().
  static void Reopen(TaskRecord* record);
  // It will be tried again, which counts.
  static void TakeRetry(TaskRecord* record);
  // The same for one that has raised; what it had returned by then stays.
  void TakeRetry(TaskRecord* record, std::vector<WireValue> values);
  // A stored result is lost. Returns the error that it becomes; or nothing if it is being made again, for which
  // `submit` gets a record unless one is under way.
  std::optional<WireValue> OnObjectLost(ObjectEntry* lost, const std::string& reason,
                                        absl::FunctionRef<void(TaskRecord*)> submit);
  // 0: no lineage is kept.
  void set_lineage_limit(std::size_t bytes) { lineage_.set_most_bytes(bytes); }
  // The task that made this result, which has ended: it will not be made again.
  static void CancelLineage(const ObjectEntry& result);
  void OnLineageUnneeded(const ObjectEntry& result) { lineage_.Forget(result); }

  // True while something waits for a reply that this process must act on by itself.
  bool HasDependants() const { return waiting_ > 0; }
  std::size_t size() const { return live_; }
  LineageKeeper::Counts lineage() const { return lineage_.Stats(); }
  // The tasks that have not ended, kMostReported at most, and the latest that have. For people.
  static constexpr std::size_t kMostReported = 10000;
  std::vector<TaskInfo> Report() const;
  template <class F>
  void ForEach(F&& f) {
    const auto count = static_cast<std::uint32_t>(records_.size());
    for (std::uint32_t slot = 0; slot < count; ++slot) {
      if (TaskRecord* record = Get(slot)) f(record);
    }
  }

 private:
  void Remember(const TaskRecord& record, const WireValue* error, const RunTime& ran = {});
  TaskRecord* MakeAgain(const std::shared_ptr<Lineage>& lineage, bool is_free);
  static std::shared_ptr<Stream> CollectAgain(const Lineage& lineage);
  std::vector<ObjectEntry*> EndStream(TaskRecord* record, const WireValue* error, bool has_generator);
  void SettleItems(const std::shared_ptr<Lineage>& lineage, const WireValue* error);
  TaskRecord* NewRecord(const TaskId& id, CallOptions* options);
  void WaitForArgs(TaskRecord* record);
  void OnArgReady(std::uint32_t slot, const TaskId& id);
  ObjectEntry* InsertArgs(TaskRecord* record);
  template <class Predicate>
  UnresolvedSpec Insert(const TaskRecord& record, Predicate choose);
  void End(TaskRecord* record, const WireValue* error);
  void Free(TaskRecord* record);

  Ownership* ownership_;
  std::deque<TaskRecord> records_;  // by slot
  std::vector<std::uint32_t> free_slots_;
  TaskHistory history_;
  LineageKeeper lineage_;
  std::uint32_t next_attempt_ = 0;
  std::size_t live_ = 0;
  std::size_t waiting_ = 0;
};

}  // namespace ray_engine
