// Who is asked to give leases back, when, and that nobody starves.

#include <map>

#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

class FairnessTest : public SchedulerFixture {
 protected:
  std::vector<LeaseId> TakeReclaims(ProcessId client) {
    std::vector<LeaseId> leases;
    for (const auto& [to, reclaim] : Take<LeaseReclaim>()) {
      EXPECT_EQ(to, client);
      leases.push_back(reclaim.lease);
    }
    return leases;
  }
};

TEST_F(FairnessTest, AsksForAnOldLeaseAtOnce) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  now_ += milliseconds(5);
  Demand(worker_, 1, 1, Cpus(1));
  EXPECT_EQ(TakeReclaims(driver_), std::vector<LeaseId>{lease});
  EndLease(lease);
  EXPECT_EQ(TakeStart().client, worker_);
}

TEST_F(FairnessTest, LeavesAYoungLeaseItsSlice) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  now_ += milliseconds(4);
  Demand(worker_, 1, 1, Cpus(1));
  EXPECT_TRUE(TakeReclaims(driver_).empty());
  now_ = *scheduler_.NextTick();
  Do(scheduler_.OnTick(now_));
  EXPECT_EQ(TakeReclaims(driver_), std::vector<LeaseId>{lease});
}

// Until then a lease on the node with the arguments may come back.
TEST_F(FairnessTest, TheNodeWithTheArgumentsIsWaitedForAMoment) {
  AddNode(0, Cpus(1)), AddNode(1, Cpus(1));
  Demand(driver_, 1, 1, OnNode(1, Cpus(1), false));
  const LeaseId lease = TakeStart().lease;
  now_ += milliseconds(5);
  Demand(driver_, 2, 1, MakeClass(Cpus(1)), 1);
  EXPECT_TRUE(TakeStarts().empty());  // though node 0 has room
  EXPECT_EQ(TakeReclaims(driver_), std::vector<LeaseId>{lease});
  Demand(worker_, 3, 1, Cpus(1));  // who has no wish does not wait behind it
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{0}));
  EndLease(lease);
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{1}));
}

TEST_F(FairnessTest, AYoungLeaseOnTheNodeWithTheArgumentsIsAskedForInTime) {
  AddNode(0, Cpus(1)), AddNode(1, Cpus(1));
  Demand(driver_, 1, 1, OnNode(1, Cpus(1), false));
  const LeaseId lease = TakeStart().lease;
  now_ += milliseconds(1);
  Demand(driver_, 2, 1, MakeClass(Cpus(1)), 1);
  std::vector<LeaseId> asked;
  while (asked.empty() && TakeStarts().empty()) {
    now_ = *scheduler_.NextTick();
    Do(scheduler_.OnTick(now_));
    asked = TakeReclaims(driver_);
  }
  ASSERT_EQ(asked, std::vector<LeaseId>{lease});
  EndLease(lease);
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{1}));
}

TEST_F(FairnessTest, TheNodeWithTheArgumentsIsNotWaitedForLong) {
  AddNode(0, Cpus(1)), AddNode(1, Cpus(1));
  Demand(driver_, 1, 1, OnNode(1, Cpus(1), false));
  TakeStart();
  Demand(driver_, 2, 1, MakeClass(Cpus(1)), 1);
  EXPECT_TRUE(TakeStarts().empty());
  for (int ticks = 0; ticks < 5 && scheduler_.Stats().waiting_leases > 0; ++ticks) {
    now_ = *scheduler_.NextTick();
    Do(scheduler_.OnTick(now_));
  }
  EXPECT_LE(now_, seconds(1) + milliseconds(25));
  EXPECT_EQ(TakeNodes(), (std::vector<std::uint32_t>{0}));
  TakeReclaims(driver_);
}

TEST_F(FairnessTest, AsksAtMostOncePerSliceAndThenMoreRarely) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  TakeStart();
  now_ += milliseconds(5);
  Demand(worker_, 1, 1, Cpus(1));
  EXPECT_EQ(TakeReclaims(driver_).size(), 1u);
  Demand(worker_, 1, 1, Cpus(1));
  Tick(milliseconds(4));
  EXPECT_TRUE(TakeReclaims(driver_).empty());
  std::size_t asked = 0;
  for (int i = 0; i < 1000; ++i) {
    Tick(milliseconds(5));
    asked += TakeReclaims(driver_).size();
  }
  EXPECT_GE(asked, 5u);
  EXPECT_LE(asked, 20u);
}

TEST_F(FairnessTest, AsksTheSameClientForLeasesOfItsOtherClasses) {
  AddNode(0, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId lease = TakeStart().lease;
  now_ += milliseconds(5);
  Demand(driver_, 2, 1, Cpus(1));
  EXPECT_EQ(TakeReclaims(driver_), std::vector<LeaseId>{lease});
}

TEST_F(FairnessTest, NeverAsksActorsNorBlockedLeasesNorWhatWouldNotHelp) {
  AddNode(0, Resources({{"CPU", 2}, {"GPU", 1}, {"disk", 1}}));
  Demand(kHead, 1, 1, Cpus(1));
  Demand(driver_, 1, 1, Cpus(1));
  Demand(driver_, 2, 1, Resources({{"GPU", 1}}));
  const auto starts = TakeStarts();
  ASSERT_EQ(starts.size(), 3u);
  now_ += seconds(1);
  Demand(worker_, 1, 1, Cpus(2));
  EXPECT_EQ(TakeReclaims(driver_), std::vector<LeaseId>{starts[1].lease});
  Do(scheduler_.OnBlocked(starts[1].lease, now_));
  for (int i = 0; i < 100; ++i) Tick(milliseconds(50));
}

TEST_F(FairnessTest, TakesFromTheRichUntilBothHaveTheSame) {
  AddNode(0, Cpus(4));
  Demand(driver_, 1, 10, Cpus(1));
  EXPECT_EQ(TakeStarts().size(), 4u);
  now_ += milliseconds(5);
  Demand(worker_, 1, 10, Cpus(1));
  const auto reclaimed = TakeReclaims(driver_);
  ASSERT_EQ(reclaimed.size(), 2u);
  for (const LeaseId lease : reclaimed) EndLease(lease);
  std::map<ProcessId, int> granted;
  for (const Start& start : TakeStarts()) ++granted[start.client];
  EXPECT_EQ(granted[driver_] + granted[worker_], 2);
}

TEST_F(FairnessTest, LeavesAFairDivisionAlone) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 1, Cpus(1));
  Demand(worker_, 1, 1, Cpus(1));
  EXPECT_EQ(TakeStarts().size(), 2u);
  Demand(driver_, 1, 5, Cpus(1));
  Demand(worker_, 1, 5, Cpus(1));
  for (int i = 0; i < 100; ++i) Tick(milliseconds(5));
}

TEST_F(FairnessTest, ServesThoseWhoWaitInTurn) {
  for (std::uint32_t client = 1; client <= 3; ++client) Demand(ProcessId{0, client}, 1, 4, Cpus(1));
  AddNode(0, Cpus(1));
  std::vector<std::uint32_t> served;
  for (Start start = TakeStart(); served.size() < 9; start = TakeStart()) {
    served.push_back(start.client.serial);
    EndLease(start.lease);
  }
  EXPECT_EQ(served, (std::vector<std::uint32_t>{1, 2, 3, 1, 2, 3, 1, 2, 3}));
}

TEST_F(FairnessTest, ALargeRequestIsServedThoughSmallOnesNeverEnd) {
  AddNode(0, Cpus(4));
  AddNode(1, Cpus(4));
  Demand(driver_, 1, 1000, Cpus(1));
  std::vector<Start> running = TakeStarts();
  ASSERT_EQ(running.size(), 8u);
  Demand(worker_, 2, 1, Cpus(4));
  bool served = false;
  for (int step = 0; step < 400 && !served; ++step) {  // a lease lasts 80 ms, whether asked back or not
    Tick(milliseconds(10));
    Take<LeaseReclaim>();
    EndLease(running.front().lease);
    running.erase(running.begin());
    for (const Start& start : TakeStarts()) {
      served |= start.client == worker_;
      running.push_back(start);
    }
  }
  EXPECT_TRUE(served);
}

TEST_F(FairnessTest, ANodeKeptForALargeRequestIsGivenFreeWhenItsPatienceIsOver) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 100, Cpus(1));
  std::vector<Start> running = TakeStarts();
  Demand(worker_, 1, 1, Cpus(2));
  for (int step = 0; step < 3; ++step) {
    Tick(milliseconds(20));
    EndLease(running.back().lease);
    running.pop_back();
    for (const Start& start : TakeStarts()) running.push_back(start);
  }
  ASSERT_EQ(running.size(), 1u);  // one CPU is kept while the other still runs
  EXPECT_NE(scheduler_.Explain(driver_, 1).find("waits for"), std::string::npos);
  Take<LeaseReclaim>();
  Tick(milliseconds(200));
  EXPECT_EQ(TakeStarts().size(), 1u);
  Take<LeaseReclaim>();
}

TEST_F(FairnessTest, ALargeRequestThatIsWithdrawnFreesItsNode) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 100, Cpus(1));
  std::vector<Start> running = TakeStarts();
  Demand(worker_, 1, 1, Cpus(2));
  for (int step = 0; step < 3; ++step) {
    Tick(milliseconds(20));
    EndLease(running.back().lease);
    running.pop_back();
    for (const Start& start : TakeStarts()) running.push_back(start);
  }
  ASSERT_EQ(running.size(), 1u);
  Take<LeaseReclaim>();
  Demand(worker_, 1, 0, Cpus(2));
  EXPECT_EQ(TakeStarts().size(), 1u);
}

}  // namespace
}  // namespace ray_engine
