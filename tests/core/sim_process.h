// SimProcess: one driver or worker of the simulation: the real state machines with the glue of the runtime around them,
// and programs that do random things.
//
// A program never waits for what was created after it, and actor methods wait for puts only, so no program is to blame
// for a deadlock.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/actor_submitter.h"
#include "engine/core/executor.h"
#include "engine/core/ownership.h"
#include "engine/core/task_submitter.h"
#include "engine/core/task_table.h"
#include "tests/core/sim_world.h"
#include "tests/support/task_builder.h"

namespace ray_engine::sim {

// A reference in a program.
struct SimRef {
  ObjectEntry* entry = nullptr;
  Mask needs = 0;  // processes whose end may have taken the object from us though its owner lives
};

class SimProcess : private Ownership::Listener {
 public:
  SimProcess(SimWorld* world, ProcessId id, bool driver);

  void OnFrame(const Frame& frame);
  bool CanRun() const;
  void RunOne();
  void Tick();
  // Those that wait have waited so long that they say so.
  void TellBlocked();
  // Drops what it keeps from task to task.
  void ForgetState();

  ProcessId id() const { return id_; }
  bool IsIdle() const;
  bool IsActor() const { return !actor_.IsNil(); }
  bool HasSpokenTo(ProcessId peer) const { return sender_.HasSpokenTo(peer); }
  Ownership& ownership() { return ownership_; }
  // Everything it still has to do; empty if nothing.
  std::string Pending() const;

 private:
  struct Program {
    ExecTask* task = nullptr;  // null: the driver's
    TaskView view;
    std::uint64_t order = UINT64_MAX;  // may wait for what is older
    std::size_t steps = 0;
    std::vector<ObjectEntry*> received;
    std::vector<SimRef> refs;
    ObjectEntry* waits_for = nullptr;  // held
    Mask wait_needs = 0;
    bool waits_for_item = false;  // that is the next one of a stream
    bool told_blocked = false;
    std::vector<std::shared_ptr<Stream>> streams;  // that it reads
    std::uint32_t yielded = 0;
    bool IsNormal() const { return task != nullptr && task->header.kind == TaskKind::kNormal; }
    bool Yields() const { return task != nullptr && task->header.yields == ray_engine::Yields::kStreaming; }
    // It waits for its reader.
    bool IsHeldUp() const { return yielded > 0 && !task->HasRoomAfter(yielded - 1); }
    bool IsAble() const { return (waits_for == nullptr || waits_for->ready) && !IsHeldUp(); }
  };

  // Frames.
  void Dispatch(const Frame& frame);
  void OnTaskDone(const Frame& frame);
  void OnGone(const ProcessGone& gone);
  void OnCancel(ProcessId from, const CancelTask& cancel);
  void CancelRecord(TaskRecord* record);
  void OnObjectReady(ObjectEntry* entry) override;
  void OnObjectFreed(const ObjectId& object) override { actors_.OnHandleFreed(object); }
  std::optional<WireValue> OnObjectLost(ObjectEntry* entry, const std::string& reason) override;
  void OnLineageUnneeded(const ObjectEntry& result) override { tasks_.OnLineageUnneeded(result); }

  // Programs.
  void StartTasks();
  void Receive(Program* program);
  bool GiveBackIfArgsAreLost(Program* program);
  void Do(Program* program);
  void Finish(Program* program);
  void Reply(Program* program);
  DoneHeader DoneOf(const Program& program);
  WireValue MakeResult(DoneHeader::Outcome outcome, const ObjectId& object, Program* program,
                       std::vector<ObjectEntry*>* contained);
  bool FindLost(ObjectEntry* entry);
  void Resume(Program* program);
  void Keep(Program* program, ObjectEntry* entry, Mask needs);
  void DropOne(Program* program);
  bool MayWaitFor(const Program& program, const ObjectEntry& entry) const;
  const SimRef* Pick(const std::vector<SimRef>& refs);

  void Put(Program* program);
  void Get(Program* program);
  void TryHint(ObjectEntry* entry);
  void SubmitTask(Program* program);
  void CreateActor(Program* program);
  void CallActor(Program* program);
  void Yield(Program* program);
  void Read(Program* program);
  void Close(Program* program);
  void BeginStream(Program* program, TaskRecord* record);
  void CancelSome(Program* program);
  void Swap(Program* program);  // with what the process keeps
  Mask AddArgs(Program* program, TaskBuilder* builder, bool for_constructor, std::vector<ObjectId>* mentioned);
  void NoteReturns(Program* program, const std::vector<ObjectEntry*>& returns, Mask needs);
  WireValue MakeValue(const ObjectId& object, ProcessId owner, Program* program, std::vector<ObjectEntry*>* contained);

  // Checks.
  void CheckValue(const ObjectEntry& entry, Mask needs);
  bool Excused(const ObjectEntry& entry, const Truth& truth, Mask needs) const;

  SimWorld* world_;
  ProcessId id_;
  bool driver_;
  SimSender sender_;
  Ownership ownership_;
  TaskTable tasks_;
  TaskSubmitter submitter_;
  ActorSubmitter actors_;
  Executor executor_;
  std::vector<std::unique_ptr<CallOptions>> functions_;
  std::vector<std::unique_ptr<CallOptions>> methods_;
  CallOptions constructor_;
  std::vector<std::unique_ptr<Program>> programs_;
  std::vector<SimRef> state_;
  ActorId actor_;  // that lives here
  std::size_t concurrency_ = 1;
  bool gives_back_at_once_;
  bool ending_ = false;
};

}  // namespace ray_engine::sim
