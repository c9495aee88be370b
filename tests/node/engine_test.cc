// One real node engine: births, acquaintances, leases and deaths of the processes of its node.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/node/engine_test_base.h"

namespace ray_engine {
namespace {

using testing::HasSubstr;

TEST_F(EngineTest, WelcomesTheDriver) {
  EXPECT_EQ(driver_->welcome().process, (ProcessId{0, 1}));
  EXPECT_EQ(driver_->welcome().node, up_.node);
  EXPECT_EQ(driver_->welcome().socket_name, up_.socket_name);
  EXPECT_EQ(driver_->store().size(), 8u << 20);
  EXPECT_EQ(up_.fabric_address, "");
}

TEST_F(EngineTest, TellsOfItsNode) {
  driver_->Send(kHead, ClusterRequest{3});
  const ClusterReply reply = driver_->Receive<ClusterReply>();
  ASSERT_EQ(reply.nodes.size(), 1u);
  const NodeInfo& node = reply.nodes[0];
  EXPECT_EQ(node.id, up_.node);
  EXPECT_EQ(node.total.Get("CPU"), 2 * ResourceSet::kUnit);
  EXPECT_EQ(node.total.Get("custom"), 3 * ResourceSet::kUnit);
  EXPECT_EQ(node.total.Get("object_store_memory"), (8 << 20) * ResourceSet::kUnit);
  EXPECT_EQ(node.total.Get("node:" + node.address), ResourceSet::kUnit);
  EXPECT_EQ(node.total.Get("node:__internal_head__"), ResourceSet::kUnit);
  EXPECT_THAT(node.labels, testing::Contains(std::pair<std::string, std::string>("ray.io/node-id", node.id.Hex())));
  EXPECT_THAT(node.labels, testing::Contains(std::pair<std::string, std::string>("zone", "a")));
}

TEST_F(EngineTest, FirstJobHasNumberOneAndItsWorkerIsForkedAtOnce) {
  EXPECT_EQ(StartJob("my settings").Hex(), "01000000");
  const Fork fork = engine_.NextForForkserver<Fork>();
  EXPECT_EQ(fork.job, job_);
  EXPECT_EQ(fork.job_config, "my settings");
}

TEST_F(EngineTest, LeasesAWorkerAndGivesItAgainAfterItsReturn) {
  LeaseGrant first;
  const auto worker = LeaseWorker(&first);
  driver_->Send(worker->id().Engine(), LeaseReturn{first.lease});
  Demand(1);
  const LeaseGrant second = driver_->Receive<LeaseGrant>();
  EXPECT_EQ(second.worker, worker->id());
  EXPECT_NE(second.lease, first.lease);
  EXPECT_FALSE(engine_.ForkserverIsAsked());
}

TEST_F(EngineTest, BlockedWorkerLetsAnotherTaskRunOnItsCpu) {
  LeaseGrant grants[3];
  const auto first = LeaseWorker(&grants[0], 1);
  const auto second = LeaseWorker(&grants[1], 2);
  Demand(1);
  first->Send(first->id().Engine(), Blocked{grants[0].lease});
  const auto third = engine_.ForkWorker(3);
  EXPECT_EQ(driver_->Receive<LeaseGrant>().worker, third->id());
}

TEST_F(EngineTest, BrokersADirectLink) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  driver_->Send(driver_->id().Engine(), LinkRequest{worker->id()});
  const LinkGrant mine = driver_->Receive<LinkGrant>();
  const LinkGrant other = worker->Receive<LinkGrant>();
  EXPECT_EQ(mine.peer, worker->id());
  EXPECT_EQ(other.peer, driver_->id());
  EXPECT_EQ(mine.offset, other.offset);
  EXPECT_NE(mine.side, other.side);
  driver_->Open(mine);
  worker->Open(other);
  driver_->SendDirect(worker->id(), BorrowAck{42});
  EXPECT_EQ(worker->Receive<BorrowAck>().token, 42u);
  worker->SendDirect(driver_->id(), BorrowAck{43});
  EXPECT_EQ(driver_->Receive<BorrowAck>().token, 43u);
}

TEST_F(EngineTest, LinkToAnotherNodeIsTheEnginesBusiness) {
  driver_->Send(driver_->id().Engine(), LinkRequest{ProcessId{5, 3}});
  EXPECT_EQ(driver_->Receive<LinkGrant>().offset, 0u);
}

TEST_F(EngineTest, RelaysBetweenProcessesWithoutALinkAlsoWhatIsLargerThanARing) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  KvReply reply;
  for (int i = 0; i < 20; ++i) reply.values.push_back(std::string(50'000, static_cast<char>('a' + i)));
  driver_->Send(worker->id(), reply);
  driver_->Send(worker->id(), BorrowAck{1});
  std::optional<KvReply> got;
  ASSERT_TRUE(WaitUntil([&] {
    KvReply whole;
    ProcessGone none;
    driver_->Take(&none);  // moves on what does not fit into the ring yet
    if (worker->Take(&whole)) got = whole;
    return got.has_value();
  }));
  EXPECT_EQ(worker->last_from(), driver_->id());
  EXPECT_TRUE(got->values == reply.values);
  EXPECT_EQ(worker->Receive<BorrowAck>().token, 1u);
}

TEST_F(EngineTest, DeathOfAWorkerIsToldToWatchersAndFreesItsLease) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  Die(*worker, 4711, SIGKILL);
  const ProcessGone gone = driver_->Receive<ProcessGone>();
  EXPECT_EQ(gone.process, worker->id());
  EXPECT_THAT(gone.cause, HasSubstr("(pid 4711) was killed by signal 9 (SIGKILL)"));
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  EXPECT_EQ(driver_->Receive<ProcessGone>().cause, gone.cause);
  driver_->Send(driver_->id().Engine(), LinkRequest{worker->id()});
  EXPECT_EQ(driver_->Receive<ProcessGone>().cause, gone.cause);
  Demand(2);  // both CPUs are free again
  const auto a = engine_.ForkWorker(1), b = engine_.ForkWorker(2);
  driver_->Receive<LeaseGrant>();
  driver_->Receive<LeaseGrant>();
}

TEST_F(EngineTest, AWorkerThatHasDamagedItsRingIsKilled) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  worker->DamageRing();
  EXPECT_EQ(engine_.NextForForkserver<Kill>().serial, worker->id().serial);
}

TEST_F(EngineTest, WhatADeadWorkerSaidLastStillArrives) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  worker->Send(driver_->id(), BorrowAck{5});
  Die(*worker, 4711, 0);
  driver_->Receive<ProcessGone>();
  BorrowAck last;
  EXPECT_TRUE(driver_->Take(&last));  // it came before the news of the death
  EXPECT_EQ(last.token, 5u);
}

TEST_F(EngineTest, MemoryOfALinkIsUsedAgainOnceTheSurvivorHasLetGo) {
  LeaseGrant grant;
  const auto first = LeaseWorker(&grant, 1);
  driver_->Send(driver_->id().Engine(), LinkRequest{first->id()});
  const LinkGrant old = driver_->Receive<LinkGrant>();
  Die(*first, 1, 0);
  EXPECT_EQ(driver_->Receive<ProcessGone>().process, first->id());  // told without a watch
  driver_->Send(driver_->id().Engine(), LinkClosed{first->id()});
  const auto second = LeaseWorker(&grant, 2);
  driver_->Send(driver_->id().Engine(), LinkRequest{second->id()});
  const std::uint64_t next = driver_->Receive<LinkGrant>().offset;
  EXPECT_TRUE(next == old.offset || next == first->welcome().engine_link) << next;
}

TEST_F(EngineTest, WorkersThatDieAtStartEndTheLeaseWithTheirLastWords) {
  StartJob();
  Demand(1);
  for (std::uint32_t pid = 1; pid <= 3; ++pid) {
    const Fork fork = engine_.NextForForkserver<Fork>();
    engine_.FromForkserver(Forked{fork.serial, pid, ""});
    engine_.FromForkserver(Output{fork.serial, pid, true, "ModuleNotFoundError: numpy\n"});
    engine_.FromForkserver(Exited{fork.serial, pid, 1 << 8});
  }
  const LeaseFailed failed = driver_->Receive<LeaseFailed>();
  EXPECT_EQ(failed.key, 1u);
  EXPECT_THAT(failed.error, HasSubstr("ModuleNotFoundError: numpy"));
  EXPECT_FALSE(engine_.ForkserverIsAsked());
}

}  // namespace
}  // namespace ray_engine
