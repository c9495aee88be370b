#include "scheduler/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

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
  policy_.OnJoinedOrLost(node.index);
  FailImpossible(&actions);
  TickSoon(now);
  GrantAll(now, &actions);
  return actions;
}

Scheduler::Actions Scheduler::OnNodeLost(std::uint32_t node, const std::string& reason, Time now) {
  Actions actions;
  if (cluster_.Find(node) == nullptr) return actions;
  cluster_.Remove(node, reason);
  policy_.OnJoinedOrLost(node);
  reclaimer_.OnNodeLost(node);
  for (const ProcessId client : leases_.ClientsOn(node)) DropClient(client, reason, &actions);
  LoseLeasesOn(node, now, &actions);
  LoseBundlesOn(node, &actions);
  FailImpossible(&actions);
  GrantAll(now, &actions);
  return actions;
}

// Nobody knows which of the grants had reached their clients, so all count as wanted again, until the next demand.
void Scheduler::LoseLeasesOn(std::uint32_t node, Time now, Actions* actions) {
  LeasesOnNode& lost = leases_.LeasesOn(node);
  while (!lost.empty()) {
    DemandQueue* queue = lost.front().queue;
    queue->lost_grants = true;
    leases_.EraseLease(&lost.front());
    if (queue->client == kHead) {
      actions->push_back(PlacementLost{queue->key});
    } else if (!queue->gone) {
      SetWanted(queue, queue->wanted + 1, now);
    }
    ForgetIfIdle(queue);
  }
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
  queue->lease_class = demand.lease_class;
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
  Line& line = waiting_[queue->candidates];
  if (line.queues.empty()) line.warn_at = now + kWarnAfter;
  queue->turn = ++last_turn_;
  queue->place = line.queues.insert(line.queues.end(), queue);
  queue->near_until = now + kNearPatience;
}

void Scheduler::LeaveLine(DemandQueue* queue) {
  const auto line = waiting_.find(queue->candidates);
  line->second.queues.erase(queue->place);
  if (line->second.queues.empty()) waiting_.erase(line);
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
  actions->push_back(Send{queue->client, LeaseFailed{queue->key, error, IsRemoved(queue->lease_class.group)}});
  ForgetIfIdle(queue);
}

void Scheduler::FailImpossible(Actions* actions) {
  std::vector<DemandQueue*> impossible;
  for (const auto& [turn, shape] : LinesByTurn()) {
    if (!IsImpossible(*shape)) continue;
    const Line& line = waiting_.at(shape);
    impossible.insert(impossible.end(), line.queues.begin(), line.queues.end());
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
    for (const Lease& lease : queue->leases) {
      if (cluster_.Find(lease.node) == nullptr) continue;
      const std::string reason = fmt::format("its client {} is gone: {}", ToString(client), cause);
      actions->push_back(Send{ProcessId{lease.node, 0}, KillWorker{lease.id, reason}});
    }
    ForgetIfIdle(queue);
  }
  RemoveGroupsOf(client, actions);
}

// ---- grants --------------------------------------------------------------------------------------------------------

// Serves the lines in turn until nothing fits any more. Costs O(lines + grants * log nodes).
void Scheduler::GrantAll(Time now, Actions* actions) {
  PlaceGroups(actions);
  if (waiting_.empty()) return;
  GrantReserved(now, actions);
  std::vector<Turn> heap = LinesByTurn();  // sorted, so a heap already
  std::vector<DemandQueue*> stuck;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    Candidates* shape = heap.back().second;
    heap.pop_back();
    if (!GrantFirst(shape, &stuck, now, actions)) continue;
    const auto line = waiting_.find(shape);
    if (line == waiting_.end()) continue;
    heap.emplace_back(line->second.queues.front()->turn, shape);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
}

DemandQueue* Scheduler::FirstToServe(Candidates* shape, Time now) {
  const std::list<DemandQueue*>& line = waiting_.at(shape).queues;
  const auto takes_any = [now](const DemandQueue* queue) { return !queue->WaitsForItsNode(now); };
  const auto first = std::find_if(line.begin(), line.end(), takes_any);
  return first == line.end() ? nullptr : *first;
}

// Grants a lease to the first queue of the line that takes any node, or adds that queue to the stuck ones.
bool Scheduler::GrantFirst(Candidates* shape, std::vector<DemandQueue*>* stuck, Time now, Actions* actions) {
  DemandQueue* queue = FirstToServe(shape, now);
  if (queue == nullptr) return false;
  const std::uint32_t home = queue->client == kHead ? queue->locality : queue->client.node;
  const auto node = shape->Pick({queue->DataNode(), home, reclaimer_.reserved_node()});
  if (!node) {
    stuck->push_back(queue);
    return false;
  }
  Grant(queue, *node, now, actions);
  for (DemandQueue* passed : *stuck) {
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
  lease->held = queue->lease_class.resources;
  lease->ask_after = now + Reclaimer::kSlice;
  lease->units = *cluster_.books(node).Choose(queue->candidates->units());
  cluster_.Take(node, lease->held);
  cluster_.TakeUnits(node, lease->units);
  policy_.OnChanged(node);
  ++counts_.grants;
  ++queue->granted;
  actions->push_back(Send{ProcessId{node, 0}, StartLease{lease->id, queue->client, queue->key, queue->lease_class,
                                                         lease->units.Numbers()}});
  TickSoon(now);
  if (--queue->wanted == 0) return LeaveLine(queue);
  reclaimer_.OnServed(queue);
  std::list<DemandQueue*>& line = waiting_.at(queue->candidates).queues;
  line.splice(line.end(), line, queue->place);
  queue->turn = ++last_turn_;
}

std::vector<Scheduler::Turn> Scheduler::LinesByTurn() const {
  std::vector<Turn> lines;
  lines.reserve(waiting_.size());
  for (const auto& [shape, line] : waiting_) lines.emplace_back(line.queues.front()->turn, shape);
  std::sort(lines.begin(), lines.end());
  return lines;
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
  cluster_.GiveUnits(node, lease->units);
  policy_.OnChanged(node);
  leases_.EraseLease(lease);
}

void Scheduler::ChangeLease(Lease* lease, absl::FunctionRef<void()> change) {
  cluster_.Give(lease->node, lease->Taken());
  change();
  cluster_.Take(lease->node, lease->Taken());
  if (!lease->units.Empty() && UnitAsk::Of(lease->held).Empty()) {
    cluster_.GiveUnits(lease->node, lease->units);
    lease->units = Units();
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

Scheduler::Actions Scheduler::SetHeld(LeaseId id, const ResourceSet& held, Time now) {
  Actions actions;
  Lease* lease = leases_.FindLease(id);
  if (lease == nullptr) return actions;
  ChangeLease(lease, [&] { lease->held = held; });
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
  for (const auto& [turn, shape] : LinesByTurn()) {
    if (shape->feasible() == 0) continue;
    const std::list<DemandQueue*>& queues = waiting_.at(shape).queues;
    reclaimer_.Consider(queues.front(), now);
    int left = kQueuesPerLine;
    for (auto it = queues.begin(); it != queues.end() && left > 0; ++it, --left) Reclaim(*it, now, actions);
  }
}

void Scheduler::Reclaim(DemandQueue* queue, Time now, Actions* actions) {
  for (const Lease* lease : reclaimer_.Ask(queue, now)) {
    ++counts_.reclaims;
    actions->push_back(Send{lease->queue->client, LeaseReclaim{lease->id}});
  }
}

void Scheduler::TickSoon(Time now) {
  if (!waiting_.empty() && next_tick_ <= now + Reclaimer::kSlice) return;
  tick_gap_ = Reclaimer::kSlice;
  next_tick_ = now + tick_gap_;
}

// Ticks grow rarer while they bring nothing, but not while somebody waits for its node, which is for a few of them;
// they wait for the next warning while nothing could.
void Scheduler::PlanTick(bool busy, Time now) {
  const bool near = std::any_of(waiting_.begin(), waiting_.end(),
                                [now](const auto& item) { return item.second.queues.front()->WaitsForItsNode(now); });
  tick_gap_ = busy || near ? Reclaimer::kSlice : std::clamp(2 * tick_gap_, Reclaimer::kSlice, kMaxTickGap);
  next_tick_ = Time::max();
  for (const auto& [shape, line] : waiting_) {
    next_tick_ = std::min(next_tick_, shape->feasible() > 0 ? now + tick_gap_ : line.warn_at);
  }
}

std::optional<Time> Scheduler::NextTick() const { return waiting_.empty() ? std::nullopt : std::optional(next_tick_); }

}  // namespace ray_engine
