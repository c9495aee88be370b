#include "engine/node/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

using std::chrono::milliseconds;

JobId Job(char number) { return JobId::FromBinary(std::string{number, 0, 0, 0}); }

StartLease Lease(std::uint64_t id, const JobId& job = Job(1),
                 const std::vector<std::pair<std::string, std::string>>& environment = {}) {
  StartLease lease;
  lease.lease = LeaseId{id};
  lease.client = {0, 99};
  lease.key = 7;
  LeaseClass lease_class;
  lease_class.job = job;
  lease_class.environment = environment;
  lease.lease_class = std::make_shared<const LeaseClass>(lease_class);
  return lease;
}

StartLease GpuLease(std::uint64_t id, std::uint32_t gpu) {
  StartLease lease = Lease(id);
  lease.units = {{"GPU", {gpu}}};
  return lease;
}

class WorkerPoolTest : public testing::Test {
 protected:
  WorkerPoolTest() { pool_.OnForkserverUp(1, 1); }

  template <class Action>
  static std::vector<Action> Only(const WorkerPool::Actions& actions) {
    std::vector<Action> found;
    for (const auto& action : actions) {
      if (const auto* one = std::get_if<Action>(&action)) found.push_back(*one);
    }
    return found;
  }
  // The single action, which must be of this type.
  template <class Action>
  static Action The(const WorkerPool::Actions& actions) {
    EXPECT_EQ(actions.size(), 1u);
    const std::vector<Action> found = Only<Action>(actions);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Action() : found.front();
  }
  // A worker that holds lease `id`.
  std::uint32_t Leased(std::uint64_t id) {
    const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(Lease(id)));
    pool_.OnWorkerReady(fork.serial, milliseconds(0));
    return fork.serial;
  }

  std::uint32_t last_serial_ = 0;
  WorkerPool::Limits limits_{/*max_starting=*/3, /*max_start_failures=*/2, milliseconds(1000), milliseconds(5000)};
  WorkerPool pool_{limits_, [this](const WorkerKey&) { return ++last_serial_; }};
};

// An actor ends with its process, and what tasks have put there would be lost with it.
TEST_F(WorkerPoolTest, AnActorGetsNoWorkerThatHasRunTasks) {
  StartLease actor = Lease(2);
  actor.client = kHead;
  const std::uint32_t used = Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(0));
  const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(actor));
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnStartLease(Lease(3))).serial, used);
  EXPECT_TRUE(Only<WorkerPool::Grant>(pool_.OnLeaseReturn(LeaseId{3}, false, milliseconds(0))).empty());
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnWorkerReady(fork.serial, milliseconds(1))).serial, fork.serial);
}

TEST_F(WorkerPoolTest, ForksAWorkerForALeaseAndGrantsItWhenReady) {
  const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(Lease(1)));
  EXPECT_EQ(fork.forkserver, 1u);
  const auto grant = The<WorkerPool::Grant>(pool_.OnWorkerReady(fork.serial, milliseconds(0)));
  EXPECT_EQ(grant.serial, fork.serial);
  EXPECT_EQ(grant.lease.lease, LeaseId{1});
  EXPECT_EQ(grant.lease.key, 7u);
}

TEST_F(WorkerPoolTest, ReturnedWorkerServesTheNextLeaseOfTheJobWithoutFork) {
  const std::uint32_t serial = Leased(1);
  EXPECT_EQ(The<WorkerPool::End>(pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(1))).lease, LeaseId{1});
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnStartLease(Lease(2))).serial, serial);
}

TEST_F(WorkerPoolTest, ARetiredWorkerIsAskedToEndAndServesNobodyElse) {
  const std::uint32_t serial = Leased(1);
  const auto actions = pool_.OnLeaseReturn(LeaseId{1}, true, milliseconds(1));
  EXPECT_EQ(Only<WorkerPool::End>(actions).at(0).lease, LeaseId{1});
  EXPECT_EQ(Only<WorkerPool::AskToEnd>(actions).at(0).serial, serial);
  The<WorkerPool::Fork>(pool_.OnStartLease(Lease(2)));
}

TEST_F(WorkerPoolTest, ARetiredWorkerThatStaysServesNobodyAndIsAskedAgain) {
  const std::uint32_t serial = Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, true, milliseconds(1));
  EXPECT_TRUE(pool_.OnWorkerReady(serial, milliseconds(2)).empty());
  EXPECT_EQ(pool_.Stats().leaving, 1u);
  The<WorkerPool::Fork>(pool_.OnStartLease(Lease(2)));
  EXPECT_EQ(pool_.NextTick(), milliseconds(1002));
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnTick(milliseconds(1002))).serial, serial);
  EXPECT_FALSE(pool_.NextTick().has_value());
}

TEST_F(WorkerPoolTest, WorkersWithUnitsServeLeasesWithTheSameUnitsOnly) {
  Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(1));
  const auto first = The<WorkerPool::Fork>(pool_.OnStartLease(GpuLease(2, 0)));
  EXPECT_EQ(first.key.units, GpuLease(2, 0).units);
  pool_.OnWorkerReady(first.serial, milliseconds(2));
  pool_.OnLeaseReturn(LeaseId{2}, false, milliseconds(3));
  The<WorkerPool::Fork>(pool_.OnStartLease(GpuLease(3, 1)));
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnStartLease(GpuLease(4, 0))).serial, first.serial);
}

TEST_F(WorkerPoolTest, TheUnitsOfARetiredWorkerAreFreeWhenItHasEnded) {
  const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(GpuLease(1, 0)));
  pool_.OnWorkerReady(fork.serial, milliseconds(0));
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnLeaseReturn(LeaseId{1}, true, milliseconds(1))).serial, fork.serial);
  EXPECT_EQ(The<WorkerPool::End>(pool_.OnWorkerGone(fork.serial, "it has ended")).lease, LeaseId{1});
}

TEST_F(WorkerPoolTest, TheUnitsOfARetiredWorkerThatStaysAreFreeAtOnce) {
  const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(GpuLease(1, 0)));
  pool_.OnWorkerReady(fork.serial, milliseconds(0));
  pool_.OnLeaseReturn(LeaseId{1}, true, milliseconds(1));
  EXPECT_EQ(The<WorkerPool::End>(pool_.OnWorkerReady(fork.serial, milliseconds(2))).lease, LeaseId{1});
  EXPECT_TRUE(pool_.OnWorkerGone(fork.serial, "it has ended").empty());
}

TEST_F(WorkerPoolTest, AWorkerThatHangsOnToItsUnitsIsKilled) {
  const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(GpuLease(1, 0)));
  pool_.OnWorkerReady(fork.serial, milliseconds(0));
  pool_.OnLeaseReturn(LeaseId{1}, true, milliseconds(100));
  EXPECT_EQ(pool_.NextTick(), milliseconds(5100));
  EXPECT_EQ(The<WorkerPool::Kill>(pool_.OnTick(milliseconds(5100))).serial, fork.serial);
}

TEST_F(WorkerPoolTest, ReturnedWorkerGoesToTheLeaseThatWaitsLongest) {
  const std::uint32_t serial = Leased(1);
  pool_.OnStartLease(Lease(2));
  pool_.OnStartLease(Lease(3));
  const auto grants = Only<WorkerPool::Grant>(pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(1)));
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].serial, serial);
  EXPECT_EQ(grants[0].lease.lease, LeaseId{2});
}

TEST_F(WorkerPoolTest, WorkersAreNotSharedBetweenJobsOrEnvironments) {
  Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(1));
  The<WorkerPool::Fork>(pool_.OnStartLease(Lease(2, Job(2))));
  const std::vector<std::pair<std::string, std::string>> environment = {{"OMP_NUM_THREADS", "4"}};
  const StartLease other = Lease(3, Job(1), environment);
  EXPECT_EQ(The<WorkerPool::Fork>(pool_.OnStartLease(other)).key.environment, environment);
}

TEST_F(WorkerPoolTest, NothingIsPrestartedOnANodeWithoutCpus) {
  WorkerPool pool({}, [](const WorkerKey&) { return 1u; });
  pool.OnForkserverUp(1, 0);
  EXPECT_TRUE(pool.Prestart({Job(1), {}, {}}).empty());
  EXPECT_EQ(The<WorkerPool::Fork>(pool.OnStartLease(Lease(1))).serial, 1u);
}

TEST_F(WorkerPoolTest, PrestartedWorkerIsForkedOnceAndServesTheFirstLease) {
  const auto fork = The<WorkerPool::Fork>(pool_.Prestart({Job(1), {}, {}}));
  EXPECT_TRUE(pool_.Prestart({Job(1), {}, {}}).empty());
  EXPECT_TRUE(pool_.OnStartLease(Lease(1)).empty());
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnWorkerReady(fork.serial, milliseconds(0))).serial, fork.serial);
}

TEST_F(WorkerPoolTest, PrestartGoesOnOneByOneUntilEachCpuHasAWorker) {
  pool_.OnForkserverUp(2, 2);
  auto fork = The<WorkerPool::Fork>(pool_.Prestart({Job(1), {}, {}}));
  fork = The<WorkerPool::Fork>(pool_.OnWorkerReady(fork.serial, milliseconds(0)));
  EXPECT_TRUE(pool_.Prestart({Job(1), {}, {}}).empty());
  fork = The<WorkerPool::Fork>(pool_.OnWorkerReady(fork.serial, milliseconds(0)));
  EXPECT_TRUE(pool_.OnWorkerReady(fork.serial, milliseconds(0)).empty());
  EXPECT_EQ(pool_.Stats().idle, 3u);
  pool_.OnWorkerGone(fork.serial, "killed");
  The<WorkerPool::Grant>(pool_.OnStartLease(Lease(1)));  // what is missing is not forked again
}

TEST_F(WorkerPoolTest, ANodeWithoutCpusPrestartsNoWorkerAndKeepsNone) {
  pool_.OnForkserverGone(1);
  pool_.OnForkserverUp(2, 0);
  EXPECT_TRUE(pool_.Prestart({Job(1), {}, {}}).empty());
  const std::uint32_t serial = Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(0));
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnTick(milliseconds(1000))).serial, serial);
}

TEST_F(WorkerPoolTest, StartsOnlyAFewWorkersAtATime) {
  std::size_t forks = 0;
  for (std::uint64_t id = 1; id <= 10; ++id) forks += Only<WorkerPool::Fork>(pool_.OnStartLease(Lease(id))).size();
  EXPECT_EQ(forks, 3u);
  const auto actions = pool_.OnWorkerReady(1, milliseconds(0));
  EXPECT_EQ(Only<WorkerPool::Fork>(actions).size(), 1u);
  EXPECT_EQ(Only<WorkerPool::Grant>(actions).size(), 1u);
  EXPECT_EQ(pool_.Stats().waiting, 9u);
}

TEST_F(WorkerPoolTest, ForksWhereTheLoadPerCpuIsLowest) {
  pool_.OnForkserverUp(2, 3);
  std::vector<std::uint32_t> chosen;
  for (std::uint64_t id = 1; id <= 8; ++id) {
    const auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(Lease(id)));
    chosen.push_back(fork.forkserver);
    pool_.OnWorkerReady(fork.serial, milliseconds(0));
  }
  EXPECT_EQ(std::count(chosen.begin(), chosen.end(), 1u), 2);
  EXPECT_EQ(std::count(chosen.begin(), chosen.end(), 2u), 6);
}

TEST_F(WorkerPoolTest, LeaseWaitsForTheFirstForkserver) {
  WorkerPool pool(limits_, [this](const WorkerKey&) { return ++last_serial_; });
  EXPECT_TRUE(pool.OnStartLease(Lease(1)).empty());
  The<WorkerPool::Fork>(pool.OnForkserverUp(1, 1));
}

TEST_F(WorkerPoolTest, LeasesOutwaitTheLossOfAForkserver) {
  std::vector<std::uint32_t> starting;
  for (std::uint64_t id = 1; id <= 3; ++id) {
    starting.push_back(The<WorkerPool::Fork>(pool_.OnStartLease(Lease(id))).serial);
  }
  pool_.OnForkserverGone(1);
  for (const std::uint32_t serial : starting)
    EXPECT_TRUE(pool_.OnWorkerGone(serial, "its forkserver has ended").empty());
  EXPECT_TRUE(pool_.OnStartLease(Lease(4)).empty());
  EXPECT_EQ(Only<WorkerPool::Fork>(pool_.OnForkserverUp(2, 1)).size(), 3u);
}

TEST_F(WorkerPoolTest, DeathOfALeasedWorkerEndsItsLease) {
  const std::uint32_t serial = Leased(1);
  const auto end = The<WorkerPool::End>(pool_.OnWorkerGone(serial, "killed"));
  EXPECT_EQ(end.lease, LeaseId{1});
  EXPECT_EQ(end.error, "");
}

TEST_F(WorkerPoolTest, WorkersThatDieAtStartAreTriedAgainThenTheLeasesEndWithTheCause) {
  const auto first = The<WorkerPool::Fork>(pool_.OnStartLease(Lease(1)));
  const auto second = The<WorkerPool::Fork>(pool_.OnWorkerGone(first.serial, "no numpy"));
  const auto end = The<WorkerPool::End>(pool_.OnWorkerGone(second.serial, "no numpy"));
  EXPECT_EQ(end.lease, LeaseId{1});
  EXPECT_THAT(end.error, testing::HasSubstr("no numpy"));
  EXPECT_EQ(pool_.Stats().starting, 0u);
}

TEST_F(WorkerPoolTest, WorkersThatAreKilledAtStartAreTriedAgainForLonger) {
  auto fork = The<WorkerPool::Fork>(pool_.OnStartLease(Lease(1)));
  const std::uint32_t tries = limits_.max_start_failures * WorkerPool::kKillsPerFailure;
  for (std::uint32_t i = 1; i < tries; ++i) {
    fork = The<WorkerPool::Fork>(pool_.OnWorkerGone(fork.serial, "was killed", true));
  }
  EXPECT_THAT(The<WorkerPool::End>(pool_.OnWorkerGone(fork.serial, "was killed", true)).error,
              testing::HasSubstr("was killed"));
}

TEST_F(WorkerPoolTest, WithoutRoomForMoreProcessesLeasesEndWithTheReason) {
  WorkerPool pool(limits_, [](const WorkerKey&) { return 0u; });
  pool.OnForkserverUp(1, 1);
  EXPECT_THAT(The<WorkerPool::End>(pool.OnStartLease(Lease(1))).error, testing::HasSubstr("no room"));
}

TEST_F(WorkerPoolTest, KillsTheWorkerOfALeaseAndForgetsALeaseThatWaits) {
  const std::uint32_t serial = Leased(1);
  const auto kill = The<WorkerPool::Kill>(pool_.OnKillWorker(LeaseId{1}, "ray.kill"));
  EXPECT_EQ(kill.serial, serial);
  EXPECT_EQ(kill.reason, "ray.kill");
  pool_.OnStartLease(Lease(2));
  EXPECT_EQ(The<WorkerPool::End>(pool_.OnKillWorker(LeaseId{2}, "its client is gone")).lease, LeaseId{2});
}

TEST_F(WorkerPoolTest, IdleWorkersAboveTheCpusAreAskedToEndAfterAWhile) {
  Leased(1);
  Leased(2);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(100));
  EXPECT_FALSE(pool_.NextTick().has_value());
  pool_.OnLeaseReturn(LeaseId{2}, false, milliseconds(200));
  EXPECT_EQ(pool_.NextTick(), milliseconds(1100));
  EXPECT_TRUE(pool_.OnTick(milliseconds(1000)).empty());
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnTick(milliseconds(1100))).serial, 1u);
  EXPECT_FALSE(pool_.NextTick().has_value());
}

TEST_F(WorkerPoolTest, WorkerAskedToEndServesNoLeaseUntilItSaysThatItStays) {
  Leased(1);
  Leased(2);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(0));
  pool_.OnLeaseReturn(LeaseId{2}, false, milliseconds(0));
  const std::uint32_t asked = The<WorkerPool::AskToEnd>(pool_.OnTick(milliseconds(1000))).serial;
  EXPECT_NE(The<WorkerPool::Grant>(pool_.OnStartLease(Lease(3))).serial, asked);
  The<WorkerPool::Fork>(pool_.OnStartLease(Lease(4)));
  EXPECT_EQ(The<WorkerPool::Grant>(pool_.OnWorkerReady(asked, milliseconds(1001))).serial, asked);
}

TEST_F(WorkerPoolTest, EndOfTheJobLetsItsIdleWorkersGoNowAndLater) {
  Leased(1);
  Leased(2);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(0));
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnJobEnded(Job(1))).serial, 1u);
  const auto actions = pool_.OnLeaseReturn(LeaseId{2}, false, milliseconds(5));
  ASSERT_EQ(Only<WorkerPool::AskToEnd>(actions).size(), 1u);
  EXPECT_EQ(Only<WorkerPool::AskToEnd>(actions)[0].serial, 2u);
  EXPECT_EQ(pool_.Stats().idle, 0u);
  EXPECT_EQ(pool_.Stats().leaving, 2u);
}

TEST_F(WorkerPoolTest, WorkerOfAnEndedJobThatStaysIsAskedAgainOnlyAfterAWhile) {
  Leased(1);
  pool_.OnLeaseReturn(LeaseId{1}, false, milliseconds(0));
  pool_.OnJobEnded(Job(1));
  EXPECT_TRUE(pool_.OnWorkerReady(1, milliseconds(10)).empty());
  EXPECT_TRUE(pool_.OnTick(milliseconds(900)).empty());
  EXPECT_EQ(The<WorkerPool::AskToEnd>(pool_.OnTick(milliseconds(1010))).serial, 1u);
}

}  // namespace
}  // namespace ray_engine
