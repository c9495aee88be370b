// ActorSubmitter: actors as their callers see them.
//
// Calls go from caller to actor directly, in submission order per caller: a call whose arguments are not there yet
// holds back those behind it, unless the actor takes its calls in any order (out_of_order). Until the actor is alive
// they wait here. The head tells every state change (ActorUpdate).
// The process that created an actor also keeps what its constructor needs, brings it once more where it was lost, and
// tells the head when the last handle is gone. Where results of the actor may have to be made again, the handle that
// counts is only faded then (Ownership), and brings the actor back should it be recalled.
//
// Pure state machine. Thread-compatible (the runtime's lock).

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/task_table.h"

namespace ray_engine {

// What its creator keeps of an actor that may be started again.
struct Constructor {
  TaskId task;
  CallOptions* options = nullptr;
  std::string class_name;
  UnresolvedSpec args;              // with own stored arguments left open; empty if it has none
  std::vector<ObjectEntry*> holds;  // what they mention, held
};

struct ActorLine {
  ActorId actor;
  ActorUpdate last;  // state kPending until the head has spoken
  bool watching = false;
  Channel* channel = nullptr;              // kAlive
  std::deque<TaskRecord*> waiting;         // not sent: actor not alive, or arguments missing
  std::deque<TaskRecord*> sent;            // in order, not ended
  ObjectEntry* handle = nullptr;           // counts the handles; not held here; creator only
  std::optional<Constructor> constructor;  // creator only, until the actor is dead for good
  bool leaves = false;                     // the head has been told that it is out of scope, and has not answered
  bool wanted = false;                     // `leaves`, and is needed again
  std::size_t warn_above = 5000;           // calls under way; doubles with each warning
};

class ActorSubmitter {
 public:
  ActorSubmitter(Sender* sender, Ownership* ownership, TaskTable* tasks)
      : sender_(sender), ownership_(ownership), tasks_(tasks) {}

  ActorLine* Line(const ActorId& actor);
  // Resolves the constructor's arguments (record: kind kActorCreation, no returns), then asks the head to create it.
  void Create(TaskRecord* record, ActorSpec spec, std::uint64_t token, ObjectEntry* handle);
  void Submit(TaskRecord* record, const ActorId& actor);
  void Cancel(TaskRecord* record, bool force, bool recursive);
  // This process has asked for the actor's end: its later calls wait for what becomes of it, though it may still run.
  void OnKillSent(const ActorId& actor);
  // Asks the head for the actor's state, once.
  void Watch(ActorLine* line);

  void On(const ActorUpdate& message);
  void On(const ActorArgsLost& message);
  // Frees the record.
  void OnDone(TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values);
  // The process an actor lived in is gone; what becomes of the actor the head tells later.
  void OnProcessGone(ProcessId process);
  // An object was freed: if it counted the handles of an actor of ours, the actor may end.
  void OnHandleFreed(const ObjectId& object);
  // The same, but results of the actor's may have to be made again. Then the handle is recalled: true if it is one.
  void OnHandleFaded(const ObjectId& object);
  bool Recall(ObjectEntry* handle);
  // Is the constructor of an actor of ours still to run, or running?
  bool IsCreating() const;
  // Does the object count the handles of an actor of ours?
  bool IsHandle(const ObjectId& object) const { return by_handle_.contains(object); }
  // The actor was refused: its handle counts nothing.
  void ForgetHandle(const ObjectId& object) { by_handle_.erase(object); }

 private:
  static bool MayGo(const ActorLine& line, const TaskRecord& record);
  void AwaitArgs(ActorLine* line, TaskRecord* record);
  void Push(ActorLine* line, TaskRecord* record);
  void SendReady(ActorLine* line);
  void WarnOfMany(ActorLine* line);
  void FailCreation(ActorLine* line, const std::string& class_name, ObjectEntry* failed);
  void Restart(ActorLine* line);
  void OnDead(ActorLine* line);
  void FailAll(ActorLine* line);
  void DropConstructor(ActorLine* line);
  void ResendOrFail(ActorLine* line);
  void FailUnretried(ActorLine* line);
  void FailUnavailable(TaskRecord* record, const std::string& cause);
  WireValue DeathError(const ActorLine& line) const;

  Sender* sender_;
  Ownership* ownership_;
  TaskTable* tasks_;
  absl::flat_hash_map<ActorId, std::unique_ptr<ActorLine>> lines_;
  absl::flat_hash_map<ObjectId, ActorLine*> by_handle_;
};

}  // namespace ray_engine
