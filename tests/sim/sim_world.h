// SimWorld: a session in one thread: nodes with the real engine, drivers and workers with the real state machines, and
// random programs.
//
// The seed decides everything: what programs do, which frame arrives next, who dies when. Run() returns what went
// wrong, or nothing. Truth holds what the world knows of every object, to compare with what processes see of it.
//
// Time passes a little with every event, and when nothing moves, to what is due next. The run is at rest when for
// kPatience nothing has happened but heartbeats.
//
// Thread-compatible.

#pragma once

#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/task_submitter.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_node.h"

namespace ray_engine::sim {

class SimProcess;

// What may happen in a run.
struct SimOptions {
  std::uint64_t seed = 0;
  std::size_t nodes = 2;
  std::size_t cpus = 2;  // of each node
  std::size_t drivers = 1;
  std::size_t steps = 60;  // of each driver's program
  bool actors = false;
  bool keep_state = false;  // workers keep references from task to task
  bool failures = false;    // tasks raise errors
  bool cancels = false;
  bool meddling = false;  // leases are asked back that nobody else wants
  bool crashes = false;
  bool kills = false;      // actors are killed by those who hold them
  bool losses = false;     // stored values vanish from their nodes
  bool node_ends = false;  // nodes but the head's crash, are slow, or are given up while they live
  bool streams = false;
  bool prints = false;  // each frame, as it arrives
};

// A set of processes: those on whose life a reference depends.
using Mask = std::bitset<256>;

struct Truth {
  std::uint64_t order = 0;  // of creation, over all objects
  ProcessId owner;
  bool is_put = false;     // ready from the start
  bool is_handle = false;  // counts the handles of an actor
  bool is_item = false;    // of a stream: its owner may refuse it
  Mask needs;              // processes whose end may make it an error
  Mask contained_needs;
  std::set<std::vector<ObjectId>> contained;  // what its value may contain, for each time it was made
  int times_ready = 0;                        // at its owner
};

class SimWorld {
 public:
  static constexpr std::size_t kMaxProcesses = 250;
  static constexpr Nanoseconds kPatience = std::chrono::seconds(12);  // longer than whoever gives up waiting

  explicit SimWorld(const SimOptions& options);
  ~SimWorld();

  // Empty, or what went wrong.
  std::string Run();
  // Frames delivered and program steps taken; equal for equal seeds.
  std::uint64_t events() const { return events_; }
  std::uint64_t trace() const { return trace_; }

  const SimOptions& options() const { return options_; }
  Random& random() { return random_; }
  SimNetwork& network() { return network_; }
  // Null if the node does not live.
  SimNode* FindNode(std::uint32_t index);
  Heartbeats::Pace pace() const;
  Nanoseconds now() const { return now_; }
  Truth& TruthOf(const ObjectId& object) { return truths_[object]; }
  // What the arguments of a task mention lives as long as its lineage.
  void NoteArgs(const TaskId& task, std::vector<ObjectId> mentioned) { mentioned_[task] = std::move(mentioned); }
  // Would a value of `object` that contains `part` close a circle? Counting references does not free circles.
  bool Reaches(const ObjectId& part, const ObjectId& object) const;
  std::uint64_t NextOrder() { return ++last_order_; }
  bool WantsMore() { return budget_ > 0 && budget_-- > 0; }
  // Nothing new is begun any more.
  bool IsEnding() const { return ending_; }
  void Problem(const std::string& what);

  bool Lives(ProcessId process) const { return processes_.count(process) != 0; }
  Mask BitOf(ProcessId process) const;
  Mask dead() const { return dead_; }
  // It has died, or been told to: what depends on it may fail.
  void MarkDead(ProcessId process) { dead_ |= BitOf(process); }
  bool IsDoomed(ProcessId process) const { return (dead_ & BitOf(process)).any(); }
  // A value was not found where it should have been.
  void NoteLoss(const ObjectId& object) { lost_.insert(object); }
  bool HasRoom() const { return numbers_.size() < kMaxProcesses; }
  void NewWorker(ProcessId worker, const JobId& job);
  // A process ends, with this wait status.
  void End(ProcessId process, int status);
  // A node ends with everything on it.
  void EndNode(std::uint32_t node, const std::string& reason);
  // The head has given the node up: what is there, or is still born there, has no say any more.
  void NoteFenced(std::uint32_t node);
  // An engine passes this on.
  void NoteOrder(const Frame& frame);
  // A stored object vanishes from a node.
  void Vanish(std::uint32_t node, const ObjectId& object);

  // Actors.
  std::size_t actor_count() const { return actor_by_handle_.size(); }
  // `args`: what its creator holds as long as it lives.
  void AddActor(const ObjectId& handle, const ActorId& actor, const std::vector<ObjectEntry*>& args);
  const ActorId& ActorOf(const ObjectId& handle) const { return actor_by_handle_.at(handle).first; }
  // An actor begins a life.
  void NoteLife(const StartActor& start, ProcessId worker);
  std::uint64_t NextNumber() { return ++last_number_; }

  // How an attempt at a task has ended. Where nobody dies every failure but the last has cost a retry.
  void NoteAttempt(const TaskId& task, bool failed);

  // A result left its sender with grants in it for its receiver (1), or has arrived (-1).
  void NoteGrants(const WireValue& value, ProcessId receiver, int change);

  // Values found where their owners had said they lie, without a question.
  void CountProvenHint() { ++proven_hints_; }
  std::uint64_t proven_hints() const { return proven_hints_; }

 private:
  // Of an actor.
  struct Life {
    ProcessId worker;
    LeaseId lease{};
    ProcessId creator;
  };
  // Not told to end.
  bool GoesOn(const Life& life) const;

  void NewProcess(ProcessId id, const JobId& job);
  void NewDriver(std::uint32_t node);
  bool Step();
  bool Idle();
  void Deliver();
  void Print(const Frame& frame) const;
  bool RunSome();
  void TickAll();
  void FlushAll();
  void Tick();
  void RunTimers();
  void NoteJobEnded(const JobId& job);
  void NoteDoubted(std::uint32_t node);
  void Crash();
  void EndSomeNode();
  void Meddle();
  void RunUntilQuiet();
  void CheckProgress();
  void CheckEnd();
  void CheckNode(SimNode* node);
  void CheckStores();
  void CheckTruths();
  void FindOrphans(std::set<const ObjectEntry*>* orphans, std::map<ProcessId, std::size_t>* excused) const;
  const ObjectEntry* Find(ProcessId process, const ObjectId& object) const;
  std::string NameOfRun() const;

  const SimOptions options_;
  Random random_;
  SimNetwork network_;
  Nanoseconds now_{std::chrono::seconds(1)};
  Nanoseconds moved_at_{0};  // when anything has happened but heartbeats
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::set<std::uint32_t> ended_nodes_;       // which stay until the world goes
  std::map<ProcessId, std::size_t> numbers_;  // of all processes, in order of birth
  std::map<ProcessId, std::unique_ptr<SimProcess>> processes_;
  std::vector<std::unique_ptr<SimProcess>> ended_;  // their entries go with the world
  std::set<ProcessId> drivers_;
  std::set<JobId> ended_jobs_;
  std::set<std::uint32_t> fenced_;  // nodes
  std::map<ObjectId, Truth> truths_;
  std::map<TaskId, std::vector<ObjectId>> mentioned_;
  std::map<ObjectId, std::pair<ActorId, std::vector<ObjectId>>> actor_by_handle_;
  std::map<ActorId, Life> lives_;                                       // the last one of each
  std::set<LeaseId> killed_;                                            // whose workers are to be killed
  std::map<TaskId, int> failures_;                                      // in a row
  std::map<std::pair<ObjectId, ProcessId>, std::int64_t> undelivered_;  // grants inside results
  std::uint64_t last_order_ = 0;
  std::uint64_t last_number_ = 0;
  std::int64_t budget_ = 300;
  std::uint64_t events_ = 0;
  std::uint64_t trace_ = 0;
  std::uint64_t proven_hints_ = 0;
  Mask dead_;
  bool casualties_ = false;  // somebody has ended from whom others wanted something
  std::set<ObjectId> lost_;  // at some node
  bool ending_ = false;
  std::string problem_;
};

}  // namespace ray_engine::sim
