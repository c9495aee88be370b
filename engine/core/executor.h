// Executor: the tasks a worker has been given and what it is running.
//
// Tasks run in the order they arrived. A worker that blocks, or whose task takes longer than expected, gives back the
// normal tasks behind it (TasksReturned): they have not started and cost no retry. Actor methods are never given back.
//
// Calls of an actor's system group lie in a line of their own, so that who takes any task does not take these: they are
// for a thread that is made when the first one has come. The event loops of an async actor need none: there they wait
// with the others until they are handed over.
//
// Pure state machine: which thread runs a task is the runtime's business. Thread-compatible (the runtime's lock).

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/object_entry.h"
#include "engine/core/sender.h"
#include "engine/core/task_submitter.h"
#include "engine/wire/task_spec.h"

namespace ray_engine {

struct ExecTask {
  ProcessId owner;
  TaskHeader header;
  std::string payload;              // the whole spec
  std::optional<StartActor> actor;  // kActorCreation
  Nanoseconds started_at{0};
  Nanoseconds called_at{0}, returned_at{0};  // its function; 0: not looked at, where it makes no difference
  bool cancelled = false;                    // while it was running
  bool interruptible = true;                 // until its user code has returned
  bool leaving = false;                      // it has asked for the end of the process; written by its own thread
  std::uint32_t consumed = 0;                // of the items it has yielded

  // Another item may be made after that one.
  bool HasRoomAfter(std::uint32_t index) const {
    const std::uint32_t limit = header.stream_limit;
    return limit == 0 || cancelled || index + 1 < consumed || index + 1 - consumed < limit;
  }
};

// For people; `process` is left open.
TaskInfo DescribeRunning(const ExecTask& task);

class Executor {
 public:
  static constexpr Nanoseconds kOverrun{std::chrono::milliseconds(10)};

  explicit Executor(Sender* sender) : sender_(sender) {}

  void OnPushTask(ProcessId owner, std::string_view payload);
  void On(const StartActor& message);
  void OnProcessGone(ProcessId process);  // nobody waits for its queued tasks any more

  // A concurrency group of an actor, or kAnyGroup.
  static constexpr int kAnyGroup = -1;  // but not the system group
  bool HasWork(int group = kAnyGroup) const { return First(group) != LineOf(group).end(); }
  bool IsEmpty() const { return queue_.empty() && system_queue_.empty(); }
  // Moves the first task (of the group) to the running ones. REQUIRES: HasWork(group). The pointer is good until
  // Finished().
  ExecTask* Start(Nanoseconds now, int group = kAnyGroup);
  // Threads wait for tasks of different groups.
  bool HasGroups() const { return has_groups_; }
  // True once: when the first call of the system group has come.
  bool TakeNeedOfSystemThread();
  // A task that has asked for the end of the process has not ended itself.
  bool AnyLeaving() const;
  void Finished(ExecTask* task);

  // Gives back every normal task that has not started.
  void GiveBack();
  // The same if the running one has taken longer than kOverrun.
  void GiveBackIfOverrun(Nanoseconds now);
  bool NeedsTick() const { return !queue_.empty() && !running_.empty(); }

  void On(const StreamConsumed& message);
  // Cancels a queued task at once (its owner is told) and returns nullptr; returns a running one, marked; nullptr if
  // the task is not here.
  ExecTask* Cancel(const TaskId& task);
  bool IsRunning(const TaskId& task) const;
  const std::deque<std::unique_ptr<ExecTask>>& running() const { return running_; }
  // The lease under which a task of this worker runs.
  LeaseId LeaseOf(const ExecTask& task) const {
    return task.header.kind == TaskKind::kNormal ? task.header.lease : actor_lease_;
  }

 private:
  using Queue = std::deque<std::unique_ptr<ExecTask>>;
  Queue::const_iterator First(int group) const;
  void TellCancelled(const ExecTask& task);
  const Queue& LineOf(int group) const { return group == kSystemGroup ? system_queue_ : queue_; }

  Sender* sender_;
  LeaseId actor_lease_{};
  bool has_groups_ = false;
  bool runs_coroutines_ = false;
  bool system_thread_ = false;  // has been asked for
  Queue queue_, system_queue_;
  std::deque<std::unique_ptr<ExecTask>> running_;
  std::vector<std::unique_ptr<ExecTask>> pool_;
};

}  // namespace ray_engine
