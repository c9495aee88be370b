// ActorDirectory: every actor of the session, from creation to death. Lives on the head.
//
// The way of an actor: OnCreate -> Place (the scheduler finds a node, its engine a worker) -> OnPlaced -> StartActor to
// the worker, which runs __init__ -> OnReady -> alive, Hold shrinks what its lease holds. When its worker is lost it is
// placed again, one incarnation further, as often as max_restarts allows (-1: always); otherwise it is dead. Dead
// actors are remembered, with the cause, for those who ask late; the oldest are forgotten beyond kMaxDead.
//
// Where stored arguments of the constructor are lost, the actor gives its place up (AwaitArgs) until its creator, which
// owns them, has them made again. An actor that went out of scope may be started again by its creator, to make results
// of its methods again.
//
// An actor that is not detached dies with its creator. A name belongs to one actor of its name space: while it lives,
// and after it died by itself as long as somebody holds a handle of it. Who ends an actor on purpose (a kill, the end
// of its creator) frees its name at once, and a detached actor, which has no owner to count handles, loses it by dying.
//
// Pure state machine: events in, actions out; no I/O, no clock. Loop-bound (head loop).

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "engine/base/ids.h"
#include "engine/base/resources.h"
#include "engine/wire/messages.h"

namespace ray_engine {

class ActorDirectory {
 public:
  using Time = std::chrono::nanoseconds;
  static constexpr std::size_t kMaxDead = 10000;
  static constexpr Time kUnknownFor = std::chrono::seconds(10);

  // Send this message to that process (StartActor: to the worker, by way of its engine).
  struct Send {
    ProcessId to;
    std::variant<ActorCreated, ActorUpdate, ActorArgsLost, StartActor, ActorFound> message;
  };
  // Give this demand to the scheduler, as client kHead. Count 0 withdraws.
  struct Place {
    LeaseDemand demand;
  };
  // Scheduler::SetHeld.
  struct Hold {
    LeaseId lease{};
    ResourceSet held;
  };
  // End the lease of a worker. Nothing to do if the scheduler knows the lease no more (it went with its node).
  enum class Ending : std::uint8_t {
    kReturn,  // no actor ever ran there: the worker can serve others
    kExit,    // the actor is not needed any more: let the worker end by itself
    kKill,    // now
  };
  struct EndLease {
    LeaseId lease{};
    ProcessId worker;
    Ending ending{};
    std::string reason;
  };
  using Action = std::variant<Send, Place, Hold, EndLease>;
  using Actions = std::vector<Action>;

  struct Statistics {
    std::size_t pending = 0, alive = 0, restarting = 0, dead = 0, names = 0, watchers = 0, unknown = 0;
  };

  Actions OnCreate(const ActorCreate& create, ProcessId from);
  Actions OnPlaced(const LeaseGrant& grant);             // a LeaseGrant that came to the head
  Actions OnPlacementLost(std::uint32_t key);            // Scheduler::PlacementLost
  Actions OnPlacementFailed(const LeaseFailed& failed);  // a LeaseFailed for the head
  Actions OnReady(const ActorReady& ready);
  Actions OnArgs(const ActorArgs& args);

  // `process` is gone: as worker of an actor, as creator of actors, as watcher.
  Actions OnProcessGone(ProcessId process, const std::string& cause);
  // The same for all processes of a node.
  Actions OnNodeLost(std::uint32_t node, const std::string& cause);

  Actions OnWatch(ProcessId client, const ActorWatch& watch, Time now);
  Actions OnKill(const ActorKill& kill, Time now);
  Actions OnOutOfScope(const ActorOutOfScope& gone);
  Actions OnRestart(const ActorRestart& restart);
  Actions OnLookup(ProcessId from, const ActorLookup& lookup) const;

  // A watch of, or a kill for, an actor that nobody has created yet waits kUnknownFor; then it counts as dead.
  Actions OnTick(Time now);
  // When OnTick is due; none if nothing waits.
  std::optional<Time> NextTick() const;

  // The living actor whose process that is; null if there is none.
  const ActorSpec* RunningIn(ProcessId worker) const;

  // Living and dead, for people.
  std::vector<ActorInfo> List() const;
  Statistics Stats() const;
  // Empty, or what is wrong. For tests and debug builds.
  std::string CheckInvariants() const;

 private:
  struct Actor {
    ActorSpec spec;
    ActorState state = ActorState::kPending;
    std::uint32_t incarnation = 0;
    std::uint32_t pid = 0;  // of the process it last ran in
    std::uint32_t key = 0;  // of the placement under way; 0: none
    LeaseId lease{};        // kNone: not placed
    ProcessId worker;       // nil: not placed
    NodeId node;
    std::string cause, init_error;  // once dead
    bool has_name = false;          // names_ has it
    bool awaits_args = false;       // living, and neither placed nor being placed
    bool orphaned = false;          // detached, and its creator has ended
    bool restartable = false;       // dead: its creator may have it started again
    absl::btree_set<ProcessId> watchers;
  };
  struct Unknown {  // asked about before it was created
    Time since{};
    absl::btree_set<ProcessId> watchers;
    std::optional<ActorKill> kill;
  };
  using Name = std::pair<std::string, std::string>;  // (name space, name)
  using ActorsOf = absl::btree_map<ProcessId, absl::btree_set<ActorId>>;

  Actor* Find(const ActorId& id);
  Actor* FindLiving(const ActorId& id);
  Actor* FindPlacing(std::uint32_t key);
  Unknown& UnknownActor(const ActorId& id, Time now);
  void AdoptUnknown(Actor* actor, Actions* actions);

  void AskForPlace(Actor* actor, Actions* actions);
  void StopPlacing(Actor* actor);
  void LeaveWorker(Actor* actor);
  void Leave(Actor* actor, Ending ending, const std::string& reason, Actions* actions);
  void AwaitArgs(Actor* actor, Actions* actions);
  static bool MayRestart(const Actor& actor);
  bool RestartIfAllowed(Actor* actor, Actions* actions);
  void WorkerLost(ProcessId worker, const std::string& cause, Actions* actions);
  void CreatorLost(ProcessId creator, const std::string& cause, Actions* actions);
  void WatcherLost(ProcessId watcher);
  void Die(Actor* actor, const std::string& cause, Ending ending, Actions* actions);
  void Destroy(Actor* actor, const std::string& cause, Ending ending, Actions* actions);
  void Bury(Actor* actor);
  void ForgetSpec(Actor* actor);
  void FreeName(Actor* actor);
  void ForgetOldest();
  void Publish(const Actor& actor, Actions* actions) const;
  // Takes the actor out of the set of the process.
  static void EraseFrom(ActorsOf* sets, ProcessId process, const ActorId& actor);
  static ActorUpdate UpdateOf(const Actor& actor);
  static ActorInfo InfoOf(const Actor& actor);
  std::string CheckActor(const Actor& actor) const;

  absl::flat_hash_map<ActorId, std::unique_ptr<Actor>> actors_;
  absl::flat_hash_map<ActorId, Unknown> unknown_;
  absl::flat_hash_map<std::uint32_t, ActorId> by_key_;  // placements under way
  absl::btree_map<ProcessId, ActorId> by_worker_;       // placed
  ActorsOf by_creator_;                                 // living, with a name, or restartable; the creator lives
  ActorsOf by_watcher_;                                 // living or unknown
  absl::btree_map<Name, ActorId> names_;                // some are dead
  std::deque<ActorId> dead_;                            // oldest first
  std::uint32_t last_key_ = 0;
};

}  // namespace ray_engine
