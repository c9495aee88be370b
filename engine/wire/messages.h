// Messages: everything that processes of a session say to each other, in one place.
//
// A frame is a FrameHeader and a payload. Frames from one process to another arrive in the order they were sent,
// whatever way they took (a direct link inside a node; ring, UCX, ring between nodes). Payloads above kMaxFragment are
// cut into fragments that the receiving end joins again before anybody sees them.
//
// Every message is idempotent or keyed by a token, a task and its attempt, or a lease: see docs/wire_format.md.
// The hot pair, PushTask and TaskDone, has a hand-laid payload of its own (engine/wire/task_spec.h).
//
// Immutable layout; used by all.

#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/resources.h"

// One message a line, its fields beside it:
// clang-format off

namespace ray_engine {

inline constexpr std::uint32_t kMaxFragment = 16 * 1024;
inline constexpr std::uint32_t kMaxInlineValue = 100 * 1024;
inline constexpr std::uint32_t kNoNode = 0xffffffff;  // instead of the index of a node

#define RAY_ENGINE_MESSAGES(X)                                                                                        \
  /* links */ X(Ready) X(Watch) X(ProcessGone) X(LinkRequest) X(LinkGrant) X(LinkClosed)                              \
  /* tasks */ X(PushTask) X(TaskDone) X(TasksReturned) X(CancelTask) X(ReturnYourQueue) X(StreamItem)                 \
      X(StreamConsumed)                                                                                               \
  /* objects */ X(ValueRequest) X(ValueReply) X(BorrowAdd) X(BorrowAck) X(BorrowRemove)                               \
  /* store */ X(StoreReserve) X(StoreReserved) X(StoreSeal) X(StoreReturn) X(StoreReclaim) X(StoreReclaimed)          \
      X(StorePin) X(StorePinned) X(StorePinCancel) X(StoreUnpin) X(StoreKeep) X(StoreFree) X(CopyAdded)                \
      X(PullRequest) X(PullElsewhere) X(PullCancel) X(PullFailed)                                                      \
  /* leases */ X(LeaseDemand) X(StartLease) X(LeaseGrant) X(LeaseReturn) X(LeaseEnded) X(LeaseReclaim)                \
      X(LeasesLost) X(LeaseFailed) X(Blocked) X(Unblocked) X(KillWorker)                                                            \
  /* actors */ X(ActorCreate) X(ActorCreated) X(StartActor) X(ActorReady) X(ActorWatch) X(ActorUpdate) X(ActorKill)   \
      X(ActorArgsLost) X(ActorArgs) X(ActorOutOfScope) X(ActorRestart) X(ActorLookup) X(ActorFound)                                                                 \
  /* placement groups */ X(GroupCreate) X(GroupCreated) X(GroupRemove) X(GroupUpdate) X(GroupQuery) X(GroupReply)     \
  /* head */ X(KvRequest) X(KvReply) X(ClusterRequest) X(ClusterReply) X(JobStart) X(JobStarted) X(DriverLine)        \
      X(FlushOutput) X(FlushNode) X(NodeFlushed) X(OutputFlushed)                                                     \
      X(StateRequest) X(StateReply) X(StateCollect) X(StateCollected) X(StateQuery) X(StateReport)                     \
      X(NodeJoin) X(NodeWelcome) X(NodePeers) X(NodeLeave) X(Shutdown) X(JobExit) X(Heartbeat)

enum class MessageType : std::uint16_t {
  kNone = 0,
#define RAY_ENGINE_ENUM(name) k##name,
  RAY_ENGINE_MESSAGES(RAY_ENGINE_ENUM)
#undef RAY_ENGINE_ENUM
};

// Frame flags.
inline constexpr std::uint8_t kMoreFragments = 1;  // the payload goes on in the next frame of the same sender
inline constexpr std::uint8_t kPrompt = 2;         // rings a receiver that is busy running user code

struct FrameHeader {
  std::uint32_t size = 0;  // payload bytes
  MessageType type = MessageType::kNone;
  std::uint8_t flags = 0;
  std::uint8_t reserved = 0;
  ProcessId from;
  ProcessId to;
};
static_assert(sizeof(FrameHeader) == 24);

#define RAY_ENGINE_MESSAGE(name, ...)                       \
  static constexpr MessageType kType = MessageType::k##name; \
  template <class A>                                         \
  void Fields(A& a) {                                        \
    a(__VA_ARGS__);                                          \
  }

// A reference that travels inside a value, or as an argument. Where its sender is the owner, and knows the object to lie
// in a store, it says so. That is a hint: it was true when it was sent. (Of an argument that is stored it is its place.)
struct WireRef {
  ObjectId object;
  ProcessId owner;
  std::uint32_t node = kNoNode;  // of the primary copy
  std::uint64_t size = 0;        // bytes
  template <class A>
  void Fields(A& a) { a(object, owner, node, size); }
};

// Where an object is, or what it is. Small values travel inline (the encoded value), large ones as node and size.
struct WireValue {
  enum Kind : std::uint8_t { kInline = 0, kStored = 1, kSystemError = 2 };
  Kind kind = kInline;
  bool is_error = false;     // the value is a pickled exception, to be raised by get
  std::string bytes;         // kInline: encoded value; kSystemError: kind, text, detail (SystemError())
  std::uint32_t node = 0;    // kStored: node of the primary copy
  std::uint64_t size = 0;    // kStored: bytes
  std::vector<WireRef> refs; // references inside the value
  std::vector<std::uint8_t> granted;  // per ref: 1 if the sender already counts the receiver as borrower
  template <class A>
  void Fields(A& a) { a(kind, is_error, bytes, node, size, refs, granted); }
};

// ---- links ---------------------------------------------------------------------------------------------------------

struct Ready { std::uint32_t pid = 0; RAY_ENGINE_MESSAGE(Ready, pid) };            // process -> its engine: mapped, listening
struct Watch { ProcessId process; RAY_ENGINE_MESSAGE(Watch, process) };           // answer ProcessGone when it is, or at once
struct ProcessGone {                                                              // engine -> all who watch
  ProcessId process;
  std::string cause;  // "worker 0.7 (pid 4711) was killed by signal 9 (SIGKILL)"
  RAY_ENGINE_MESSAGE(ProcessGone, process, cause)
};
struct LinkRequest { ProcessId peer; RAY_ENGINE_MESSAGE(LinkRequest, peer) };     // process -> engine, before the first frame
struct LinkGrant {                                                                // engine -> both ends
  ProcessId peer;
  std::uint64_t offset = 0;  // of the link in the link segment; 0: no link, frames go through the engine
  std::uint8_t side = 0;     // 0 or 1: which ring of the pair this end writes
  RAY_ENGINE_MESSAGE(LinkGrant, peer, offset, side)
};

struct LinkClosed { ProcessId peer; RAY_ENGINE_MESSAGE(LinkClosed, peer) };       // process -> engine: I left the link to a gone peer

// ---- tasks ---------------------------------------------------------------------------------------------------------

struct TasksReturned {  // worker -> owner: not started, take them back (costs no retry)
  std::vector<std::uint32_t> slots;
  std::vector<std::uint32_t> attempts;
  RAY_ENGINE_MESSAGE(TasksReturned, slots, attempts)
};
struct CancelTask {  // owner -> worker (or borrower -> owner)
  TaskId task;
  bool force = false, recursive = true;
  RAY_ENGINE_MESSAGE(CancelTask, task, force, recursive)
};
struct ReturnYourQueue { LeaseId lease{}; RAY_ENGINE_MESSAGE(ReturnYourQueue, lease) };  // owner -> worker: give back what has not started

struct StreamItem {  // worker -> owner: the next item of a task that yields
  std::uint32_t slot = 0, attempt = 0, index = 0;
  WireValue value;
  RAY_ENGINE_MESSAGE(StreamItem, slot, attempt, index, value)
};
struct StreamConsumed {  // owner -> worker: so many items have been read, or will not be (0xffffffff: all)
  TaskId task;
  std::uint32_t count = 0;
  RAY_ENGINE_MESSAGE(StreamConsumed, task, count)
};

// ---- objects and ownership -----------------------------------------------------------------------------------------

struct ValueRequest {  // borrower -> owner: tell me when it is there
  ObjectId object;
  std::uint32_t lost_at = kNoNode;  // where it was said to be stored and cannot be had
  std::string reason;               // why
  RAY_ENGINE_MESSAGE(ValueRequest, object, lost_at, reason)
};
struct ValueReply {
  ObjectId object;
  WireValue value;
  RAY_ENGINE_MESSAGE(ValueReply, object, value)
};
struct BorrowAdd {  // a holder -> owner: `borrower` holds these too; answered by BorrowAck if token != 0
  std::vector<ObjectId> objects;
  ProcessId borrower;
  std::uint64_t token = 0;
  RAY_ENGINE_MESSAGE(BorrowAdd, objects, borrower, token)
};
struct BorrowAck { std::uint64_t token = 0; RAY_ENGINE_MESSAGE(BorrowAck, token) };
struct BorrowRemove {  // borrower -> owner: gives back as many counts as it was given
  std::vector<ObjectId> objects;
  std::vector<std::uint32_t> counts;
  RAY_ENGINE_MESSAGE(BorrowRemove, objects, counts)
};

// ---- store ---------------------------------------------------------------------------------------------------------

enum class StoreUse : std::uint8_t {
  kObject = 0,  // about to be written and sealed
  kArray = 1,   // likewise, but when is up to the program
  kChunk = 2    // for small objects to come: given only if there is plenty, at once or not at all
};
struct StoreReserve {  // process -> engine: room to write in
  std::uint64_t token = 0, size = 0;
  StoreUse use{};
  RAY_ENGINE_MESSAGE(StoreReserve, token, size, use)
};
enum class StoreProblem : std::uint8_t { kNone = 0, kLost = 1, kFull = 2, kOutOfDisk = 3 };
struct StoreReserved {  // offset into the store segment; kNone = granted
  std::uint64_t token = 0, offset = 0;
  StoreProblem problem{};
  std::string error;
  RAY_ENGINE_MESSAGE(StoreReserved, token, offset, problem, error)
};
struct StoreSeal {  // process -> engine: this part of what I have reserved is an object of `owner` from now on
  ObjectId object;
  ProcessId owner;  // it is freed when the owner says so, or is gone
  std::uint64_t offset = 0, size = 0;
  bool pin = false;  // and I hold it
  RAY_ENGINE_MESSAGE(StoreSeal, object, owner, offset, size, pin)
};
struct StoreReturn {  // process -> engine: this part will not be used
  std::uint64_t offset = 0, size = 0;
  RAY_ENGINE_MESSAGE(StoreReturn, offset, size)
};
struct StoreReclaim {  // engine -> process: answer, behind what you have sent; `chunks`: and return yours first
  std::uint64_t round = 0;
  bool chunks = false;
  RAY_ENGINE_MESSAGE(StoreReclaim, round, chunks)
};
struct StoreReclaimed { std::uint64_t round = 0; RAY_ENGINE_MESSAGE(StoreReclaimed, round) };
struct StorePin {  // process -> engine: bring it here if need be, hold it, tell me where it lies
  std::uint64_t token = 0;
  ObjectId object;
  ProcessId owner;
  std::uint32_t node = 0;  // holder of the primary copy
  std::uint64_t size = 0;
  bool may_spill = true;   // what lies here may be spilled for it
  RAY_ENGINE_MESSAGE(StorePin, token, object, owner, node, size, may_spill)
};
struct StorePinned {
  std::uint64_t token = 0, offset = 0, size = 0;
  StoreProblem problem{};
  std::string error;
  RAY_ENGINE_MESSAGE(StorePinned, token, offset, size, problem, error)
};
struct StorePinCancel { std::uint64_t token = 0; RAY_ENGINE_MESSAGE(StorePinCancel, token) };  // nobody waits for it any more; it is answered all the same
struct StoreUnpin { std::vector<ObjectId> objects; RAY_ENGINE_MESSAGE(StoreUnpin, objects) };
struct StoreKeep { ObjectId object; RAY_ENGINE_MESSAGE(StoreKeep, object) };  // owner -> engine: your copy is the primary one from now on
struct StoreFree { std::vector<ObjectId> objects; RAY_ENGINE_MESSAGE(StoreFree, objects) };   // owner -> every engine with a copy; borrower -> owner, for free()
struct CopyAdded { ObjectId object; std::uint32_t node = 0; RAY_ENGINE_MESSAGE(CopyAdded, object, node) };  // engine -> owner
struct PullRequest {  // engine -> engine: send me the object from this offset on
  ObjectId object;
  std::uint64_t from = 0;
  bool direct = false;  // you yourself, however many you are sending it to
  RAY_ENGINE_MESSAGE(PullRequest, object, from, direct)
};
struct PullElsewhere { ObjectId object; std::uint32_t node = 0; RAY_ENGINE_MESSAGE(PullElsewhere, object, node) };  // answer: that node is getting it, ask there
struct PullCancel { ObjectId object; RAY_ENGINE_MESSAGE(PullCancel, object) };                // the one that asked no longer wants it
struct PullFailed {  // `full`: there is no room to bring it back from disk; else it is not there
  ObjectId object;
  std::string error;
  bool full = false;
  RAY_ENGINE_MESSAGE(PullFailed, object, error, full)
};

// ---- leases --------------------------------------------------------------------------------------------------------

// What makes two tasks able to use the same lease.
struct LeaseClass {
  enum Strategy : std::uint8_t { kDefault = 0, kSpread = 1, kNodeAffinity = 2 };
  JobId job;
  ResourceSet resources;
  Strategy strategy = kDefault;
  NodeId affinity;            // kNodeAffinity
  bool soft = false;          // kNodeAffinity: any other node if that one is gone
  std::vector<std::pair<std::string, std::string>> environment;  // sorted; workers are shared only inside one environment
  std::vector<std::pair<std::string, std::string>> selector, soft_selector;  // labels the node must have, or had better
  std::vector<std::vector<std::pair<std::string, std::string>>> fallbacks;   // instead of `selector`, in turn, if no such node has room
  PlacementGroupId group;     // whose resources these are; nil: none
  auto Tie() const { return std::tie(job, resources, strategy, affinity, soft, environment, selector, soft_selector, fallbacks, group); }
  friend bool operator==(const LeaseClass& a, const LeaseClass& b) { return a.Tie() == b.Tie(); }
  template <class A>
  void Fields(A& a) { a(job, resources, strategy, affinity, soft, environment, selector, soft_selector, fallbacks, group); }
};

struct LeaseDemand {  // client -> head: I want `count` leases of my class `key` beyond those I was granted. Replaces the last one.
  std::uint32_t key = 0;  // the client's own number for the class
  std::uint32_t count = 0;
  std::uint32_t received = 0;  // grants that have arrived so far, so that those under way are not given again
  std::string name;       // function, for messages to people
  LeaseClass lease_class; // sent each time: a demand stands for itself
  std::uint32_t locality = kNoNode;  // node that holds most argument bytes; of an actor to be placed, that of its creator
  RAY_ENGINE_MESSAGE(LeaseDemand, key, count, received, name, lease_class, locality)
};
using AssignedUnits = std::vector<std::pair<std::string, std::vector<std::uint32_t>>>;  // unit resource, numbers of its units
struct StartLease {  // head -> node engine: find or fork a worker
  LeaseId lease{};
  ProcessId client;
  std::uint32_t key = 0;
  std::shared_ptr<const LeaseClass> lease_class;
  AssignedUnits units;
  RAY_ENGINE_MESSAGE(StartLease, lease, client, key, lease_class, units)
};
struct LeaseGrant {  // node engine -> client
  LeaseId lease{};
  std::uint32_t key = 0;
  ProcessId worker;
  NodeId node;
  RAY_ENGINE_MESSAGE(LeaseGrant, lease, key, worker, node)
};
struct LeaseReturn { LeaseId lease{}; bool retire = false; RAY_ENGINE_MESSAGE(LeaseReturn, lease, retire) };  // client -> node engine of the worker; retire: end it
struct LeaseEnded {  // node engine -> head: returned, or its worker died, or no worker could be started
  LeaseId lease{};
  std::string error;    // a worker could not be started
  bool granted = true;  // LeaseGrant has been sent
  RAY_ENGINE_MESSAGE(LeaseEnded, lease, error, granted)
};
struct LeaseReclaim { LeaseId lease{}; RAY_ENGINE_MESSAGE(LeaseReclaim, lease) };   // head -> client: others wait, return it soon
struct LeasesLost { std::uint32_t key = 0; RAY_ENGINE_MESSAGE(LeasesLost, key) };  // head -> client: some of this class went with their node; answered by LeaseDemand
struct LeaseFailed {  // head -> client: this class cannot be served; its tasks fail
  std::uint32_t key = 0;
  std::string error;
  bool group_removed = false;  // the placement group of the class
  RAY_ENGINE_MESSAGE(LeaseFailed, key, error, group_removed)
};
struct Blocked { LeaseId lease{}; RAY_ENGINE_MESSAGE(Blocked, lease) };             // worker -> head: its CPU is free
struct Unblocked { LeaseId lease{}; RAY_ENGINE_MESSAGE(Unblocked, lease) };
struct KillWorker { LeaseId lease{}; std::string reason; RAY_ENGINE_MESSAGE(KillWorker, lease, reason) };  // head -> node engine

// ---- actors --------------------------------------------------------------------------------------------------------

enum class ActorState : std::uint8_t { kPending = 0, kAlive = 1, kRestarting = 2, kDead = 3 };

struct ActorSpec {
  ActorId actor;
  ProcessId creator;      // owns the actor unless detached
  std::string class_name;
  std::string name, name_space;  // empty name: anonymous
  bool detached = false;
  std::int32_t max_restarts = 0;
  std::int32_t max_task_retries = 0;
  std::uint32_t max_concurrency = 1;
  std::vector<std::pair<std::string, std::uint32_t>> concurrency_groups;  // name, threads or calls at a time; from 1
  bool is_async = false;
  bool hold_cpu = false;         // resources were named: held for life, not only for placement
  LeaseClass placement;          // resources to be placed with
  ResourceSet running;           // resources held while it lives
  std::string creation_task;     // encoded task (task_spec.h)
  std::string handle;            // pickled description for get_actor
  template <class A>
  void Fields(A& a) {
    a(actor, creator, class_name, name, name_space, detached, max_restarts, max_task_retries, max_concurrency,
      concurrency_groups, is_async, hold_cpu, placement, running, creation_task, handle);
  }
};

struct ActorCreate { std::uint64_t token = 0; ActorSpec spec; RAY_ENGINE_MESSAGE(ActorCreate, token, spec) };  // creator -> head
struct ActorCreated { std::uint64_t token = 0; std::string error; RAY_ENGINE_MESSAGE(ActorCreated, token, error) };  // name taken
struct StartActor { LeaseId lease{}; std::uint32_t incarnation = 0; ActorSpec spec; RAY_ENGINE_MESSAGE(StartActor, lease, incarnation, spec) };  // head -> engine -> worker
struct ActorReady {  // worker -> head: __init__ returned, or raised (pickled exception), or has not begun
  ActorId actor;
  std::uint32_t incarnation = 0;
  std::string error;
  std::uint32_t pid = 0;
  bool args_lost = false;  // it has not: stored arguments of the creator's are lost, and the creator has been told of them
  RAY_ENGINE_MESSAGE(ActorReady, actor, incarnation, error, pid, args_lost)
};
struct ActorArgsLost { ActorId actor; RAY_ENGINE_MESSAGE(ActorArgsLost, actor) };  // head -> creator: answered by ActorArgs
struct ActorArgs {  // creator -> head: the constructor's arguments, there again; or why they cannot be had
  ActorId actor;
  std::string creation_task, cause, init_error;  // no cause: they are there
  RAY_ENGINE_MESSAGE(ActorArgs, actor, creation_task, cause, init_error)
};
struct ActorWatch { ActorId actor; RAY_ENGINE_MESSAGE(ActorWatch, actor) };  // caller -> head: answered by ActorUpdate, now and at each change
struct ActorUpdate {
  ActorId actor;
  ActorState state{};
  std::uint32_t incarnation = 0;  // grows by one with each restart
  ProcessId process;
  NodeId node;
  std::string cause;        // kDead: why, for people
  std::string init_error;   // kDead: pickled exception of __init__, or a system error that an argument of it is
  bool restartable = false; // kDead: its creator may have it started again (ActorRestart)
  RAY_ENGINE_MESSAGE(ActorUpdate, actor, state, incarnation, process, node, cause, init_error, restartable)
};
struct ActorKill {  // -> head; head -> process of an actor that is not needed any more: end by yourself
  ActorId actor;
  bool no_restart = true;
  std::string cause;
  bool leaving = false;  // said by the actor's own process, which ends by itself
  RAY_ENGINE_MESSAGE(ActorKill, actor, no_restart, cause, leaving)
};
struct ActorOutOfScope {  // owner -> head: last handle gone, calls done
  ActorId actor;
  bool may_return = false;  // to make results of its methods again
  RAY_ENGINE_MESSAGE(ActorOutOfScope, actor, may_return)
};
struct ActorRestart { ActorId actor; RAY_ENGINE_MESSAGE(ActorRestart, actor) };  // owner -> head: it is out of scope, and needed again
struct ActorLookup {  // -> head; all = list names (of the name space, or of all if it is empty)
  std::uint64_t token = 0;
  std::string name, name_space;
  bool all = false;
  RAY_ENGINE_MESSAGE(ActorLookup, token, name, name_space, all)
};
struct ActorFound {
  std::uint64_t token = 0;
  std::vector<std::string> handles;                       // 0 or 1
  std::vector<std::pair<std::string, std::string>> names;  // (name space, name)
  RAY_ENGINE_MESSAGE(ActorFound, token, handles, names)
};

// ---- placement groups ----------------------------------------------------------------------------------------------

struct Bundle {
  ResourceSet resources;
  std::vector<std::pair<std::string, std::string>> selector;  // labels its node must have
  template <class A>
  void Fields(A& a) { a(resources, selector); }
};
struct GroupSpec {
  enum Strategy : std::uint8_t { kPack = 0, kSpread = 1, kStrictPack = 2, kStrictSpread = 3 };
  PlacementGroupId id;
  JobId job;
  ProcessId creator;             // an actor's process, with which the group ends; nil: it ends with the job
  std::string name, name_space;  // empty name: anonymous
  bool detached = false;
  Strategy strategy = kPack;
  std::string domain_label;  // all bundles on nodes with one value of this label; empty: anywhere
  std::vector<Bundle> bundles;
  template <class A>
  void Fields(A& a) { a(id, job, creator, name, name_space, detached, strategy, domain_label, bundles); }
};
enum class GroupState : std::uint8_t { kPending = 0, kCreated = 1, kRemoved = 2, kRescheduling = 3 };

struct GroupCreate { std::uint64_t token = 0; GroupSpec spec; RAY_ENGINE_MESSAGE(GroupCreate, token, spec) };  // -> head; answered if there is a token
struct GroupCreated { std::uint64_t token = 0; std::string error; RAY_ENGINE_MESSAGE(GroupCreated, token, error) };  // name taken
struct GroupRemove { PlacementGroupId id; RAY_ENGINE_MESSAGE(GroupRemove, id) };  // -> head
struct GroupUpdate { PlacementGroupId id; GroupState state{}; RAY_ENGINE_MESSAGE(GroupUpdate, id, state) };  // head -> the process that made it, at each change
struct GroupQuery {  // -> head; by id, else by name, else all
  std::uint64_t token = 0;
  PlacementGroupId id;
  std::string name, name_space;
  RAY_ENGINE_MESSAGE(GroupQuery, token, id, name, name_space)
};
struct GroupInfo {
  GroupSpec spec;
  GroupState state{};
  std::vector<NodeId> nodes;  // of each bundle; nil: none yet
  template <class A>
  void Fields(A& a) { a(spec, state, nodes); }
};
struct GroupReply { std::uint64_t token = 0; std::vector<GroupInfo> groups; RAY_ENGINE_MESSAGE(GroupReply, token, groups) };

// ---- head ----------------------------------------------------------------------------------------------------------

struct KvRequest {
  enum Op : std::uint8_t { kGet = 0, kPut = 1, kPutIfAbsent = 2, kDelete = 3, kList = 4 };
  std::uint64_t token = 0;  // 0: no reply
  Op op = kGet;
  std::string name_space, key, value;  // kList: key is a prefix
  RAY_ENGINE_MESSAGE(KvRequest, token, op, name_space, key, value)
};
struct KvReply {
  std::uint64_t token = 0;
  bool found = false;               // kGet, kDelete: existed; kPut: was new
  std::vector<std::string> values;  // kGet: the value; kList: keys
  RAY_ENGINE_MESSAGE(KvReply, token, found, values)
};

struct NodeInfo {
  NodeId id;
  std::uint32_t index = 0;
  bool alive = true;
  ResourceSet total, available;
  std::string hostname, address, name, death_reason;
  std::vector<std::pair<std::string, std::string>> labels;
  std::uint64_t store_bytes = 0;
  template <class A>
  void Fields(A& a) { a(id, index, alive, hostname, address, name, death_reason, total, available, labels, store_bytes); }
};
struct ClusterRequest { std::uint64_t token = 0; RAY_ENGINE_MESSAGE(ClusterRequest, token) };
struct ClusterReply { std::uint64_t token = 0; std::vector<NodeInfo> nodes; RAY_ENGINE_MESSAGE(ClusterReply, token, nodes) };

struct JobStart {  // driver -> head
  std::uint64_t token = 0;
  std::uint32_t pid = 0;
  std::string entrypoint, name_space, config;  // config: pickled job settings for workers (sys.path, cwd, ...)
  bool log_to_driver = true;
  RAY_ENGINE_MESSAGE(JobStart, token, pid, entrypoint, name_space, config, log_to_driver)
};
struct JobStarted { std::uint64_t token = 0; JobId job; RAY_ENGINE_MESSAGE(JobStarted, token, job) };
struct DriverLine {  // worker output, a warning or an error -> head -> driver of the job
  JobId job;
  bool is_stderr = false;
  std::string prefix, text;  // whole lines
  std::string kind;          // of an error that programs may listen for (engine/wire/error_report.h); else empty
  RAY_ENGINE_MESSAGE(DriverLine, job, is_stderr, prefix, text, kind)
};

// A barrier for output: driver -> head -> engines -> head -> driver. What workers wrote before it comes before its end.
struct FlushOutput { std::uint64_t token = 0; RAY_ENGINE_MESSAGE(FlushOutput, token) };
struct FlushNode { std::uint64_t round = 0; RAY_ENGINE_MESSAGE(FlushNode, round) };
struct NodeFlushed { std::uint64_t round = 0; RAY_ENGINE_MESSAGE(NodeFlushed, round) };
struct OutputFlushed { std::uint64_t token = 0; RAY_ENGINE_MESSAGE(OutputFlushed, token) };

// ---- state, for people ---------------------------------------------------------------------------------------------

struct ActorInfo {
  ActorId actor;
  JobId job;
  PlacementGroupId group;
  ActorState state{};
  bool detached = false;
  std::string class_name, name, name_space, cause;  // cause: of its death
  std::uint32_t restarts = 0, pid = 0;              // pid 0: it does not run
  ProcessId process;
  NodeId node;
  ResourceSet resources;  // it holds while it lives
  template <class A>
  void Fields(A& a) { a(actor, job, group, state, detached, class_name, name, name_space, cause, restarts, pid, process, node, resources); }
};
struct JobSummary {
  JobId job;
  std::string entrypoint, name_space;
  ProcessId driver;
  std::uint32_t pid = 0;
  std::int64_t started_ms = 0, ended_ms = 0;  // since 1970; ended 0: it runs
  template <class A>
  void Fields(A& a) { a(job, entrypoint, name_space, driver, pid, started_ms, ended_ms); }
};
struct WorkerInfo {  // or driver
  ProcessId process;
  WorkerId worker;
  NodeId node;
  JobId job;
  std::uint32_t pid = 0;
  bool driver = false, alive = false;
  enum Exit : std::uint8_t { kNone = 0, kBySystem = 1, kByUser = 2, kError = 3 };
  Exit exit = kNone;
  std::string cause;  // of its death
  template <class A>
  void Fields(A& a) { a(process, worker, node, job, pid, driver, alive, exit, cause); }
};
struct TaskInfo {
  enum State : std::uint8_t { kWaitsForArgs = 0, kWaitsForWorker = 1, kPushed = 2, kRunning = 3, kFinished = 4, kFailed = 5 };
  TaskId task, parent;
  JobId job;
  ActorId actor;  // kind kActorMethod
  std::string name;
  State state{};
  std::uint32_t attempt = 0;
  ProcessId owner, process;  // process: where it runs or ran
  std::string error;         // kFailed, if the engine says why
  std::int64_t started_ns = 0, ended_ns = 0;  // since 1970; 0: not yet, or not known
  std::uint32_t args_us = 0, results_us = 0;  // parts of that, as of RunTime (task_spec.h)
  template <class A>
  void Fields(A& a) {
    a(task, parent, job, actor, name, state, attempt, owner, process, error, started_ns, ended_ns, args_us, results_us);
  }
};
struct ReferenceInfo {  // what one process holds of one object
  ObjectId object;
  ProcessId holder, owner;
  std::uint64_t size = 0;  // bytes of the value, where the holder knows them
  bool ready = false, stored = false, actor_handle = false;
  std::uint32_t local = 0;      // references of the program
  std::uint32_t submitted = 0;  // in arguments of tasks that have not ended
  std::uint32_t contained = 0;  // in values that this process owns or has read
  std::uint32_t borrowers = 0;  // other processes; the owner knows them
  std::vector<std::uint32_t> nodes;  // whose stores have it, as far as the holder knows
  std::string call_site;             // the program's line that made the reference, where that is recorded
  template <class A>
  void Fields(A& a) {
    a(object, holder, owner, size, ready, stored, actor_handle, local, submitted, contained, borrowers, nodes, call_site);
  }
};
struct DemandInfo {  // leases of one kind that somebody waits for, to run tasks or to place actors
  ResourceSet resources;  // of each
  std::uint64_t count = 0;
  std::string need;      // for people: the resources, and where they must be
  std::string refusals;  // why no node serves it now, node by node
  template <class A>
  void Fields(A& a) { a(resources, count, need, refusals); }
};
struct FabricStats {  // what an engine has exchanged with those of other nodes
  std::uint64_t frames_sent = 0, frames_received = 0;
  std::uint64_t batches_sent = 0, batches_received = 0;
  std::uint64_t bulk_bytes_sent = 0, bulk_bytes_received = 0;
  std::uint64_t dropped_unauthenticated = 0;  // from strangers, or from nodes that were given up
  std::uint64_t dropped_malformed = 0;
  std::uint64_t dropped_unreachable = 0;  // sent to a node that is not connected
  std::uint64_t peers_lost = 0;
  template <class A>
  void Fields(A& a) {
    a(frames_sent, frames_received, batches_sent, batches_received, bulk_bytes_sent, bulk_bytes_received,
      dropped_unauthenticated, dropped_malformed, dropped_unreachable, peers_lost);
  }
};
struct StoreInfo {  // what a node's store holds and has spilled; bytes where nothing else is said
  NodeId node;
  std::uint64_t size = 0, used = 0, primary = 0, secondary = 0, pinned = 0, objects = 0;
  std::uint64_t spilled = 0, spilled_objects = 0, restored = 0, restored_objects = 0;  // since the start
  std::uint64_t on_disk = 0, on_disk_objects = 0, file = 0;
  std::uint64_t spill_ns = 0, restore_ns = 0;                 // time of the spill threads
  std::uint64_t creates_queued = 0, fetches_queued = 0;       // requests that wait for memory
  std::uint64_t in_chunks = 0, in_arrays = 0;                 // of `used`: reserved by processes for what they will write
  std::uint64_t free_ranges = 0, largest_free = 0;            // of what is not used
  std::uint64_t resident = 0;                                 // of the segment, whether used or not
  std::uint64_t page_tables = 0, processes = 0;               // of the node's processes together; how many they are
  std::string directory, problem;                             // where it spills; why it cannot
  FabricStats network;
  std::uint64_t pulled_objects = 0, pulls_failed = 0;         // that came from other nodes, or should have
  std::uint64_t served_objects = 0, sent_on = 0;              // that went to other nodes; requests that another node serves
  std::uint64_t links = 0;                                    // pairs of rings between the node's processes
  template <class A>
  void Fields(A& a) {
    a(node, size, used, primary, secondary, pinned, objects, spilled, spilled_objects, restored, restored_objects, on_disk,
      on_disk_objects, file, spill_ns, restore_ns, creates_queued, fetches_queued, in_chunks, in_arrays, free_ranges,
      largest_free, resident, page_tables, processes, directory, problem, network, pulled_objects, pulls_failed,
      served_objects, sent_on, links);
  }
};
struct SpilledInfo { ObjectId object; std::uint32_t node = 0; template <class A> void Fields(A& a) { a(object, node); } };
enum class StateKind : std::uint8_t {
  kActors = 0, kJobs = 1, kWorkers = 2, kTasks = 3, kReferences = 4, kDemands = 5, kStores = 6, kSpilled = 7
};
struct StateRows {  // of one kind
  std::vector<ActorInfo> actors;
  std::vector<JobSummary> jobs;
  std::vector<WorkerInfo> workers;
  std::vector<TaskInfo> tasks;
  std::vector<ReferenceInfo> references;
  std::vector<DemandInfo> demands;
  std::vector<StoreInfo> stores;
  std::vector<SpilledInfo> spilled;
  template <class A>
  void Fields(A& a) { a(actors, jobs, workers, tasks, references, demands, stores, spilled); }

  // Adds what was collected elsewhere: all but actors and jobs.
  void Append(StateRows more) {
    const auto append = [](auto* all, auto& some) {
      all->insert(all->end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
    };
    append(&workers, more.workers);
    append(&tasks, more.tasks);
    append(&references, more.references);
    append(&stores, more.stores);
    append(&spilled, more.spilled);
  }
};
struct StateRequest { std::uint64_t token = 0; StateKind kind{}; RAY_ENGINE_MESSAGE(StateRequest, token, kind) };    // -> head
struct StateReply { std::uint64_t token = 0; StateRows rows; RAY_ENGINE_MESSAGE(StateReply, token, rows) };
struct StateCollect { std::uint64_t round = 0; StateKind kind{}; RAY_ENGINE_MESSAGE(StateCollect, round, kind) };    // head -> engines
struct StateCollected { std::uint64_t round = 0; StateRows rows; RAY_ENGINE_MESSAGE(StateCollected, round, rows) };
struct StateQuery { std::uint64_t round = 0; StateKind kind{}; RAY_ENGINE_MESSAGE(StateQuery, round, kind) };        // engine -> its processes
struct StateReport { std::uint64_t round = 0; StateRows rows; RAY_ENGINE_MESSAGE(StateReport, round, rows) };

// ---- nodes ---------------------------------------------------------------------------------------------------------

struct NodeJoin { NodeInfo node; std::string fabric_address; RAY_ENGINE_MESSAGE(NodeJoin, node, fabric_address) };  // engine -> head
struct NodeWelcome {  // head -> engine
  std::uint32_t index = 0;
  std::uint32_t heartbeat_interval_ms = 0, heartbeat_limit_ms = 0;
  RAY_ENGINE_MESSAGE(NodeWelcome, index, heartbeat_interval_ms, heartbeat_limit_ms)
};
struct NodePeers {  // head -> engines: everyone's fabric address, by node index
  std::vector<std::pair<std::uint32_t, std::string>> addresses;
  std::vector<std::uint32_t> gone;
  RAY_ENGINE_MESSAGE(NodePeers, addresses, gone)
};
struct NodeLeave {  // engine -> head: the node leaves, or is lost; head -> engine: it is given up
  std::uint32_t index = 0;
  std::string reason;
  bool in_order = false;  // it was told to
  RAY_ENGINE_MESSAGE(NodeLeave, index, reason, in_order)
};
struct Shutdown { std::string reason; RAY_ENGINE_MESSAGE(Shutdown, reason) };  // head -> engines, engine -> workers: end now
struct JobExit { std::int32_t code = 0; RAY_ENGINE_MESSAGE(JobExit, code) };   // supervisor -> head: the driver has ended
struct Heartbeat { std::uint64_t beat = 0; RAY_ENGINE_MESSAGE(Heartbeat, beat) };  // head -> engines, which send it back

}  // namespace ray_engine
