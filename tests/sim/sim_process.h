// SimProcess: one driver or worker of the simulation: the real state machines with the glue of the runtime around them,
// and programs that do random things.
//
// A program never waits for what was created after it, and actor methods wait for puts only, so no program is to blame
// for a deadlock.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/actor_submitter.h"
#include "engine/core/executor.h"
#include "engine/core/ownership.h"
#include "engine/core/store_pins.h"
#include "engine/core/task_submitter.h"
#include "engine/core/task_table.h"
#include "tests/sim/sim_sender.h"
#include "tests/sim/sim_world.h"
#include "tests/support/task_builder.h"

namespace ray_engine::sim {

// A reference in a program.
struct SimRef {
  ObjectEntry* entry = nullptr;
  Mask needs;  // processes whose end may have taken the object from us though its owner lives
};

class SimProcess : private Ownership::Listener {
 public:
  // `job`: nil of a driver, which begins one.
  SimProcess(SimWorld* world, ProcessId id, const JobId& job);
  void BeDriver();

  // `hop`: whose ring it came by.
  void OnFrame(ProcessId hop, const Frame& frame);
  bool CanRun() const;
  void RunOne();
  void Tick();
  // What it has said since the last call leaves.
  void Flush() { sender_.Flush(); }
  bool NeedsTick() const;
  // It has been told to leave and does not get to it.
  bool IsLate() const { return leaves_by_ && world_->now() >= *leaves_by_; }
  // Those that wait have waited so long that they say so.
  void TellBlocked();
  // Gives up what it keeps from task to task, and the room it has reserved.
  void ForgetState();

  ProcessId id() const { return id_; }
  const JobId& job() const { return placement_.job; }
  bool IsActor() const { return !actor_.IsNil(); }
  // One that it was granted and may have returned; kNone if there was none.
  LeaseId SomeLease() const { return last_lease_; }
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
    Mask wait_needs;
    std::vector<ObjectEntry*> args;          // stored ones that are still to come; not held
    std::unique_ptr<PinRequest> request;     // of what it waits for, or of all its arguments
    std::vector<std::shared_ptr<Pin>> pins;  // of what it has read
    bool waits_for_item = false;             // that is the next one of a stream
    bool told_blocked = false;
    std::vector<std::shared_ptr<Stream>> streams;  // that it reads
    std::uint32_t yielded = 0;
    bool IsNormal() const { return task != nullptr && task->header.kind == TaskKind::kNormal; }
    bool Yields() const { return task != nullptr && task->header.yields == ray_engine::Yields::kStreaming; }
    // It waits for its reader.
    bool IsHeldUp() const { return yielded > 0 && !task->HasRoomAfter(yielded - 1); }
  };

  // Frames.
  void Dispatch(const Frame& frame);
  void DrainFrom(ProcessId process);
  void OnLinkGrant(const LinkGrant& grant);
  void OnJobStarted(const JobStarted& started);
  void OnShutdown(const Shutdown& shutdown);
  void OnTaskDone(const Frame& frame);
  void OnGone(const ProcessGone& gone);
  void OnCancel(ProcessId from, const CancelTask& cancel);
  void CancelRecord(TaskRecord* record);
  void OnObjectReady(ObjectEntry* entry) override;
  void OnObjectFreed(const ObjectId& object) override { actors_.OnHandleFreed(object); }
  void OnHandleFaded(const ObjectId& object) override { actors_.OnHandleFaded(object); }
  std::optional<WireValue> OnObjectLost(ObjectEntry* entry, const std::string& reason) override;
  void OnLineageUnneeded(const ObjectEntry& result) override { tasks_.OnLineageUnneeded(result); }

  // Programs.
  void StartTasks();
  void Receive(Program* program);
  bool IsAble(const Program& program) const;
  void AskForArgs(Program* program);
  void OnArgsAnswered(Program* program);
  void GiveBack(Program* program);
  void LeaveIfDone();
  void SetUp(const JobId& job);
  void Do(Program* program);
  void Finish(Program* program);
  void Remove(Program* program);
  void Reply(Program* program);
  DoneHeader DoneOf(const Program& program);
  WireValue MakeResult(DoneHeader::Outcome outcome, const ObjectId& object, Program* program,
                       std::vector<ObjectEntry*>* contained);
  void Resume(Program* program);
  void AskFor(Program* program, std::vector<ObjectEntry*> entries);
  bool TakePins(Program* program);
  void GiveUpSome();
  void Keep(Program* program, ObjectEntry* entry, Mask needs);
  void DropOne(Program* program);
  bool MayWaitFor(const Program& program, const ObjectEntry& entry) const;
  const SimRef* Pick(const std::vector<SimRef>& refs);

  void Put(Program* program);
  void Get(Program* program);
  void WaitFor(Program* program, ObjectEntry* entry, Mask needs);
  void KillActor(Program* program);
  void ReserveRooms();
  void ReserveRoom(std::uint64_t size);
  void TakeRoom(const StoreReserved& reserved);
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

  struct Room {
    std::uint64_t offset = 0, size = 0;
  };

  SimWorld* world_;
  ProcessId id_;
  SimSender sender_;
  Ownership ownership_;
  std::mutex lock_;
  StorePins pins_;
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
  std::map<ProcessId, std::vector<Frame>> early_;       // by links that are not known yet
  std::map<std::uint64_t, std::uint64_t> asked_rooms_;  // token -> size
  std::vector<Room> rooms_;
  std::uint64_t last_token_ = 0;
  LeaseId last_lease_ = LeaseId::kNone;
  LeaseClass placement_;  // of its actors
  bool gives_back_at_once_;
  std::optional<Nanoseconds> leaves_by_;  // it has been told to
};

}  // namespace ray_engine::sim
