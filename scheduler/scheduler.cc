#include "scheduler/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/container/btree_set.h"

namespace ray_engine {
namespace {

std::string ImpossibleText(const Candidates& shape) {
  return fmt::format(
      "the node {} asked for with NodeAffinitySchedulingStrategy(soft=False) is not there, is gone, or has less than "
      "{}",
      shape.shape().affinity.Hex(), shape.shape().resources.ToString());
}

}  // namespace

bool Scheduler::IsImpossible(const Candidates& shape) {
  return shape.feasible() == 0 && shape.shape().strategy == LeaseClass::kNodeAffinity && !shape.shape().soft;
}

// ---- nodes ---------------------------------------------------------------------------------------------------------

Scheduler::Actions Scheduler::OnNodeJoined(const NodeInfo& node, Time now) {
  Actions actions;
  cluster_.Add(node);
  policy_.OnChangedAnew(node.index);
  FailImpossible(&actions);
  TickSoon(now);
  GrantAll(now, &actions);
  return actions;
}

Scheduler::Actions Scheduler::OnNodeLost(std::uint32_t node, const std::string& reason, Time now) {
  Actions actions;
  if (cluster_.Find(node) == nullptr) return actions;
  cluster_.Remove(node, reason);
  policy_.OnChangedAnew(node);
  reclaimer_.OnNodeLost(node);
  for (const ProcessId client : leases_.ClientsOn(node)) DropClient(client, reason, &actions);
  LoseLeasesOn(node, &actions);
  LoseBundlesOn(node, &actions);
  FailImpossible(&actions);
  GrantAll(now, &actions);
  return actions;
}

// Which of the grants had reached their clients these know, so they are asked.
void Scheduler::LoseLeasesOn(std::uint32_t node, Actions* actions) {
  absl::btree_set<std::pair<ProcessId, std::uint32_t>> to_ask;
  for (Lease* lease : std::vector<Lease*>(leases_.LeasesOn(node))) {
    DemandQueue* queue = lease->queue;
    queue->lost_grants = true;
    Forget(lease);
    if (queue->client == kHead) {
      actions->push_back(PlacementLost{queue->key});
    } else if (!queue->gone) {
      to_ask.emplace(queue->client, queue->key);
    }
    ForgetIfIdle(queue);
  }
  for (const auto& [client, key] : to_ask) actions->push_back(Send{client, LeasesLost{key}});
}

// ---- demands -------------------------------------------------------------------------------------------------------

Scheduler::Actions Scheduler::OnDemand(ProcessId client, const LeaseDemand& demand, Time now) {
  Actions actions;
  DemandQueue* queue = leases_.FindQueue(client, demand.key);
  if (queue == nullptr) {
    if (demand.count == 0) return actions;
    queue = leases_.AddQueue(client, demand.key);
    queue->granted = demand.received;
  }
  SetClass(queue, demand);
  const std::uint32_t wanted = demand.count - std::min(demand.count, GrantsUnderWay(queue, demand));
  SetWanted(queue, wanted, now);
  const bool removed = IsRemoved(demand.lease_class.group);
  const bool impossible = wanted > 0 && (removed || IsImpossible(*queue->candidates));
  if (impossible) Fail(queue, removed ? kGroupRemovedText : ImpossibleText(*queue->candidates), &actions);
  if (wanted == 0) ForgetIfIdle(queue);
  GrantAll(now, &actions);
  if (wanted > 0 && !impossible && queue->wanted > 0) Reclaim(queue, now, &actions);
  return actions;
}

// Which grants of a lost node the client has seen is not known: then those under way may be given twice, and the client
// returns what it does not need.
std::uint32_t Scheduler::GrantsUnderWay(DemandQueue* queue, const LeaseDemand& demand) {
  if (queue->client == kHead) return 0;
  if (std::exchange(queue->lost_grants, false) || demand.received > queue->granted) queue->granted = demand.received;
  return queue->granted - demand.received;
}

void Scheduler::SetClass(DemandQueue* queue, const LeaseDemand& demand) {
  queue->name = demand.name;
  queue->locality = demand.locality;
  if (queue->lease_class != nullptr && *queue->lease_class == demand.lease_class) return;
  queue->lease_class = std::make_shared<const LeaseClass>(demand.lease_class);
  const PlacementShape shape = ShapeOf(demand.lease_class);
  if (queue->candidates != nullptr && queue->candidates->shape() == shape) return;
  StopWaiting(queue);
  if (queue->candidates != nullptr) policy_.Release(queue->candidates);
  queue->candidates = policy_.Acquire(shape);
}

void Scheduler::SetWanted(DemandQueue* queue, std::uint32_t wanted, Time now) {
  if (queue->wanted == 0 && wanted > 0) JoinLine(queue, now);
  if (wanted == 0) StopWaiting(queue);
  queue->wanted = wanted;
}

void Scheduler::JoinLine(DemandQueue* queue, Time now) {
  TickSoon(now);
  lines_.Join(queue);
  if (&queue->line->queues.front() == queue) queue->line->warn_at = now + kWarnAfter;
  queue->near_until = now + kNearPatience;
}

void Scheduler::LeaveLine(DemandQueue* queue) {
  lines_.Leave(queue);
  reclaimer_.OnServed(queue);
}

void Scheduler::StopWaiting(DemandQueue* queue) {
  if (queue->wanted > 0) LeaveLine(queue);
  queue->wanted = 0;
}

void Scheduler::ForgetIfIdle(DemandQueue* queue) {
  if (queue->wanted > 0 || !queue->leases.empty()) return;
  policy_.Release(queue->candidates);
  leases_.EraseQueue(queue);
}

void Scheduler::Fail(DemandQueue* queue, const std::string& error, Actions* actions) {
  StopWaiting(queue);
  ++counts_.failures;
  actions->push_back(Send{queue->client, LeaseFailed{queue->key, error, IsRemoved(queue->lease_class->group)}});
  ForgetIfIdle(queue);
}

void Scheduler::FailImpossible(Actions* actions) {
  std::vector<DemandQueue*> impossible;
  for (const auto& [turn, line] : lines_.by_turn()) {
    if (!IsImpossible(*line->shape)) continue;
    for (DemandQueue& queue : line->queues) impossible.push_back(&queue);
  }
  for (DemandQueue* queue : impossible) Fail(queue, ImpossibleText(*queue->candidates), actions);
}

Scheduler::Actions Scheduler::OnClientGone(ProcessId client, const std::string& cause, Time now) {
  Actions actions;
  DropClient(client, cause, &actions);
  GrantAll(now, &actions);  // a reservation may have ended
  return actions;
}

void Scheduler::DropClient(ProcessId client, const std::string& cause, Actions* actions) {
  for (DemandQueue* queue : leases_.QueuesOf(client)) {
    if (queue->gone) continue;
    queue->gone = true;
    StopWaiting(queue);
    for (const Lease* lease : queue->leases) {
      if (cluster_.Find(lease->node) == nullptr) continue;
      const std::string reason = fmt::format("its client {} is gone: {}", ToString(client), cause);
      actions->push_back(Send{ProcessId{lease->node, 0}, KillWorker{lease->id, reason}});
    }
    ForgetIfIdle(queue);
  }
  RemoveGroupsOf(client, actions);
}

// ---- grants --------------------------------------------------------------------------------------------------------

// Serves the lines in turn until nothing fits any more. Costs O(lines + grants * log nodes).
void Scheduler::GrantAll(Time now, Actions* actions) {
  PlaceGroups(actions);
  if (lines_.empty()) return;
  GrantReserved(now, actions);
  stuck_.clear();
  for (auto next = lines_.by_turn().begin(); next != lines_.by_turn().end();) {
    const std::uint64_t turn = next->first;
    next = GrantFirst(next->second, now, actions) ? lines_.by_turn().lower_bound(turn) : std::next(next);
  }
}

// Grants a lease to the first queue of the line that takes any node. One that finds none is stuck.
bool Scheduler::GrantFirst(Line* line, Time now, Actions* actions) {
  const auto takes_any = [now](const DemandQueue& queue) { return !queue.WaitsForItsNode(now); };
  const auto first = std::find_if(line->queues.begin(), line->queues.end(), takes_any);
  if (first == line->queues.end()) return false;
  DemandQueue* queue = &*first;
  const std::uint32_t home = queue->client == kHead ? queue->locality : queue->client.node;
  const auto node = line->shape->Pick({queue->DataNode(), home, reclaimer_.reserved_node()});
  if (!node) {
    if (Reclaimer::MayStarve(*queue)) stuck_.push_back(queue);
    return false;
  }
  Grant(queue, *node, now, actions);
  for (DemandQueue* passed : stuck_) {
    if (passed->candidates->IsFeasible(*node)) reclaimer_.OnOvertaken(passed, now);
  }
  return true;
}

void Scheduler::GrantReserved(Time now, Actions* actions) {
  DemandQueue* queue = reclaimer_.reserved_for();
  if (queue == nullptr) return;
  const std::uint32_t node = *reclaimer_.reserved_node();
  if (queue->candidates->IsReady(node)) Grant(queue, node, now, actions);
}

void Scheduler::Grant(DemandQueue* queue, std::uint32_t node, Time now, Actions* actions) {
  Lease* lease = leases_.AddLease(queue, node);
  policy_.Share(lease->shape);
  lease->ask_after = now + Reclaimer::kSlice;
  cluster_.Take(node, lease->held());
  AssignedUnits units;
  if (!lease->shape->units().Empty()) {
    lease->special = std::make_unique<Lease::Special>();
    lease->special->units = *cluster_.books(node).Choose(lease->shape->units());
    cluster_.TakeUnits(node, lease->special->units);
    units = lease->special->units.Numbers();
  }
  policy_.OnChanged(node);
  ++counts_.grants;
  ++queue->granted;
  actions->push_back(
      Send{ProcessId{node, 0}, StartLease{lease->id, queue->client, queue->key, queue->lease_class, std::move(units)}});
  TickSoon(now);
  if (--queue->wanted == 0) return LeaveLine(queue);
  reclaimer_.OnServed(queue);
  lines_.ToEnd(queue);
}

// ---- leases --------------------------------------------------------------------------------------------------------

Scheduler::Actions Scheduler::OnLeaseEnded(const LeaseEnded& ended, Time now) {
  Actions actions;
  Lease* lease = leases_.FindLease(ended.lease);
  if (lease == nullptr) return actions;
  DemandQueue* queue = lease->queue;
  if (!ended.granted && queue->granted > 0) --queue->granted;
  End(lease);
  if (queue->client == kHead && ended.error.empty()) actions.push_back(PlacementLost{queue->key});
  if (!ended.error.empty() && !queue->gone) {
    Fail(queue, ended.error, &actions);
  } else {
    ForgetIfIdle(queue);
  }
  GrantAll(now, &actions);
  return actions;
}

void Scheduler::End(Lease* lease) {
  const std::uint32_t node = lease->node;
  cluster_.Give(node, lease->Taken());
  if (lease->HasUnits()) cluster_.GiveUnits(node, lease->special->units);
  policy_.OnChanged(node);
  Forget(lease);
}

void Scheduler::Forget(Lease* lease) {
  policy_.Release(lease->shape);
  leases_.EraseLease(lease);
}

void Scheduler::ChangeLease(Lease* lease, absl::FunctionRef<void()> change) {
  cluster_.Give(lease->node, lease->Taken());
  change();
  cluster_.Take(lease->node, lease->Taken());
  if (lease->HasUnits() && UnitAsk::Of(lease->held()).Empty()) {
    cluster_.GiveUnits(lease->node, lease->special->units);
    lease->special->units = Units();
  }
  policy_.OnChanged(lease->node);
}

Scheduler::Actions Scheduler::OnBlocked(LeaseId id, Time now) {
  Actions actions;
  Lease* lease = leases_.FindLease(id);
  if (lease == nullptr) return actions;
  ChangeLease(lease, [&] { leases_.SetBlocked(lease, true); });
  GrantAll(now, &actions);
  return actions;
}

Scheduler::Actions Scheduler::OnUnblocked(LeaseId id, Time) {
  Lease* lease = leases_.FindLease(id);
  if (lease != nullptr) ChangeLease(lease, [&] { leases_.SetBlocked(lease, false); });
  return {};
}

void Scheduler::SetHeld(Lease* lease, const ResourceSet& held) {
  if (lease->held() == held) return;
  ChangeLease(lease, [&] {
    if (lease->special == nullptr) lease->special = std::make_unique<Lease::Special>();
    lease->special->held = held;
  });
}

Scheduler::Actions Scheduler::SetHeld(LeaseId id, const ResourceSet& held, Time now) {
  Actions actions;
  Lease* lease = leases_.FindLease(id);
  if (lease == nullptr) return actions;
  SetHeld(lease, held);
  GrantAll(now, &actions);
  return actions;
}

std::optional<std::uint32_t> Scheduler::NodeOf(LeaseId id) const {
  const Lease* lease = leases_.FindLease(id);
  return lease == nullptr ? std::nullopt : std::optional(lease->node);
}

// ---- fairness ------------------------------------------------------------------------------------------------------

Scheduler::Actions Scheduler::OnTick(Time now) {
  Actions actions;
  reclaimer_.Expire(now);
  GrantAll(now, &actions);
  ServeWaiting(now, &actions);
  WarnOfInfeasible(now, &actions);
  PlanTick(!actions.empty(), now);
  return actions;
}

// The first queues of each line come first when something is given back, so it is asked back for them.
void Scheduler::ServeWaiting(Time now, Actions* actions) {
  constexpr int kQueuesPerLine = 16;
  for (const auto& [turn, line] : lines_.by_turn()) {
    if (line->shape->feasible() == 0) continue;
    reclaimer_.Consider(&line->queues.front(), now);
    int left = kQueuesPerLine;
    for (auto queue = line->queues.begin(); queue != line->queues.end() && left > 0; ++queue, --left) {
      Reclaim(&*queue, now, actions);
    }
  }
}

void Scheduler::Reclaim(DemandQueue* queue, Time now, Actions* actions) {
  for (const Lease* lease : reclaimer_.Ask(queue, now)) {
    ++counts_.reclaims;
    actions->push_back(Send{lease->queue->client, LeaseReclaim{lease->id}});
  }
}

void Scheduler::TickSoon(Time now) {
  if (!lines_.empty() && next_tick_ <= now + Reclaimer::kSlice) return;
  tick_gap_ = Reclaimer::kSlice;
  next_tick_ = now + tick_gap_;
}

// Ticks grow rarer while they bring nothing, but not while somebody waits for its node, which is for a few of them;
// they wait for the next warning while nothing could.
void Scheduler::PlanTick(bool busy, Time now) {
  const auto& lines = lines_.by_turn();
  const bool near = std::any_of(lines.begin(), lines.end(),
                                [now](const auto& item) { return item.second->queues.front().WaitsForItsNode(now); });
  tick_gap_ = busy || near ? Reclaimer::kSlice : std::clamp(2 * tick_gap_, Reclaimer::kSlice, kMaxTickGap);
  next_tick_ = Time::max();
  for (const auto& [turn, line] : lines) {
    next_tick_ = std::min(next_tick_, line->shape->feasible() > 0 ? now + tick_gap_ : line->warn_at);
  }
}

std::optional<Time> Scheduler::NextTick() const { return lines_.empty() ? std::nullopt : std::optional(next_tick_); }

}  // namespace ray_engine
