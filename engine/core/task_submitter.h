// TaskSubmitter: brings tasks to workers.
//
// Tasks with equal requirements share a LeaseQueue; those whose arguments are stored on another node have one per node.
// The submitter asks the head for leases (LeaseDemand), gets workers
// (LeaseGrant) and pushes tasks to them directly, so that a loop of small tasks touches neither head nor engine. How
// many tasks are queued ahead on one worker follows from the measured duration of the function: about 1 ms of work, one
// task while the duration is unknown. A worker that blocks or overruns gives back what it has not started
// (TasksReturned). Leases go back when they were idle for kLinger, or at once when the head asks (LeaseReclaim).
//
// Pure state machine. Thread-compatible (the runtime's lock). See docs/design.md, "Leases".

#pragma once

#include <absl/container/flat_hash_map.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/task_table.h"

namespace ray_engine {

using Nanoseconds = std::chrono::nanoseconds;

struct LeasedWorker {
  LeaseId lease{};
  Channel* channel = nullptr;
  LeaseQueue* queue = nullptr;
  std::deque<TaskRecord*> pushed;         // in the order they run
  std::uint32_t calls_left = 0xffffffff;  // max_calls
  bool stalled = false;                   // gave tasks back: gets no more until it has finished what it runs
  bool reclaimed = false;                 // the head wants it back
  std::uint32_t running_at_tick = 0;      // attempt
  Nanoseconds idle_since{0};
};

struct LeaseQueue {
  std::uint32_t key = 0;
  LeaseClass lease_class;
  std::uint32_t max_calls = 0;    // then all its tasks are of one function
  std::string name;               // of the last function, for messages to people
  std::deque<TaskRecord*> ready;  // arguments resolved, not pushed
  std::vector<std::unique_ptr<LeasedWorker>> workers;
  std::uint32_t locality =
      kNoNode;  // node that holds most bytes of the arguments of its tasks; kNoNode: this one, or none
  absl::flat_hash_map<std::uint32_t, LeaseQueue*> near;  // for tasks of the class whose arguments lie on another node
  std::uint32_t demanded = 0;                            // leases asked for and not granted yet
  std::uint32_t received = 0;                            // grants, ever
  std::size_t full_to = 0;  // nobody takes a task behind so many but who has ended one since; 0: not known
};

class TaskSubmitter {
 public:
  static constexpr Nanoseconds kLinger{std::chrono::milliseconds(20)};
  static constexpr Nanoseconds kSlice{std::chrono::milliseconds(5)};
  // Between a task's exception and its next attempt; doubles with each, up to the longest.
  static constexpr Nanoseconds kFirstDelay{std::chrono::milliseconds(10)}, kLongestDelay{std::chrono::seconds(1)};

  TaskSubmitter(Sender* sender, TaskTable* tasks) : sender_(sender), tasks_(tasks) {}

  void Submit(TaskRecord* record);
  // Returns false if the task has ended already.
  void Cancel(TaskRecord* record, bool force, bool recursive);

  void On(const LeaseGrant& message, Nanoseconds now);
  void On(const LeaseReclaim& message);
  void On(const LeasesLost& message);
  // This process removes the group: nothing more goes to the leases it has there, before the head asks them back.
  void OnGroupRemoved(const PlacementGroupId& id);
  void On(const LeaseFailed& message);
  void On(ProcessId from, const TasksReturned& message, Nanoseconds now);
  // A task has ended at its worker. Frees the record.
  void OnDone(TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values, Nanoseconds now);
  void OnProcessGone(ProcessId process, const std::string& cause);
  // Sends demands that have grown, returns idle leases. Call about every 10 ms while NeedsTick().
  void Tick(Nanoseconds now);
  bool NeedsTick() const { return lease_count_ > 0 || dirty_ || !delayed_.empty(); }
  // Sends demands that were put off. Call before waiting.
  void FlushDemands();

  struct Counts {
    std::size_t leases = 0, queued = 0;
  };
  Counts Stats() const;

 private:
  LeaseQueue* QueueFor(CallOptions* options);
  LeaseQueue* QueueOf(const TaskRecord& record);
  LeaseQueue* NewQueue(const CallOptions& options, std::uint32_t locality);
  void Enqueue(TaskRecord* record, bool front);
  void Pump(LeaseQueue* queue);
  void PumpTo(LeasedWorker* worker);
  void PushNext(LeasedWorker* worker);
  LeasedWorker* Choose(LeaseQueue* queue, const CallOptions& options);
  void Push(LeasedWorker* worker, TaskRecord* record);
  std::uint32_t Wanted(const LeaseQueue& queue) const;
  void UpdateDemand(LeaseQueue* queue, bool exact);
  void Demand(LeaseQueue* queue, std::uint32_t wanted);
  void RecallIfOverrun(LeasedWorker* worker);
  void ReturnLease(LeasedWorker* worker);
  void ReportLost(const TaskRecord& running, const std::string& cause);
  void Retry(TaskRecord* record, bool was_running, const std::string& cause);
  void RetryLater(TaskRecord* record, Nanoseconds now);
  void RetryDue(Nanoseconds now);
  void DropDelayed(const TaskRecord* record);
  LeasedWorker* FindLease(LeaseId lease) const;

  Sender* sender_;
  TaskTable* tasks_;
  std::vector<std::unique_ptr<LeaseQueue>> queues_;         // by key
  absl::flat_hash_map<std::string, LeaseQueue*> by_class_;  // encoded LeaseClass, and the function if it has max_calls
  std::multimap<Nanoseconds, TaskRecord*> delayed_;         // tasks that raised, by the time of their next attempt
  std::size_t lease_count_ = 0;
  bool dirty_ = false;  // some demand is put off
};

}  // namespace ray_engine
