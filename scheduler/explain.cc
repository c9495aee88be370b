// The part of Scheduler that speaks to people and to tests: explanations, warnings, statistics, invariants.

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/base/accelerators.h"
#include "scheduler/scheduler.h"

namespace ray_engine {
namespace {

std::string Need(const Candidates& shape) {
  switch (shape.shape().strategy) {
    case LeaseClass::kSpread:
      return shape.shape().resources.ToString() + " (SPREAD)";
    case LeaseClass::kNodeAffinity:
      return fmt::format("{} on node {}", shape.shape().resources.ToString(), shape.shape().affinity.Hex());
    case LeaseClass::kDefault:
      break;
  }
  return shape.shape().resources.ToString();
}

const char* StrategyName(GroupSpec::Strategy strategy) {
  static constexpr const char* kNames[] = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"};
  return kNames[strategy];
}

}  // namespace

std::string Scheduler::Explain(ProcessId client, std::uint32_t key) const {
  const DemandQueue* queue = leases_.FindQueue(client, key);
  if (queue == nullptr) return "nothing is asked for or held";
  if (queue->wanted == 0) {
    return fmt::format("{} waits for nothing and holds {} leases", queue->name, queue->leases.size());
  }
  const Candidates& shape = *queue->candidates;
  std::string text = fmt::format("{} holds {} leases and waits for {} more, each with {}", queue->name,
                                 queue->leases.size(), queue->wanted, Need(shape));
  if (shape.feasible() == 0) text += "; no node can ever serve it";
  text += "\n" + shape.Refusals(cluster_);
  if (const auto node = reclaimer_.reserved_node(); node && shape.IsReady(*node)) {
    text += fmt::format("{}: kept for a large request", NodeLabel(*cluster_.Find(*node)));
  }
  return text;
}

std::vector<DemandInfo> Scheduler::Demands() const {
  std::vector<DemandInfo> demands;
  for (const auto& [turn, line] : lines_.by_turn()) {
    DemandInfo& demand = demands.emplace_back();
    demand.resources = line->shape->shape().resources;
    demand.need = Need(*line->shape);
    demand.refusals = line->shape->Refusals(cluster_);
    for (const DemandQueue& queue : line->queues) demand.count += queue.wanted;
  }
  return demands;
}

void Scheduler::WarnOfInfeasible(Time now, Actions* actions) {
  for (const auto& [turn, line] : lines_.by_turn()) {
    if (line->shape->feasible() > 0) {
      line->warn_at = now + kWarnAfter;
    } else if (now >= line->warn_at) {
      line->warn_at = now + kWarnAgainAfter;
      const Group* group = groups_.Find(line->queues.front().lease_class->group);
      group == nullptr ? WarnOfLine(*line, actions) : WarnOfGroup(*group, actions);
    }
  }
}

void Scheduler::WarnOfLine(const Line& line, Actions* actions) const {
  std::map<JobId, std::pair<std::string, std::uint64_t>> jobs;  // first name and number of leases
  for (const DemandQueue& queue : line.queues) {
    auto& [name, wanted] = jobs.try_emplace(queue.lease_class->job, queue.name, 0).first->second;
    wanted += queue.wanted;
  }
  for (const auto& [job, waiting] : jobs) {
    actions->push_back(Warn{
        job, fmt::format("No node can serve {}, which needs {}. {} such request{} until a node joins that can.\n{}",
                         waiting.first, Need(*line.shape), waiting.second, waiting.second == 1 ? " waits" : "s wait",
                         line.shape->Refusals(cluster_))});
  }
}

// A group that waits for others to end is no news.
void Scheduler::WarnOfGroup(const Group& group, Actions* actions) const {
  if (CouldPlaceBundles(cluster_, group.spec, group.nodes)) return;
  std::string bundles;
  for (const Bundle& bundle : group.spec.bundles) {
    bundles += (bundles.empty() ? "" : ", ") + bundle.resources.ToString();
    if (!bundle.selector.empty()) bundles += " with labels " + SelectorText(bundle.selector);
  }
  std::string strategy = StrategyName(group.spec.strategy);
  if (!group.spec.domain_label.empty()) strategy += ", on nodes with one value of " + group.spec.domain_label;
  actions->push_back(
      Warn{group.spec.job, fmt::format("The nodes cannot hold placement group {} ({}), which waits until "
                                       "others join. Its bundles: {}",
                                       group.spec.id.Hex(), strategy, bundles)});
}

Scheduler::Statistics Scheduler::Stats() const {
  Statistics stats = counts_;
  stats.nodes = cluster_.alive();
  stats.queues = leases_.queues().size();
  for (const auto& [id, queue] : leases_.queues()) {
    stats.waiting_queues += queue->wanted > 0;
    stats.waiting_leases += queue->wanted;
  }
  stats.leases = leases_.leases();
  stats.blocked = leases_.blocked();
  return stats;
}

std::string Scheduler::CheckInvariants() const {
  for (const std::string& problem : {policy_.CheckInvariants(), CheckLeases(), CheckNodes(), CheckLines()}) {
    if (!problem.empty()) return problem;
  }
  return "";
}

std::string Scheduler::CheckLeases() const {
  std::size_t leases = 0;
  for (const auto& [id, queue] : leases_.queues()) {
    std::uint32_t active = 0;
    for (const Lease* lease : queue->leases) active += !lease->blocked;
    leases += queue->leases.size();
    if (active != queue->active) return "a queue miscounts its active leases";
    if (queue->wanted == 0 && queue->leases.empty()) return "an idle queue was not forgotten";
    if (queue->gone && queue->wanted > 0) return "a client that is gone waits for leases";
  }
  return leases == leases_.leases() ? "" : "a lease is in no queue";
}

std::string Scheduler::CheckNodes() const {
  for (const NodeInfo& node : cluster_.nodes()) {
    if (!node.alive && !leases_.LeasesOn(node.index).empty()) return "a lost node has leases";
    if (!node.alive) continue;
    ResourceSet sum = node.available;
    for (const Lease* lease : leases_.LeasesOn(node.index)) sum.Add(lease->Taken());
    for (const Group& group : groups_.living()) {
      for (std::uint32_t bundle = 0; bundle < group.nodes.size(); ++bundle) {
        if (group.nodes[bundle] == node.index) sum.Add(group.spec.bundles[bundle].resources);
      }
    }
    if (!(sum == node.total)) {
      return fmt::format("held and available make {} of {}", sum.ToString(), node.total.ToString());
    }
    for (const auto& [name, amount] : node.available.entries()) {
      if (amount < 0 && !IsCpu(name)) return fmt::format("{} was given away beyond what there is", name);
    }
    if (std::string problem = CheckUnits(node); !problem.empty()) return problem;
  }
  return "";
}

// Amounts and units say the same, and once all have given their units back none is missing.
std::string Scheduler::CheckUnits(const NodeInfo& node) const {
  UnitBooks books = cluster_.books(node.index);
  if (std::string problem = books.CheckInvariants(); !problem.empty()) return problem;
  for (const auto& [name, amount] : node.total.entries()) {
    if (IsUnitResource(name) && books.Free(name) != node.available.Get(name)) return name + ": units are not amounts";
  }
  for (const Lease* lease : leases_.LeasesOn(node.index)) {
    if (lease->HasUnits() == UnitAsk::Of(lease->held()).Empty())
      return "a lease has units without amounts, or amounts only";
    if (lease->HasUnits()) books.Give(lease->special->units);
  }
  for (const Group& group : groups_.living()) {
    for (std::uint32_t bundle = 0; bundle < group.nodes.size(); ++bundle) {
      if (group.nodes[bundle] == node.index) books.CloseBundle({group.spec.id.Hex(), bundle});
    }
  }
  return books.CheckAllFree();
}

std::string Scheduler::CheckLines() const {
  std::size_t in_line = 0;
  for (const auto& [turn, line] : lines_.by_turn()) {
    if (line->queues.empty()) return "an empty line was kept";
    if (turn != line->queues.front().turn) return "a line is at the wrong turn";
    if (IsImpossible(*line->shape)) return "a request that cannot be served waits";
    std::uint64_t last = 0;
    for (const DemandQueue& queue : line->queues) {
      if (queue.wanted == 0 || queue.candidates != line->shape || queue.turn <= last) return "a line is out of order";
      last = queue.turn;
    }
    in_line += line->queues.size();
    const auto reserved = reclaimer_.reserved_node();
    const std::size_t kept = reserved && line->shape->IsReady(*reserved) ? 1 : 0;
    // Some may be waiting for the node with their arguments, which is over at the next tick but one.
    const auto takes_any = [](const DemandQueue& queue) { return !queue.WaitsForItsNode(Time{}); };
    if (line->shape->ready() > kept && std::any_of(line->queues.begin(), line->queues.end(), takes_any))
      return "a request waits though a node has room";
  }
  return in_line == Stats().waiting_queues ? "" : "a waiting queue is in no line";
}

}  // namespace ray_engine
