// The part of ActorDirectory that answers: watches, look-ups, statistics, invariants.

#include <utility>

#include "scheduler/actor_directory.h"

namespace ray_engine {
namespace {

constexpr char kUnknown[] =
    "The actor is not known: it was never created, or it died so long ago that it was forgotten.";

ActorUpdate DeathOfUnknown(const ActorId& actor) {
  ActorUpdate update;
  update.actor = actor;
  update.state = ActorState::kDead;
  update.cause = kUnknown;
  return update;
}

}  // namespace

ActorDirectory::Actions ActorDirectory::OnWatch(ProcessId client, const ActorWatch& watch, Time now) {
  Actor* actor = Find(watch.actor);
  by_watcher_[client].insert(watch.actor);
  if (actor == nullptr) {
    UnknownActor(watch.actor, now).watchers.insert(client);
    return {};
  }
  if (actor->state == ActorState::kDead) {
    EraseFrom(&by_watcher_, client, watch.actor);
  } else {
    actor->watchers.insert(client);
  }
  return {Send{client, UpdateOf(*actor)}};
}

ActorDirectory::Actions ActorDirectory::OnLookup(ProcessId from, const ActorLookup& lookup) const {
  ActorFound found;
  found.token = lookup.token;
  const auto lives = [this](const ActorId& actor) { return actors_.at(actor)->state != ActorState::kDead; };
  if (lookup.all) {
    for (const auto& [name, actor] : names_) {
      const bool asked_for = lookup.name_space.empty() || lookup.name_space == name.first;
      if (asked_for && lives(actor)) found.names.push_back(name);
    }
  } else if (const auto it = names_.find({lookup.name_space, lookup.name}); it != names_.end() && lives(it->second)) {
    found.handles.push_back(actors_.at(it->second)->spec.handle);
  }
  return {Send{from, std::move(found)}};
}

ActorDirectory::Actions ActorDirectory::OnTick(Time now) {
  Actions actions;
  for (auto it = unknown_.begin(); it != unknown_.end();) {
    if (now - it->second.since < kUnknownFor) {
      ++it;
      continue;
    }
    for (const ProcessId watcher : it->second.watchers) {
      actions.push_back(Send{watcher, DeathOfUnknown(it->first)});
      EraseFrom(&by_watcher_, watcher, it->first);
    }
    unknown_.erase(it++);
  }
  return actions;
}

std::optional<ActorDirectory::Time> ActorDirectory::NextTick() const {
  std::optional<Time> next;
  for (const auto& [id, unknown] : unknown_) {
    if (!next || unknown.since + kUnknownFor < *next) next = unknown.since + kUnknownFor;
  }
  return next;
}

void ActorDirectory::Publish(const Actor& actor, Actions* actions) const {
  for (const ProcessId watcher : actor.watchers) actions->push_back(Send{watcher, UpdateOf(actor)});
}

ActorUpdate ActorDirectory::UpdateOf(const Actor& actor) {
  ActorUpdate update;
  update.actor = actor.spec.actor;
  update.state = actor.state;
  update.incarnation = actor.incarnation;
  if (actor.state == ActorState::kAlive) {
    update.process = actor.worker;
    update.node = actor.node;
  }
  update.cause = actor.cause;
  update.init_error = actor.init_error;
  update.restartable = actor.restartable;
  return update;
}

std::vector<ActorInfo> ActorDirectory::List() const {
  std::vector<ActorInfo> list;
  list.reserve(actors_.size());
  for (const auto& [id, actor] : actors_) list.push_back(InfoOf(*actor));
  return list;
}

ActorInfo ActorDirectory::InfoOf(const Actor& actor) {
  ActorInfo info;
  info.actor = actor.spec.actor;
  info.job = actor.spec.placement.job;
  info.group = actor.spec.placement.group;
  info.state = actor.state;
  info.detached = actor.spec.detached;
  info.class_name = actor.spec.class_name;
  info.name = actor.spec.name;
  info.name_space = actor.spec.name_space;
  info.cause = actor.cause;
  info.restarts = actor.incarnation;
  info.pid = actor.pid;
  info.process = actor.worker;
  info.node = actor.node;
  info.resources = actor.spec.running;
  return info;
}

ActorDirectory::Statistics ActorDirectory::Stats() const {
  Statistics stats;
  for (const auto& [id, actor] : actors_) {
    stats.pending += actor->state == ActorState::kPending;
    stats.alive += actor->state == ActorState::kAlive;
    stats.restarting += actor->state == ActorState::kRestarting;
    stats.watchers += actor->watchers.size();
  }
  stats.dead = dead_.size();
  stats.names = names_.size();
  stats.unknown = unknown_.size();
  return stats;
}

std::string ActorDirectory::CheckInvariants() const {
  std::size_t dead = 0, placing = 0, placed = 0, named = 0;
  for (const auto& [id, actor] : actors_) {
    if (std::string problem = CheckActor(*actor); !problem.empty()) return problem;
    dead += actor->state == ActorState::kDead;
    placing += actor->key != 0;
    placed += !actor->worker.IsNil();
    named += actor->has_name;
  }
  if (dead != dead_.size() || dead > kMaxDead) return "the dead are miscounted";
  if (placing != by_key_.size()) return "a placement belongs to no actor";
  if (placed != by_worker_.size()) return "a worker belongs to no actor";
  if (named != names_.size()) return "a name belongs to no actor";
  return "";
}

std::string ActorDirectory::CheckActor(const Actor& actor) const {
  const bool placing = actor.key != 0, placed = !actor.worker.IsNil();
  const auto owned = by_creator_.find(actor.spec.creator);
  const bool indexed = owned != by_creator_.end() && owned->second.contains(actor.spec.actor);
  if (actor.state == ActorState::kDead) {
    const bool needed = actor.has_name || actor.restartable;
    if (indexed != needed) return "a dead actor is among those of its creator without need, or is not though needed";
    return placing || placed || !actor.watchers.empty() ? "a dead actor holds something" : "";
  }
  if (actor.has_name == actor.spec.name.empty()) return "a living actor has lost its name";
  if (placing + placed + actor.awaits_args != 1)
    return "a living actor is not just one of placed, being placed, waiting";
  if (placed != (actor.lease != LeaseId::kNone)) return "a lease without worker, or a worker without lease";
  if (actor.state == ActorState::kAlive && !placed) return "an actor lives nowhere";
  for (const ProcessId watcher : actor.watchers) {
    const auto it = by_watcher_.find(watcher);
    if (it == by_watcher_.end() || !it->second.contains(actor.spec.actor)) return "a watcher is not in the index";
  }
  if (indexed == actor.orphaned) return "an actor is missing among those of its creator";
  return "";
}

}  // namespace ray_engine
