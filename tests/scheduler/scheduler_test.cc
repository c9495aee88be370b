// What the scheduler does with demands, leases, nodes and clients. Placement and fairness have files of their own.

#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

using SchedulerTest = SchedulerFixture;

TEST_F(SchedulerTest, GrantsAsManyLeasesAsFitAndTheRestWhenLeasesEnd) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 3, Cpus(1));
  const auto starts = TakeStarts();
  ASSERT_EQ(starts.size(), 2u);
  EXPECT_EQ(scheduler_.Stats().waiting_leases, 1u);
  EXPECT_TRUE(Available(0).Empty());
  EndLease(starts[0].lease);
  EXPECT_EQ(TakeStart().client, driver_);
  EXPECT_EQ(scheduler_.Stats().waiting_leases, 0u);
  EXPECT_EQ(scheduler_.NextTick(), std::nullopt);
}

TEST_F(SchedulerTest, ADemandReplacesTheLastOneOfItsKey) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 5, Cpus(1));
  const LeaseId first = TakeStart().lease;
  Demand(driver_, 1, 1, Cpus(1));
  EndLease(first);
  const LeaseId second = TakeStart().lease;
  EndLease(second);
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, AWithdrawnDemandIsForgotten) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 2, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  Demand(driver_, 1, 0, Cpus(1));
  EndLease(lease);
  Demand(driver_, 2, 0, Cpus(1));
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, ADemandMayChangeItsClass) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(2));
  EXPECT_EQ(scheduler_.Stats().waiting_leases, 1u);
  Demand(driver_, 1, 1, Cpus(0.5));
  EXPECT_EQ(TakeStart().key, 1u);
}

TEST_F(SchedulerTest, AFractionOfAResourceIsExact) {
  AddNode(0, Resources({{"CPU", 1}, {"disk", 1}}));
  Demand(driver_, 1, 11, Resources({{"disk", 0.1}}));
  EXPECT_EQ(TakeStarts().size(), 10u);
  EXPECT_EQ(Available(0), Cpus(1));
}

TEST_F(SchedulerTest, ARequestOfNothingIsServedByANodeWithoutCpu) {
  AddNode(0, ResourceSet());
  Demand(driver_, 1, 3, ResourceSet());
  EXPECT_EQ(TakeStarts().size(), 3u);
}

TEST_F(SchedulerTest, GrantsUnderWayAreNotGivenTwice) {
  AddNode(0, Cpus(8));
  Demand(driver_, 1, 1, Cpus(1));
  Demand(driver_, 1, 2, Cpus(1));  // the client has seen no grant yet
  Demand(driver_, 1, 4, Cpus(1));
  EXPECT_EQ(TakeStarts().size(), 4u);
  Demand(driver_, 1, 2, Cpus(1));  // now it has seen all, and wants more
  EXPECT_EQ(TakeStarts().size(), 2u);
}

TEST_F(SchedulerTest, AGrantThatNeverLeftIsGivenAgain) {
  AddNode(0, Cpus(8));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId first = std::get<StartLease>(std::get<Scheduler::Send>(actions_.at(0)).message).lease;
  actions_.clear();
  Do(scheduler_.OnLeaseEnded({first, "no worker could be started", false}, now_));
  Take<LeaseFailed>();
  Demand(driver_, 1, 1, Cpus(1));
  EXPECT_EQ(TakeStarts().size(), 1u);
}

TEST_F(SchedulerTest, GrantsOfALostNodeThatHaveNotArrivedAreGivenAgain) {
  AddNode(0, Cpus(8)), AddNode(1, Cpus(8));
  Demand(driver_, 1, 2, OnNode(1, Cpus(1), true));
  actions_.clear();  // nothing of it has arrived
  Do(scheduler_.OnNodeLost(1, "lost", now_));
  Take<LeasesLost>();
  Demand(driver_, 1, 2, OnNode(1, Cpus(1), true));
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{0, 0}));
}

TEST_F(SchedulerTest, ABlockedLeaseGivesBackItsCpuButNotItsGpu) {
  AddNode(0, Resources({{"CPU", 1}, {"GPU", 1}, {"memory", 100}}));
  Demand(driver_, 1, 1, Resources({{"CPU", 1}, {"GPU", 1}, {"memory", 60}}));
  const LeaseId outer = TakeStart().lease;
  Demand(worker_, 1, 1, Cpus(1));
  Do(scheduler_.OnBlocked(outer, now_));
  EXPECT_EQ(TakeStart().client, worker_);
  EXPECT_EQ(Available(0), Resources({{"memory", 40}}));
}

TEST_F(SchedulerTest, AnUnblockedLeaseTakesItsCpuBackAtOnceEvenBelowZero) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId outer = TakeStart().lease;
  Do(scheduler_.OnBlocked(outer, now_));
  Do(scheduler_.OnBlocked(outer, now_));
  Demand(worker_, 1, 2, Cpus(1));
  const LeaseId inner = TakeStart().lease;
  Do(scheduler_.OnUnblocked(outer, now_));
  Do(scheduler_.OnUnblocked(outer, now_));
  EXPECT_EQ(Available(0), Cpus(-1));
  EndLease(inner);
  EXPECT_TRUE(Available(0).Empty());
  EndLease(outer);
  EXPECT_EQ(TakeStart().client, worker_);
}

TEST_F(SchedulerTest, RecursionGoesAsDeepAsItLikesOnOneCpu) {
  AddNode(0, Cpus(1));
  std::vector<LeaseId> chain;
  for (std::uint32_t depth = 0; depth < 200; ++depth) {
    Demand(ProcessId{0, depth + 1}, 1, 1, Cpus(1));
    chain.push_back(TakeStart().lease);
    Do(scheduler_.OnBlocked(chain.back(), now_));
  }
  EXPECT_EQ(scheduler_.Stats().blocked, 200u);
  while (!chain.empty()) {
    Do(scheduler_.OnUnblocked(chain.back(), now_));
    EndLease(chain.back());
    chain.pop_back();
  }
  EXPECT_EQ(Available(0), Cpus(1));
}

TEST_F(SchedulerTest, AnActorHoldsItsPlacementResourcesUntilItRuns) {
  AddNode(0, Cpus(1));
  Demand(kHead, 1, 1, Cpus(1));
  Demand(kHead, 2, 1, Cpus(1));
  const LeaseId first = TakeStart().lease;
  Do(scheduler_.SetHeld(first, ResourceSet(), now_));
  EXPECT_EQ(TakeStart().key, 2u);
  EndLease(first);
  EXPECT_EQ(TakeKind<Scheduler::PlacementLost>().at(0).key, 1u);
  EXPECT_TRUE(Available(0).Empty());
}

TEST_F(SchedulerTest, AnActorBlockedInItsConstructorMayShrinkWhatItHolds) {
  AddNode(0, Cpus(2));
  Demand(kHead, 1, 1, Cpus(2));
  const LeaseId lease = TakeStart().lease;
  Do(scheduler_.OnBlocked(lease, now_));
  Do(scheduler_.SetHeld(lease, Cpus(1), now_));
  EXPECT_EQ(Available(0), Cpus(2));
  Do(scheduler_.OnUnblocked(lease, now_));
  EXPECT_EQ(Available(0), Cpus(1));
}

TEST_F(SchedulerTest, AWorkerThatCannotStartFailsItsDemand) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 3, Cpus(1));
  EndLease(TakeStart().lease, "no such environment");
  const auto failed = Take<LeaseFailed>();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].first, driver_);
  EXPECT_EQ(failed[0].second.key, 1u);
  EXPECT_EQ(failed[0].second.error, "no such environment");
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, EventsOfUnknownLeasesAreIgnored) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  EndLease(lease);
  EndLease(lease);
  Do(scheduler_.OnBlocked(lease, now_));
  Do(scheduler_.OnUnblocked(lease, now_));
  Do(scheduler_.SetHeld(lease, Cpus(1), now_));
  Do(scheduler_.OnNodeLost(7, "never there", now_));
  EXPECT_EQ(scheduler_.NodeOf(lease), std::nullopt);
}

TEST_F(SchedulerTest, TheWorkersOfAClientThatIsGoneAreKilledAndItsDemandDropped) {
  AddNode(0, Cpus(1));
  Demand(worker_, 1, 2, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  Do(scheduler_.OnClientGone(worker_, "killed by signal 9", now_));
  const auto kills = Take<KillWorker>();
  ASSERT_EQ(kills.size(), 1u);
  EXPECT_EQ(kills[0].first, (ProcessId{0, 0}));
  EXPECT_EQ(kills[0].second.lease, lease);
  EXPECT_EQ(kills[0].second.reason, "its client 0.2 is gone: killed by signal 9");
  EXPECT_TRUE(Available(0).Empty());  // until the worker is really gone
  Do(scheduler_.OnClientGone(worker_, "told twice", now_));
  EndLease(lease);
  EXPECT_EQ(Available(0), Cpus(1));
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, WhoHadLeasesOnALostNodeIsAskedOnceHowManyItWants) {
  AddNode(0, Cpus(1));
  AddNode(1, Cpus(1));
  Demand(driver_, 1, 2, Cpus(1));
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{0, 1}));
  Do(scheduler_.OnNodeLost(1, "lost its network", now_));
  const auto questions = Take<LeasesLost>();
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(questions[0].first, driver_);
  EXPECT_EQ(questions[0].second.key, 1u);
  EXPECT_EQ(scheduler_.Stats().waiting_leases, 0u);  // the client may not need them any more
  EXPECT_FALSE(scheduler_.cluster().nodes()[1].alive);
  EXPECT_EQ(scheduler_.cluster().nodes()[1].death_reason, "lost its network");
  Demand(driver_, 1, 1, Cpus(1));
  AddNode(2, Cpus(1));
  EXPECT_EQ(TakeStart().node, 2u);
}

TEST_F(SchedulerTest, ActorsOnALostNodeAreReportedNotPlacedAgain) {
  AddNode(0, ResourceSet());
  AddNode(1, Cpus(1));
  Demand(kHead, 5, 1, Cpus(1));
  EXPECT_EQ(TakeStart().node, 1u);
  Do(scheduler_.OnNodeLost(1, "", now_));
  EXPECT_EQ(TakeKind<Scheduler::PlacementLost>().at(0).key, 5u);
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, ClientsOnALostNodeAreGone) {
  AddNode(0, Cpus(1));
  AddNode(1, Cpus(1));
  Demand(far_worker_, 1, 3, Cpus(1));
  const auto starts = TakeStarts();
  ASSERT_EQ(starts.size(), 2u);
  Do(scheduler_.OnNodeLost(1, "gone", now_));
  const auto kills = Take<KillWorker>();  // only of the living node
  ASSERT_EQ(kills.size(), 1u);
  EXPECT_EQ(kills[0].first, (ProcessId{0, 0}));
  EndLease(kills[0].second.lease);
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(SchedulerTest, WarnsOnceThatNoNodeCanEverServeARequestAndWhy) {
  AddNode(0, Cpus(4));
  Demand(driver_, 1, 2, Resources({{"CPU", 1}, {"GPU", 1}}));
  ASSERT_TRUE(scheduler_.NextTick());
  Tick(milliseconds(5));
  EXPECT_EQ(scheduler_.NextTick(), seconds(2));
  Tick(seconds(1));
  const auto warnings = TakeKind<Scheduler::Warn>();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].job, JobId::FromBinary("job1"));
  EXPECT_EQ(warnings[0].text,
            "No node can serve f1, which needs {CPU: 1, GPU: 1}. 2 such requests wait until a node joins that can.\n"
            "node 0 (host0): GPU 0, 1 needed");
  Tick(seconds(10));
  AddNode(1, Resources({{"CPU", 2}, {"GPU", 2}}));
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{1, 1}));
}

TEST_F(SchedulerTest, DoesNotWarnOfARequestThatOnlyWaitsItsTurn) {
  AddNode(0, Cpus(1));
  Demand(kHead, 1, 1, Cpus(1));
  TakeStart();
  Demand(driver_, 1, 1, Cpus(1));
  for (int i = 0; i < 100; ++i) Tick(seconds(1));
}

TEST_F(SchedulerTest, TicksGrowRarerWhileTheyBringNothing) {
  AddNode(0, Cpus(1));
  Demand(kHead, 1, 1, Cpus(1));
  TakeStart();
  Demand(driver_, 1, 1, Cpus(1));
  EXPECT_EQ(scheduler_.NextTick(), now_ + milliseconds(5));
  for (int i = 0; i < 10; ++i) {
    now_ = *scheduler_.NextTick();
    Do(scheduler_.OnTick(now_));
  }
  EXPECT_EQ(scheduler_.NextTick(), now_ + milliseconds(100));
}

TEST_F(SchedulerTest, ExplainsNodeByNodeWhyADemandWaits) {
  AddNode(0, Resources({{"CPU", 4}, {"memory", 10}}));
  AddNode(1, Resources({{"CPU", 1}, {"memory", 10}}));
  Demand(kHead, 1, 1, Cpus(3));
  TakeStart();
  Demand(driver_, 1, 2, Cpus(2));
  EXPECT_EQ(scheduler_.Explain(driver_, 1),
            "f1 holds 0 leases and waits for 2 more, each with {CPU: 2}\n"
            "node 0 (host0): CPU 1 free of 4, 2 needed\n"
            "node 1 (host1): CPU 1, 2 needed");
  EXPECT_EQ(scheduler_.Explain(driver_, 2), "nothing is asked for or held");
  EXPECT_EQ(scheduler_.Explain(kHead, 1), "f1 waits for nothing and holds 1 leases");
}

TEST_F(SchedulerTest, TellsWhatWaitsByKindOfRequestInOrder) {
  AddNode(0, Cpus(1));
  EXPECT_TRUE(scheduler_.Demands().empty());
  Demand(driver_, 1, 3, Cpus(1));
  TakeStart();
  Demand(driver_, 2, 1, MakeClass(Cpus(2), LeaseClass::kSpread));
  Demand(kHead, 1, 1, Cpus(1));
  const std::vector<DemandInfo> demands = scheduler_.Demands();
  ASSERT_EQ(demands.size(), 2u);
  EXPECT_EQ(demands[0].resources, Cpus(1));
  EXPECT_EQ(demands[0].count, 3u);  // two tasks and an actor
  EXPECT_EQ(demands[0].refusals, "node 0 (host0): CPU 0 free of 1, 1 needed");
  EXPECT_EQ(demands[1].resources, Cpus(2));
  EXPECT_EQ(demands[1].count, 1u);
  EXPECT_EQ(demands[1].need, "{CPU: 2} (SPREAD)");
  EXPECT_EQ(demands[1].refusals, "node 0 (host0): CPU 1, 2 needed");
}

TEST_F(SchedulerTest, WithoutAnyNodeItSaysSo) {
  Demand(driver_, 1, 1, Cpus(1));
  EXPECT_EQ(
      scheduler_.Explain(driver_, 1),
      "f1 holds 0 leases and waits for 1 more, each with {CPU: 1}; no node can ever serve it\nthere is no node yet");
  AddNode(0, Cpus(1));
  TakeStart();
}

}  // namespace
}  // namespace ray_engine
