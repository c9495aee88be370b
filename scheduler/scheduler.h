// Scheduler: decides which node runs what. Lives on the head.
//
// Clients (drivers, workers, and the head itself for actors) ask for leases by class; the scheduler picks nodes, keeps
// the books of resources exactly, takes leases back for fairness and explains why a request waits.
//
// Pure state machine: every On...() call takes one event and the time, changes the state and returns what is to be
// done. It never sends, sleeps, reads a clock or starts a thread.
//
// A demand says how many leases the client still waits for, beyond those it has been granted; it replaces the last
// demand of the same (client, key), and each grant takes one off: those too that were under way when the demand was
// sent, which it tells by the number of grants that had arrived.
//
// Actors are placed by demands of client kHead, one key per placement: such a lease is never asked back.
//
// REQUIRES: events of one client or node arrive in order; nothing arrives from it after OnClientGone / OnNodeLost.
// Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "engine/base/ids.h"
#include "engine/wire/messages.h"
#include "scheduler/bundle_placement.h"
#include "scheduler/cluster_view.h"
#include "scheduler/group_table.h"
#include "scheduler/lease_table.h"
#include "scheduler/placement_policy.h"
#include "scheduler/reclaimer.h"
#include "scheduler/waiting_lines.h"

namespace ray_engine {

class Scheduler {
 public:
  // Send this message to that process: StartLease and KillWorker to node engines; LeaseReclaim, LeasesLost, LeaseFailed
  // to clients (to kHead: hand it to the actor directory); GroupUpdate to who made the group.
  struct Send {
    ProcessId to;
    std::variant<StartLease, LeaseReclaim, LeasesLost, LeaseFailed, KillWorker, GroupUpdate> message;
  };
  // Print this at the driver of the job.
  struct Warn {
    JobId job;
    std::string text;
  };
  // A lease of client kHead ended or was lost with its node; the actor directory places anew if it still waits for it.
  struct PlacementLost {
    std::uint32_t key = 0;
  };
  using Action = std::variant<Send, Warn, PlacementLost>;
  using Actions = std::vector<Action>;

  struct Statistics {
    std::uint64_t grants = 0, reclaims = 0, failures = 0;
    std::size_t nodes = 0, queues = 0, waiting_queues = 0, waiting_leases = 0, leases = 0, blocked = 0;
  };

  Scheduler() : policy_(&cluster_), reclaimer_(&leases_, &cluster_) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  Actions OnNodeJoined(const NodeInfo& node, Time now);
  // Its leases are over (no OnLeaseEnded comes for them) and the clients that ran on it are gone. As only the clients
  // of the leases know which grants had arrived, each is asked to say again how many it wants.
  Actions OnNodeLost(std::uint32_t node, const std::string& reason, Time now);

  Actions OnDemand(ProcessId client, const LeaseDemand& demand, Time now);
  Actions OnLeaseEnded(const LeaseEnded& ended, Time now);
  Actions OnBlocked(LeaseId lease, Time now);
  Actions OnUnblocked(LeaseId lease, Time now);
  Actions OnClientGone(ProcessId client, const std::string& cause, Time now);
  // From now on the lease holds `held` only (an actor that runs): all of the units it has, or none.
  Actions SetHeld(LeaseId lease, const ResourceSet& held, Time now);

  // False if the name is taken.
  bool OnGroupCreate(const GroupSpec& spec, ProcessId from, Time now, Actions* actions);
  // Ends what runs in it, and fails what waits for it.
  Actions OnGroupRemove(const PlacementGroupId& id, Time now);
  // The driver of the job has ended: the groups that are bound to it go.
  Actions OnJobEnded(const JobId& job, Time now);
  std::vector<GroupInfo> Groups(const GroupQuery& query);

  Actions OnTick(Time now);
  // When OnTick is due; none if nothing waits.
  std::optional<Time> NextTick() const;

  // Where the lease is, if it is known.
  std::optional<std::uint32_t> NodeOf(LeaseId lease) const;
  const ClusterView& cluster() const { return cluster_; }

  // Why the demand waits, node by node. For people.
  std::string Explain(ProcessId client, std::uint32_t key) const;
  // What waits for leases and why, by kind of request, in the order they are served.
  std::vector<DemandInfo> Demands() const;
  Statistics Stats() const;
  // Empty, or what is wrong. For tests and debug builds.
  std::string CheckInvariants() const;

 private:
  static constexpr Time kNearPatience = 4 * Reclaimer::kSlice;
  static constexpr Time kWarnAfter = std::chrono::seconds(1);
  static constexpr Time kWarnAgainAfter = std::chrono::seconds(60);
  static constexpr char kGroupRemovedText[] = "the placement group it was to run in has been removed";
  static constexpr Time kMaxTickGap = std::chrono::milliseconds(100);

  // Demands.
  static std::uint32_t GrantsUnderWay(DemandQueue* queue, const LeaseDemand& demand);
  void SetWanted(DemandQueue* queue, std::uint32_t wanted, Time now);
  void JoinLine(DemandQueue* queue, Time now);
  void LeaveLine(DemandQueue* queue);
  void StopWaiting(DemandQueue* queue);
  void SetClass(DemandQueue* queue, const LeaseDemand& demand);
  void ForgetIfIdle(DemandQueue* queue);
  void Fail(DemandQueue* queue, const std::string& error, Actions* actions);
  void FailImpossible(Actions* actions);
  void DropClient(ProcessId client, const std::string& cause, Actions* actions);
  void LoseLeasesOn(std::uint32_t node, Actions* actions);

  // Grants.
  void GrantAll(Time now, Actions* actions);
  void GrantReserved(Time now, Actions* actions);
  bool GrantFirst(Line* line, Time now, Actions* actions);
  void Grant(DemandQueue* queue, std::uint32_t node, Time now, Actions* actions);
  void End(Lease* lease);
  void Forget(Lease* lease);
  void SetHeld(Lease* lease, const ResourceSet& held);
  void ChangeLease(Lease* lease, absl::FunctionRef<void()> change);

  // Placement groups.
  void BeginWaiting(Group* group);
  void EndWaiting(Group* group);
  void PlaceGroups(Actions* actions);
  bool PlaceGroup(Group* group);
  static void SetState(Group* group, GroupState state, Actions* actions);
  void LoseBundlesOn(std::uint32_t node, Actions* actions);
  void RemoveGroupsOf(ProcessId creator, Actions* actions);
  void SetBundle(Group* group, std::uint32_t bundle, const BundlePlace& place);
  void RemoveGroup(Group* group, Actions* actions);
  void EndLeasesOf(const Group& group, Actions* actions);
  void FailQueuesOf(const PlacementGroupId& id, Actions* actions);
  bool IsRemoved(const PlacementGroupId& id);
  template <class Condition>
  void RemoveGroupsIf(Condition condition, Actions* actions);
  GroupInfo Describe(const Group& group) const;

  // Fairness and warnings.
  void Reclaim(DemandQueue* queue, Time now, Actions* actions);
  void ServeWaiting(Time now, Actions* actions);
  void WarnOfInfeasible(Time now, Actions* actions);
  void WarnOfGroup(const Group& group, Actions* actions) const;
  void WarnOfLine(const Line& line, Actions* actions) const;
  void TickSoon(Time now);
  void PlanTick(bool busy, Time now);

  // Only one node was asked for, and it cannot be had.
  static bool IsImpossible(const Candidates& shape);

  std::string CheckLeases() const;
  std::string CheckNodes() const;
  std::string CheckUnits(const NodeInfo& node) const;
  std::string CheckLines() const;

  ClusterView cluster_;
  PlacementPolicy policy_;
  LeaseTable leases_;
  Reclaimer reclaimer_;
  GroupTable groups_;
  WaitingLines lines_;
  std::vector<DemandQueue*> stuck_;  // of one GrantAll: those without a node so far, and without a lease
  Time next_tick_{};
  Time tick_gap_{};
  Statistics counts_;  // the three running counts
};

}  // namespace ray_engine
