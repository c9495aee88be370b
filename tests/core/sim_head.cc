#include "tests/core/sim_head.h"

#include <algorithm>
#include <utility>

#include "tests/core/sim_world.h"

namespace ray_engine::sim {
namespace {

template <class Message>
Message As(const Frame& frame) {
  Message message;
  Decode(frame.payload, &message);
  return message;
}

}  // namespace

template <class Message>
void SimHead::Send(ProcessId from, ProcessId to, const Message& message) {
  world_->network().Send({from, to, Message::kType, Encode(message)});
}

void SimHead::OnFrame(const Frame& frame) {
  switch (frame.type) {
    case MessageType::kWatch: {
      const ProcessId process = As<Watch>(frame).process;
      world_->Lives(process) ? void(watchers_[process].insert(frame.from)) : TellGone(frame.from, process);
      return;
    }
    case MessageType::kLeaseDemand: {
      const auto demand = As<LeaseDemand>(frame);
      demands_[{frame.from, demand.key}] = demand.count;
      return GrantAll();
    }
    case MessageType::kLeaseReturn:
      return EndLease(As<LeaseReturn>(frame).lease);
    case MessageType::kBlocked:
      return Block(As<Blocked>(frame).lease, true);
    case MessageType::kUnblocked:
      return Block(As<Unblocked>(frame).lease, false);
    case MessageType::kActorCreate:
      return Create(As<ActorCreate>(frame).spec);
    case MessageType::kActorReady: {
      Actor& actor = actors_.at(As<ActorReady>(frame).actor);
      if (actor.worker != frame.from || actor.state == ActorState::kDead) return;
      actor.state = ActorState::kAlive;
      return Publish(actor);
    }
    case MessageType::kActorWatch: {
      const ActorId id = As<ActorWatch>(frame).actor;
      const auto actor = actors_.find(id);
      if (actor == actors_.end()) return void(early_watchers_[id].insert(frame.from));
      actor->second.watchers.insert(frame.from);
      return Send(kHead, frame.from, UpdateOf(actor->second));
    }
    case MessageType::kActorOutOfScope: {
      const auto actor = actors_.find(As<ActorOutOfScope>(frame).actor);
      if (actor != actors_.end()) Die(&actor->second, "out of scope");
      return;
    }
    case MessageType::kStoreFree: {
      for (const ObjectId& object : As<StoreFree>(frame).objects) store_.erase({frame.to.node, object});
      return;
    }
    default:
      return;  // of no interest here
  }
}

// ---- deaths --------------------------------------------------------------------------------------------------------

void SimHead::TellGone(ProcessId whom, ProcessId gone) {
  if (!whom.IsEngine() && world_->Lives(whom)) Send(whom.Engine(), whom, ProcessGone{gone, "it is gone"});
}

void SimHead::OnDeath(ProcessId process, const std::string& cause) {
  for (const ProcessId peer : world_->LinkedTo(process)) watchers_[process].insert(peer);
  for (const ProcessId watcher : watchers_[process]) {
    if (world_->Lives(watcher)) Send(watcher.Engine(), watcher, ProcessGone{process, cause});
  }
  watchers_.erase(process);
  idle_.erase(std::remove(idle_.begin(), idle_.end(), process), idle_.end());
  for (auto it = store_.begin(); it != store_.end();) it = it->second == process ? store_.erase(it) : std::next(it);
  for (auto it = demands_.begin(); it != demands_.end();) {
    it = it->first.first == process ? demands_.erase(it) : std::next(it);
  }
  std::vector<LeaseId> over;
  std::vector<ProcessId> orphans;
  for (const auto& [id, lease] : leases_) {
    if (lease.worker == process || lease.client == process) over.push_back(id);
    if (lease.client == process) orphans.push_back(lease.worker);
  }
  for (const LeaseId id : over) EndLease(id);
  for (auto& [id, actor] : actors_) {
    if (actor.state == ActorState::kDead) continue;
    if (actor.spec.creator == process) {
      Die(&actor, "its owner has died");
    } else if (actor.worker == process) {
      actor.worker = ProcessId();
      if (static_cast<std::int32_t>(actor.incarnation) >= actor.spec.max_restarts) {
        Die(&actor, cause);
      } else {
        ++actor.incarnation;
        actor.state = ActorState::kRestarting;
        Publish(actor);
        Start(&actor);
      }
    }
  }
  for (const ProcessId orphan : orphans) world_->Kill(orphan, "its client has died");
}

// ---- leases --------------------------------------------------------------------------------------------------------

void SimHead::GrantAll() {
  while (free_cpus_ > 0) {
    std::vector<std::pair<ProcessId, std::uint32_t>> asking;
    for (const auto& [key, count] : demands_) {
      if (count > 0) asking.push_back(key);
    }
    if (asking.empty()) return;
    const auto key = asking[world_->random().Below(asking.size())];
    const ProcessId worker = IdleWorker();
    if (worker.IsNil()) return;
    --demands_[key];
    --free_cpus_;
    const LeaseId id{++last_lease_};
    leases_[id] = {key.first, worker, false};
    Send(worker.Engine(), key.first, LeaseGrant{id, key.second, worker, NodeId()});
  }
}

ProcessId SimHead::IdleWorker() {
  if (idle_.empty()) return world_->NewWorker();
  const std::size_t at = world_->random().Below(idle_.size());
  const ProcessId worker = idle_[at];
  idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(at));
  return worker;
}

void SimHead::EndLease(LeaseId id) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  if (!it->second.blocked) ++free_cpus_;
  const Lease lease = it->second;
  leases_.erase(it);
  if (world_->Lives(lease.worker) && world_->Lives(lease.client)) idle_.push_back(lease.worker);
  GrantAll();
}

void SimHead::Block(LeaseId id, bool blocked) {
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.blocked == blocked) return;
  it->second.blocked = blocked;
  free_cpus_ += blocked ? 1 : -1;
  GrantAll();
}

void SimHead::Meddle() {
  if (!leases_.empty() && world_->random().Chance(50)) {
    auto it = leases_.begin();
    std::advance(it, world_->random().Below(leases_.size()));
    Send(kHead, it->second.client, LeaseReclaim{it->first});
  } else if (!idle_.empty()) {
    const ProcessId worker = idle_[world_->random().Below(idle_.size())];
    if (world_->EndIfIdle(worker)) idle_.erase(std::remove(idle_.begin(), idle_.end(), worker), idle_.end());
  }
}

// ---- actors --------------------------------------------------------------------------------------------------------

void SimHead::Create(const ActorSpec& spec) {
  Actor& actor = actors_[spec.actor];
  actor.spec = spec;
  for (const ProcessId watcher : early_watchers_[spec.actor]) actor.watchers.insert(watcher);
  early_watchers_.erase(spec.actor);
  world_->Lives(spec.creator) ? Start(&actor) : Die(&actor, "its owner has died");
}

void SimHead::GiveUpOnUnknown() {
  for (const auto& [actor, watchers] : std::exchange(early_watchers_, {})) {
    ActorUpdate update;
    update.actor = actor;
    update.state = ActorState::kDead;
    for (const ProcessId watcher : watchers) {
      if (world_->Lives(watcher)) Send(kHead, watcher, update);
    }
  }
}

void SimHead::Start(Actor* actor) {
  actor->worker = world_->NewWorker();
  if (actor->worker.IsNil()) return Die(actor, "there is no room for more processes");
  Send(kHead, actor->worker, StartActor{LeaseId::kNone, actor->incarnation, actor->spec});
}

void SimHead::Publish(const Actor& actor) {
  for (const ProcessId watcher : actor.watchers) {
    if (world_->Lives(watcher)) Send(kHead, watcher, UpdateOf(actor));
  }
}

ActorUpdate SimHead::UpdateOf(const Actor& actor) const {
  ActorUpdate update;
  update.actor = actor.spec.actor;
  update.state = actor.state;
  update.incarnation = actor.incarnation;
  update.cause = actor.cause;
  if (actor.state == ActorState::kAlive) update.process = actor.worker;
  return update;
}

void SimHead::Die(Actor* actor, const std::string& cause) {
  if (actor->state == ActorState::kDead) return;
  actor->state = ActorState::kDead;
  actor->cause = cause;
  Publish(*actor);
  if (actor->worker.IsNil()) return;
  Send(kHead, actor->worker, Shutdown{cause});
  world_->MarkDead(actor->worker);
}

std::string SimHead::DescribeStored() const {
  std::string text;
  for (const auto& [place, owner] : store_) {
    text += " " + place.second.Hex() + " at node " + std::to_string(place.first) + " of " + ToString(owner) + ";";
  }
  return text;
}

}  // namespace ray_engine::sim
