// Runtime: what a driver or worker process holds of the engine.
//
// Owns the links, the store mapping, the state machines (ownership, tasks, actors, executor) and one I/O thread. Any
// thread of the program may call it. One thread at a time makes progress (drains the rings): a thread that waits takes
// that role, spins for 100 us and then sleeps on the process's doorbell; while none waits, the I/O thread takes it for
// prompt frames and every 10 ms. The language above is not known here: values are bytes, and what must run in its
// interpreter comes back through Hooks, without the lock held.
//
// Thread-safe. See docs/task_journey.md and docs/design.md.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/crowding.h"
#include "engine/core/actor_submitter.h"
#include "engine/core/executor.h"
#include "engine/core/ownership.h"
#include "engine/core/peers.h"
#include "engine/core/store_chunk.h"
#include "engine/core/store_pins.h"
#include "engine/core/task_submitter.h"
#include "engine/core/task_table.h"
#include "engine/transport/doorbell.h"
#include "engine/transport/link_segment.h"
#include "engine/wire/control_socket.h"
#include "objectstore/store_client.h"

namespace ray_engine {

// A value about to be put: a head and buffers that follow it, each at a multiple of 64 bytes.
struct ValuePieces {
  std::string head;
  std::vector<std::pair<const void*, std::size_t>> buffers;
  bool is_error = false;
  std::vector<ObjectEntry*> contained;  // references inside; holds are handed over
  std::shared_ptr<Pin> room;            // the whole is in the store already (MakeRoom): nothing is to be copied

  static std::size_t Align(std::size_t at) { return (at + 63) / 64 * 64; }
  std::size_t Size() const;
  void CopyTo(char* out) const;
};

// The arguments of one call, encoded as they travel. Reused from call to call.
struct CallArgs {
  std::string payload;  // starts with room for the TaskHeader and with the name
  std::uint16_t count = 0, keywords = 0;
  std::vector<ObjectEntry*> holds;
  std::vector<std::pair<std::size_t, ObjectEntry*>> unresolved;
  // `tail`: bytes that will follow the arguments.
  void Begin(std::string_view name, std::size_t tail = 0);
  void Clear() { holds.clear(), unresolved.clear(), count = keywords = 0; }
};

// What a call returns: its objects, each held once for the caller, and the stream of one that yields.
struct Submitted {
  ReturnedObjects returns;
  std::shared_ptr<Stream> stream;
};

// Nodes that hold an object, that of the primary copy first (for a small one that of its owner), and its bytes.
struct Place {
  std::vector<std::uint32_t> nodes;
  std::uint64_t size = 0;
};

enum class WaitResult { kReady, kTimeout, kInterrupted, kDisconnected };

struct PendingReply {
  bool done = false;
  std::string payload;
};

// The class of ray.exceptions for a value that could not be stored.
inline const char* StoreErrorName(const absl::Status& status) {
  return absl::IsOutOfRange(status) ? "OutOfDiskError" : "ObjectStoreFullError";
}

// What a thread of this process is running; empty for a driver.
struct TaskContext {
  ExecTask* task = nullptr;
  TaskId id;
  std::uint32_t children = 0;
};

class Runtime : private Ownership::Listener {
 public:
  struct Hooks {
    std::function<void(const DriverLine&)> driver_line;  // on the I/O thread
    std::function<void(const TaskId&)> cancel_method;    // worker, on the I/O thread: a method that runs is cancelled
    std::function<void()> start_system_thread;  // worker, on the I/O thread, once: runs calls of the group kSystemGroup
    std::function<void(const std::string& value)> unseen_error;  // on the I/O thread: an encoded exception nobody saw
  };

  // Does the hand-shake on a socket whose other end the engine holds.
  static absl::StatusOr<std::unique_ptr<Runtime>> Join(UniqueFd fd, bool worker, Hooks hooks);
  ~Runtime() override;
  // Ends the I/O thread and every wait. Objects in the store stay mapped as long as something views them.
  void Close();

  const Welcome& welcome() const { return welcome_; }
  ProcessId self() const { return welcome_.process; }
  JobId job() const;
  void set_job(const JobId& job);
  // Larger values lie in the store. At most kMaxInlineValue.
  std::size_t inline_limit() const { return inline_limit_.load(std::memory_order_relaxed); }
  void set_inline_limit(std::size_t bytes) { inline_limit_ = std::min<std::size_t>(bytes, kMaxInlineValue); }
  // Lineage of so many bytes is kept at most; 0: lost objects are not made again.
  void set_lineage_limit(std::size_t bytes);

  // ---- objects -----------------------------------------------------------------------------------------------------

  // A new own object with that value, held once. Blocks for large values.
  absl::StatusOr<ObjectEntry*> Put(ValuePieces value);
  // Room in the store for a value that the program writes by and by: a pin of no object. What it becomes once it is put
  // stays pinned by it; else it goes back with it. Blocks.
  absl::StatusOr<std::shared_ptr<Pin>> MakeRoom(std::uint64_t size);
  void Hold(ObjectEntry* entry);
  void Hold(const std::vector<ObjectEntry*>& entries);
  void Drop(ObjectEntry* entry);
  // Entry of a reference that came from outside the protocol (a pickled one): held once, registered with its owner.
  ObjectEntry* Adopt(const WireRef& ref);
  WireRef Export(ObjectEntry* entry);

  // Waits until `count` of the objects are ready (all by default), or one is an error and `stop_at_error`.
  // kInterrupted comes at each signal, and at least every 50 ms: check signals and call again.
  WaitResult WaitObjects(const std::vector<ObjectEntry*>& entries, std::size_t count, std::int64_t deadline_ns,
                         bool stop_at_error);
  bool IsReady(ObjectEntry* entry);
  std::vector<ObjectEntry*> NotReady(const std::vector<ObjectEntry*>& entries);
  // The first of them that are ready, by number, until `count` of them are here; with `here_only` those whose values
  // would have to be moved from another node are apart, as many as are still missing.
  struct ReadyObjects {
    std::vector<std::size_t> here, elsewhere;
  };
  ReadyObjects FindReady(const std::vector<ObjectEntry*>& entries, std::size_t count, bool here_only);
  // Gives the value up though references are held: reading it is an error from now on. Nothing happens to an object
  // that is not there yet.
  void Free(ObjectEntry* entry);
  // Where the object is, as far as this process knows.
  Place PlaceOf(const ObjectEntry* entry);
  // Notes the line of the program that made the object.
  void SetCallSite(ObjectEntry* entry, const std::string& call_site);
  // Did the process that owns the object end?
  bool OwnerIsGone(const ObjectEntry* entry);
  // Those whose values are not known, but are said to lie in a store: PinObjects() finds out.
  std::vector<ObjectEntry*> Hinted(const std::vector<ObjectEntry*>& entries);
  // Maps stored objects here, fetching them if need be. kInterrupted as above: call again with the same request, or
  // abandon it.
  WaitResult PinObjects(PinRequest* request, std::int64_t deadline_ns);
  // What has not come yet is let go when it comes.
  void Abandon(PinRequest* request);
  // Calls back on the I/O thread once the object is ready.
  void OnReady(ObjectEntry* entry, std::function<void()> callback);

  // ---- calls -------------------------------------------------------------------------------------------------------

  // The one CallOptions with these contents.
  CallOptions* Intern(const CallOptions& options);
  // `args` is consumed.
  Submitted Submit(CallOptions* options, CallArgs* args);
  Submitted SubmitMethod(CallOptions* options, const ActorId& actor, ObjectEntry* handle, CallArgs* args);
  // Returns the object that counts the handles, held once. An error if the name is taken.
  absl::StatusOr<ObjectEntry*> CreateActor(CallOptions* options, CallArgs* args, ActorSpec spec);
  ActorId NewActorId();
  void Cancel(ObjectEntry* entry, bool force, bool recursive);
  void KillActor(const ActorId& actor, bool no_restart);
  // So many of this process's calls to the actor are under way.
  bool IsFull(const ActorId& actor, std::uint32_t max_pending);
  ActorUpdate ActorStateOf(const ActorId& actor);

  // ---- streams -----------------------------------------------------------------------------------------------------

  // The next item, held once for the caller. It may be the end: see TakeItem().
  ObjectEntry* PeekItem(Stream* stream);
  // Hands over the next item with its hold; null if the stream has ended, or the item is not there yet.
  ObjectEntry* TakeItem(Stream* stream);
  bool StreamHasEnded(Stream* stream);  // and all items have been taken
  void CloseStream(Stream* stream);

  // ---- worker ------------------------------------------------------------------------------------------------------

  // The next task (of the concurrency group); kInterrupted as above, and once soon after the last task has ended.
  // kDisconnected: the worker shall end. A process that leaves gets no more tasks, and ends once the tasks that asked
  // for it have.
  WaitResult NextTask(ExecTask** task, int group);
  // Entries for the references among the task's arguments, in order: held until FinishTask.
  std::vector<ObjectEntry*> ReceiveArgs(const TaskView& view);
  // Ends the task: sends the values to the owner. `received` is what ReceiveArgs gave.
  // `made`: results that come before those values.
  void FinishTask(ExecTask* task, DoneHeader::Outcome outcome, std::vector<WireValue> made,
                  std::vector<ValuePieces> values, const std::vector<ObjectEntry*>& received);
  // The result with that return index of a task that has not ended yet, to be given to FinishTask().
  WireValue MakeResult(const ExecTask* task, std::uint32_t index, ValuePieces value);
  // Sends the next item of a task that yields. False if the task must wait for its reader: WaitForReader().
  bool YieldItem(ExecTask* task, std::uint32_t index, ValuePieces value);
  // kReady once there is room for another item after `index`, or the task was cancelled.
  WaitResult WaitForReader(ExecTask* task, std::uint32_t index);
  // `args_lost`: it has not begun, as stored arguments are lost.
  void FinishCreation(ExecTask* task, const std::string& error, bool args_lost,
                      const std::vector<ObjectEntry*>& received);
  // Called with SIGINT to be sent to the thread that runs tasks.
  void SetMainThread(pthread_t thread) { main_thread_ = thread; }
  // The task goes on in another thread, which will finish it; this one may take the next.
  void Detach() { Context() = {}; }
  // The process has decided to end: it takes no further task, while waits go on working for what it has to do yet. The
  // task that this thread runs, if any, will not be replied to: FinishUnanswered().
  void Leave();
  void FinishUnanswered(ExecTask* task, const std::vector<ObjectEntry*>& received);
  // The session is over, or the engine gone.
  bool HasEnded();
  // For how long an actor that is not needed any more may go on with its own end before the process is ended.
  void set_exit_grace(std::chrono::milliseconds grace) { exit_grace_ = grace; }
  bool IsIdle();  // no task runs
  bool WasCancelled(const ExecTask* task);
  // No interrupt will be sent for the task from now on; true if one was.
  bool EndInterrupts(ExecTask* task);

  // ---- services ----------------------------------------------------------------------------------------------------

  // Sends a request whose `token` field it fills, and waits for its reply.
  template <class Reply, class Request>
  absl::StatusOr<Reply> Call(ProcessId to, Request request, std::int64_t deadline_ns = kNever) {
    const auto encode = [&request](std::uint64_t token) {
      request.token = token;
      return Encode(request);
    };
    absl::StatusOr<std::string> bytes = CallRaw(to, Request::kType, encode, deadline_ns);
    if (!bytes.ok()) return bytes.status();
    Reply reply;
    if (!Decode(*bytes, &reply)) return absl::InternalError("malformed reply");
    return reply;
  }
  template <class Message>
  void Post(ProcessId to, const Message& message) {
    const std::lock_guard lock(mutex_);
    peers_->Send(to, message);
  }

  // ---- placement groups that this process makes: the head tells it of their states ----------------------------------

  // To be called before it can be known to the head.
  void FollowGroup(const PlacementGroupId& id);
  void ForgetGroup(const PlacementGroupId& id);
  // Any group. In order with whatever this process asks for afterwards.
  void RemoveGroup(const PlacementGroupId& id);
  // None: another process's, or removed.
  std::optional<GroupState> StateOfGroup(const PlacementGroupId& id);
  // Until it has its places, or is removed.
  WaitResult WaitForGroup(const PlacementGroupId& id, std::int64_t deadline_ns);

  // ------------------------------------------------------------------------------------------------------------------

  // Waits until no actor that this process has made is being created.
  void WaitForCreations(std::int64_t deadline_ns);
  // Waits until the upcalls made so far have returned.
  void WaitForUpcalls(std::int64_t deadline_ns);

  static TaskContext& Context();
  std::string StatsText();
  // What this process holds.
  std::vector<ReferenceInfo> References();
  // What it has submitted (the latest of those that have ended among them), and what it runs.
  std::vector<TaskInfo> Tasks();

 private:
  Runtime(Welcome welcome, ControlSocket socket, bool worker, Hooks hooks);
  void Open(LinkSegment segment, StoreClient store, UniqueFd engine_eventfd);
  void AfterSubmit();
  absl::StatusOr<std::string> CallRaw(ProcessId to, MessageType type,
                                      absl::FunctionRef<std::string(std::uint64_t)> encode, std::int64_t deadline_ns);

  // Progress. All with the lock held; WaitFor releases it while it spins or sleeps. After kReady, ready() holds. The
  // worker's CPU is given to others when the wait has lasted longer than `patience_ns`.
  static constexpr std::int64_t kPatienceNs = 1'000'000;
  static constexpr std::int64_t kLocalPatienceNs = 200'000'000;  // for what only the engine of this node does
  class ProgramWait;
  WaitResult WaitFor(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready, std::int64_t deadline_ns,
                     std::int64_t patience_ns = kNever);
  // WaitFor() that signals do not end.
  WaitResult WaitThrough(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready, std::int64_t deadline_ns);
  WaitResult Progress(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready, std::int64_t deadline_ns,
                      ProgramWait* wait);
  void Spin(std::unique_lock<std::mutex>& lock);
  bool Sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ns);
  void LeaveProgress();
  int Drain();
  void Dispatch(const FrameHeader& header, std::string_view payload);
  void OnStreamConsumed(const StreamConsumed& message);
  void OnGroupUpdate(const GroupUpdate& update);
  void OnTaskDone(ProcessId from, std::string_view payload);
  void EndTask(ProcessId from, TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values);
  void AskWhetherToRetry(ProcessId from, TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values);
  void DrainFrom(ProcessId process);
  void OnActorUpdate(const ActorUpdate& message);
  void OnProcessGone(const ProcessGone& message);
  void End(const std::string& reason);
  bool EngineGone() const;
  void OnShutdown(const Shutdown& message);
  void OnToldToLeave();
  void EndUnanswered(ExecTask* task, const std::vector<ObjectEntry*>& received);
  void OnCancel(ProcessId from, const CancelTask& message);
  void CancelRecord(TaskRecord* record, bool force, bool recursive);
  void CancelChildren(const TaskId& parent, bool force);
  void OnStateQuery(const StateQuery& query);
  std::vector<TaskInfo> ReportTasks() const;
  std::vector<ReferenceInfo> ReportReferences() const;
  void CompleteReply(std::string_view payload);
  void MoveApart();
  void IoLoop();
  void Tick(std::int64_t now);
  bool NeedsTick() const;
  void Unpark();
  void Upcall(std::function<void()> call);
  void TellBlocked();
  void TellUnblocked();
  void UpdateWantsReplies();

  // Values.
  absl::StatusOr<std::uint64_t> Reserve(std::uint64_t size, StoreUse use);
  absl::StatusOr<WireValue> MakeValue(std::unique_lock<std::mutex>& lock, const ObjectId& object, ProcessId owner,
                                      const ValuePieces& pieces);
  // The same for a result of a task, on its way to the task's owner: an error where there is no room for it.
  WireValue MakeResult(std::unique_lock<std::mutex>& lock, const ExecTask& task, std::uint32_t index,
                       const ValuePieces& pieces);
  void OnObjectReady(ObjectEntry* entry) override;
  void OnObjectFreed(const ObjectId& object) override;
  void OnHandleFaded(const ObjectId& object) override { actors_->OnHandleFaded(object); }
  std::optional<WireValue> OnObjectLost(ObjectEntry* entry, const std::string& reason) override;
  void OnLineageUnneeded(const ObjectEntry& result) override { tasks_->OnLineageUnneeded(result); }
  void OnErrorUnseen(const ObjectEntry& entry) override;
  TaskId NewTaskId();
  std::uint16_t DepthOfChildren() const;
  TaskRecord* NewRecord(CallOptions* options, CallArgs* args, const TaskId& id, Submitted* submitted);

  const Welcome welcome_;
  ControlSocket socket_;  // open for life: its end tells the engine
  const bool worker_;
  const Hooks hooks_;
  UniqueFd engine_eventfd_;
  LinkSegment segment_;
  std::shared_ptr<StoreClient> store_;

  std::mutex mutex_;
  std::condition_variable waiters_cv_;
  int waiters_ = 0;           // threads in waiters_cv_
  bool progressing_ = false;  // some thread has the role
  bool ended_ = false;
  std::string end_reason_;
  bool told_idle_ = false;  // since its last task NextTask() has returned once without one
  bool leaving_ = false;    // this process has decided to end, or has been told to
  std::atomic<std::size_t> inline_limit_{kMaxInlineValue};
  std::atomic<std::chrono::milliseconds> exit_grace_{std::chrono::milliseconds(30'000)};

  std::unique_ptr<Peers> peers_;
  FrameJoiner joiner_;
  Sleeper sleeper_;
  std::unique_ptr<Ownership> ownership_;
  std::unique_ptr<TaskTable> tasks_;
  std::unique_ptr<TaskSubmitter> submitter_;
  std::unique_ptr<ActorSubmitter> actors_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<StorePins> pins_;
  std::unique_ptr<StoreChunk> chunk_;

  absl::flat_hash_map<std::string, std::unique_ptr<CallOptions>> options_;
  std::set<std::string> call_sites_;  // each once; entries point to them
  absl::flat_hash_map<std::uint64_t, std::shared_ptr<PendingReply>> replies_;
  absl::flat_hash_map<PlacementGroupId, GroupState> groups_;  // made here and not removed
  std::uint64_t next_token_ = 1;
  JobId job_;
  std::uint16_t depth_ = 0;  // of the task that this process started last
  TaskId process_task_;      // names what is put outside of tasks
  std::uint32_t put_count_ = 0;
  std::uint32_t submitted_ = 0;
  std::size_t callbacks_ = 0;  // OnReady callbacks that wait
  std::uint64_t readied_ = 0;  // objects that have become ready, ever
  std::uint64_t failed_ = 0;   // of these, errors
  std::uint64_t task_count_ = 0;
  std::uint64_t random_base_ = 0;
  std::uint32_t actor_count_ = 0;
  std::int64_t cpu_moved_at_ = 0;
  Crowding crowding_;  // of who makes progress
  int blocked_waits_ = 0;
  LeaseId blocked_lease_{};  // while blocked_waits_ > 0

  pthread_t main_thread_{};
  std::deque<std::function<void()>> upcalls_;
  bool parked_ = true;  // the I/O thread sleeps without a time limit
  std::int64_t last_tick_ = 0;
  std::thread io_thread_;
};

}  // namespace ray_engine
