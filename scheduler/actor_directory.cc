#include "scheduler/actor_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr char kKilled[] = "The actor is dead because it was killed by `ray.kill`.";
constexpr char kOutOfScope[] = "The actor is dead because all references to the actor were removed.";
constexpr char kArgsLost[] =
    "The actor is dead because arguments of its constructor were lost, and its owner, which had them, has died.";
constexpr char kInitFailed[] = "The actor died because of an error raised in its creation task.";

// The keys of `map` that are processes of `node`, added to `found`.
template <class Map>
void AddProcessesOf(std::uint32_t node, const Map& map, absl::btree_set<ProcessId>* found) {
  for (auto it = map.lower_bound(ProcessId{node, 0}); it != map.end() && it->first.node == node; ++it) {
    found->insert(it->first);
  }
}

std::string NameIsTaken(const ActorSpec& spec, bool by_living) {
  return by_living
             ? fmt::format(
                   "The name {} (namespace={}) is already taken by a living actor. Please use a different name, or get "
                   "that actor with ray.get_actor('{}', namespace='{}').",
                   spec.name, spec.name_space, spec.name, spec.name_space)
             : fmt::format(
                   "The name {} (namespace={}) is already taken by an actor that is dead, but whose handles are "
                   "held. Please use a different name, drop these handles, or give the name up with ray.kill(handle).",
                   spec.name, spec.name_space);
}

}  // namespace

// ---- creation ------------------------------------------------------------------------------------------------------

ActorDirectory::Actions ActorDirectory::OnCreate(const ActorCreate& create, ProcessId from) {
  Actions actions;
  const ActorSpec& spec = create.spec;
  const bool named = !spec.name.empty();
  const Name name{spec.name_space, spec.name};
  const bool repeated = Find(spec.actor) != nullptr;
  std::string error;
  if (const auto taken = names_.find(name); named && !repeated && taken != names_.end()) {
    error = NameIsTaken(spec, FindLiving(taken->second) != nullptr);
  }
  if (create.token != 0) actions.push_back(Send{from, ActorCreated{create.token, error}});
  if (repeated || !error.empty()) return actions;

  Actor* actor = (actors_[spec.actor] = std::make_unique<Actor>()).get();
  actor->spec = spec;
  actor->has_name = named;
  if (named) names_[name] = spec.actor;
  by_creator_[spec.creator].insert(spec.actor);
  AskForPlace(actor, &actions);
  AdoptUnknown(actor, &actions);
  return actions;
}

// Those who asked about the actor before it was created get their answer now.
void ActorDirectory::AdoptUnknown(Actor* actor, Actions* actions) {
  const auto it = unknown_.find(actor->spec.actor);
  if (it == unknown_.end()) return;
  const Unknown unknown = std::move(it->second);
  unknown_.erase(it);
  for (const ProcessId watcher : unknown.watchers) {
    actor->watchers.insert(watcher);
    by_watcher_[watcher].insert(actor->spec.actor);
  }
  if (unknown.kill) {
    Destroy(actor, unknown.kill->cause.empty() ? kKilled : unknown.kill->cause, Ending::kKill, actions);
  } else {
    Publish(*actor, actions);
  }
}

void ActorDirectory::AskForPlace(Actor* actor, Actions* actions) {
  actor->key = ++last_key_;
  by_key_[actor->key] = actor->spec.actor;
  LeaseDemand demand;
  demand.key = actor->key;
  demand.count = 1;
  demand.name = "actor " + actor->spec.class_name;
  demand.lease_class = actor->spec.placement;
  demand.locality = actor->spec.creator.node;
  actions->push_back(Place{std::move(demand)});
}

void ActorDirectory::StopPlacing(Actor* actor) {
  by_key_.erase(actor->key);
  actor->key = 0;
}

ActorDirectory::Actions ActorDirectory::OnPlaced(const LeaseGrant& grant) {
  Actor* actor = FindPlacing(grant.key);
  if (actor == nullptr) return {EndLease{grant.lease, grant.worker, Ending::kReturn, "its actor does not need it"}};
  StopPlacing(actor);
  actor->lease = grant.lease;
  actor->worker = grant.worker;
  actor->node = grant.node;
  by_worker_[grant.worker] = actor->spec.actor;
  return {Send{grant.worker, StartActor{grant.lease, actor->incarnation, actor->spec}}};
}

ActorDirectory::Actions ActorDirectory::OnPlacementLost(std::uint32_t key) {
  Actions actions;
  Actor* actor = FindPlacing(key);
  if (actor == nullptr) return actions;
  StopPlacing(actor);
  AskForPlace(actor, &actions);
  return actions;
}

ActorDirectory::Actions ActorDirectory::OnPlacementFailed(const LeaseFailed& failed) {
  Actions actions;
  Actor* actor = FindPlacing(failed.key);
  if (actor == nullptr) return actions;
  StopPlacing(actor);  // the scheduler has dropped it, so there is nothing to withdraw
  Destroy(actor, fmt::format("The actor cannot be placed: {}.", failed.error), Ending::kReturn, &actions);
  return actions;
}

ActorDirectory::Actions ActorDirectory::OnReady(const ActorReady& ready) {
  Actions actions;
  Actor* actor = FindLiving(ready.actor);
  const bool starting = actor != nullptr && !actor->worker.IsNil() && actor->state != ActorState::kAlive;
  if (!starting || actor->incarnation != ready.incarnation) return actions;
  if (ready.args_lost) {
    AwaitArgs(actor, &actions);
    return actions;
  }
  if (!ready.error.empty()) {
    actor->init_error = ready.error;
    Die(actor, kInitFailed, Ending::kExit, &actions);
    return actions;
  }
  actor->state = ActorState::kAlive;
  actor->pid = ready.pid;
  actions.push_back(Hold{actor->lease, actor->spec.running});
  Publish(*actor, &actions);
  return actions;
}

// What it has been given may be what making the arguments again takes.
void ActorDirectory::AwaitArgs(Actor* actor, Actions* actions) {
  if (actor->orphaned) return Die(actor, kArgsLost, Ending::kExit, actions);
  Leave(actor, Ending::kExit, "arguments of its actor are lost", actions);
  actor->awaits_args = true;
  actions->push_back(Send{actor->spec.creator, ActorArgsLost{actor->spec.actor}});
}

ActorDirectory::Actions ActorDirectory::OnArgs(const ActorArgs& args) {
  Actions actions;
  Actor* actor = FindLiving(args.actor);
  if (actor == nullptr || !actor->awaits_args) return actions;
  if (!args.cause.empty()) {
    actor->init_error = args.init_error;
    Die(actor, args.cause, Ending::kExit, &actions);
    return actions;
  }
  actor->awaits_args = false;
  actor->spec.creation_task = args.creation_task;
  AskForPlace(actor, &actions);
  return actions;
}

// ---- ends and restarts ---------------------------------------------------------------------------------------------

ActorDirectory::Actions ActorDirectory::OnProcessGone(ProcessId process, const std::string& cause) {
  Actions actions;
  WatcherLost(process);
  CreatorLost(process, cause, &actions);
  WorkerLost(process, fmt::format("The actor is dead because its worker process has died: {}.", cause), &actions);
  return actions;
}

// Owners first: what dies with its owner must not be restarted for the loss of its worker.
ActorDirectory::Actions ActorDirectory::OnNodeLost(std::uint32_t node, const std::string& cause) {
  absl::btree_set<ProcessId> processes;
  AddProcessesOf(node, by_creator_, &processes);
  AddProcessesOf(node, by_worker_, &processes);
  AddProcessesOf(node, by_watcher_, &processes);
  Actions actions;
  for (const ProcessId process : processes) WatcherLost(process);
  for (const ProcessId process : processes) CreatorLost(process, cause, &actions);
  const std::string text = fmt::format("The actor died because its node has died: {}.", cause);
  for (const ProcessId process : processes) WorkerLost(process, text, &actions);
  return actions;
}

void ActorDirectory::WorkerLost(ProcessId worker, const std::string& cause, Actions* actions) {
  const auto it = by_worker_.find(worker);
  if (it == by_worker_.end()) return;
  Actor* actor = Find(it->second);
  LeaveWorker(actor);
  if (RestartIfAllowed(actor, actions)) return;
  Die(actor, cause, Ending::kKill, actions);
}

void ActorDirectory::CreatorLost(ProcessId creator, const std::string& cause, Actions* actions) {
  const auto it = by_creator_.find(creator);
  if (it == by_creator_.end()) return;
  const absl::btree_set<ActorId> orphans = it->second;
  const std::string text =
      fmt::format("The actor is dead because its owner has died. Owner: {} ({}).", ToString(creator), cause);
  for (const ActorId& orphan : orphans) {
    Actor* actor = Find(orphan);
    if (!actor->spec.detached) {
      ForgetSpec(actor);
      Destroy(actor, text, Ending::kKill, actions);
      continue;
    }
    actor->orphaned = true;
    if (actor->awaits_args) Die(actor, kArgsLost, Ending::kExit, actions);
  }
  by_creator_.erase(creator);
}

void ActorDirectory::WatcherLost(ProcessId watcher) {
  const auto it = by_watcher_.find(watcher);
  if (it == by_watcher_.end()) return;
  for (const ActorId& id : it->second) {
    if (Actor* actor = Find(id)) actor->watchers.erase(watcher);
    if (const auto unknown = unknown_.find(id); unknown != unknown_.end()) unknown->second.watchers.erase(watcher);
  }
  by_watcher_.erase(it);
}

ActorDirectory::Actions ActorDirectory::OnKill(const ActorKill& kill, Time now) {
  Actions actions;
  Actor* actor = Find(kill.actor);
  if (actor == nullptr) {
    if (kill.no_restart) UnknownActor(kill.actor, now).kill = kill;
    return actions;
  }
  const std::string cause = kill.cause.empty() ? kKilled : kill.cause;
  if (kill.no_restart && !kill.leaving) {
    Destroy(actor, cause, Ending::kKill, &actions);
  } else if (actor->state == ActorState::kDead) {
    return actions;
  } else if (kill.no_restart) {
    Die(actor, cause, Ending::kExit, &actions);
  } else {  // also of one that is on its way to a start: that was the one it had
    Leave(actor, Ending::kKill, cause, &actions);
    if (!RestartIfAllowed(actor, &actions)) Die(actor, cause, Ending::kKill, &actions);
  }
  return actions;
}

ActorDirectory::Actions ActorDirectory::OnOutOfScope(const ActorOutOfScope& gone) {
  Actions actions;
  Actor* actor = Find(gone.actor);
  if (actor == nullptr || actor->spec.detached) return actions;
  if (actor->state == ActorState::kDead) {
    if (!gone.may_return) ForgetSpec(actor);
  } else {
    actor->restartable = gone.may_return && MayRestart(*actor);
  }
  Destroy(actor, kOutOfScope, Ending::kExit, &actions);
  return actions;
}

// It comes back without its name, which may be another's by now.
ActorDirectory::Actions ActorDirectory::OnRestart(const ActorRestart& restart) {
  Actions actions;
  Actor* actor = Find(restart.actor);
  if (actor == nullptr || !std::exchange(actor->restartable, false)) return actions;
  dead_.erase(std::find(dead_.begin(), dead_.end(), restart.actor));
  actor->spec.name.clear();
  actor->cause.clear();
  RestartIfAllowed(actor, &actions);
  return actions;
}

// Parts from the worker and the placement under way, if there is one, and ends what the scheduler gave for them.
void ActorDirectory::Leave(Actor* actor, Ending ending, const std::string& reason, Actions* actions) {
  if (actor->key != 0) {
    LeaseDemand withdrawn;
    withdrawn.key = actor->key;
    withdrawn.name = actor->spec.class_name;
    withdrawn.lease_class = actor->spec.placement;
    actions->push_back(Place{std::move(withdrawn)});
    StopPlacing(actor);
  }
  if (!actor->worker.IsNil()) {
    actions->push_back(EndLease{actor->lease, actor->worker, ending, reason});
    LeaveWorker(actor);
  }
}

void ActorDirectory::LeaveWorker(Actor* actor) {
  by_worker_.erase(actor->worker);
  actor->worker = ProcessId{};
  actor->node = NodeId();
  actor->lease = LeaseId::kNone;
}

bool ActorDirectory::MayRestart(const Actor& actor) {
  const std::int32_t limit = actor.spec.max_restarts;
  return limit < 0 || actor.incarnation < static_cast<std::uint32_t>(limit);
}

// REQUIRES: the actor has left its worker.
bool ActorDirectory::RestartIfAllowed(Actor* actor, Actions* actions) {
  if (!MayRestart(*actor)) return false;
  ++actor->incarnation;
  actor->state = ActorState::kRestarting;
  Publish(*actor, actions);
  if (!actor->awaits_args) AskForPlace(actor, actions);  // else once they are there
  return true;
}

void ActorDirectory::Die(Actor* actor, const std::string& cause, Ending ending, Actions* actions) {
  Leave(actor, ending, cause, actions);
  actor->state = ActorState::kDead;
  actor->awaits_args = false;
  actor->cause = cause;
  Publish(*actor, actions);
  Bury(actor);
}

// Nothing is left for holders of handles to decide: the name goes, too. The actor may be dead already.
void ActorDirectory::Destroy(Actor* actor, const std::string& cause, Ending ending, Actions* actions) {
  FreeName(actor);
  if (actor->state != ActorState::kDead) Die(actor, cause, ending, actions);
}

// Keeps of the dead only what a late watcher is told, and the name; of one that may be started again its spec, too.
void ActorDirectory::Bury(Actor* actor) {
  const ActorSpec& spec = actor->spec;
  if (spec.detached) FreeName(actor);
  for (const ProcessId watcher : actor->watchers) EraseFrom(&by_watcher_, watcher, spec.actor);
  actor->watchers.clear();
  dead_.push_back(spec.actor);
  if (!actor->restartable) ForgetSpec(actor);
  if (dead_.size() > kMaxDead) ForgetOldest();
}

// REQUIRES: the actor is dead, or about to be. It will not be started again.
void ActorDirectory::ForgetSpec(Actor* actor) {
  actor->restartable = false;
  actor->spec.creation_task = std::string();
  actor->spec.handle = std::string();
  if (!actor->has_name) EraseFrom(&by_creator_, actor->spec.creator, actor->spec.actor);
}

void ActorDirectory::FreeName(Actor* actor) {
  if (!std::exchange(actor->has_name, false)) return;
  const ActorSpec& spec = actor->spec;
  names_.erase({spec.name_space, spec.name});
  const bool needed = actor->state != ActorState::kDead || actor->restartable;
  if (!needed) EraseFrom(&by_creator_, spec.creator, spec.actor);
}

void ActorDirectory::ForgetOldest() {
  const ActorId oldest = dead_.front();
  dead_.pop_front();
  FreeName(Find(oldest));
  ForgetSpec(Find(oldest));
  actors_.erase(oldest);
}

// ---- the tables ----------------------------------------------------------------------------------------------------

ActorDirectory::Actor* ActorDirectory::Find(const ActorId& id) {
  const auto it = actors_.find(id);
  return it == actors_.end() ? nullptr : it->second.get();
}

ActorDirectory::Actor* ActorDirectory::FindLiving(const ActorId& id) {
  Actor* actor = Find(id);
  return actor == nullptr || actor->state == ActorState::kDead ? nullptr : actor;
}

const ActorSpec* ActorDirectory::RunningIn(ProcessId worker) const {
  const auto it = by_worker_.find(worker);
  return it == by_worker_.end() ? nullptr : &actors_.at(it->second)->spec;
}

ActorDirectory::Actor* ActorDirectory::FindPlacing(std::uint32_t key) {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : Find(it->second);
}

ActorDirectory::Unknown& ActorDirectory::UnknownActor(const ActorId& id, Time now) {
  const auto [it, added] = unknown_.try_emplace(id);
  if (added) it->second.since = now;
  return it->second;
}

void ActorDirectory::EraseFrom(ActorsOf* sets, ProcessId process, const ActorId& actor) {
  const auto it = sets->find(process);
  if (it == sets->end()) return;
  it->second.erase(actor);
  if (it->second.empty()) sets->erase(it);
}

}  // namespace ray_engine
