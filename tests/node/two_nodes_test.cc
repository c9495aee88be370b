// Two real node engines: one that has started the session, one that joins it by its socket. Frames and objects go
// through the real fabric.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "tests/node/engine_fixture.h"

namespace ray_engine {
namespace {

using testing::HasSubstr;

class TwoNodesTest : public testing::Test {
 protected:
  explicit TwoNodesTest(std::vector<std::string> options = {}) : head_(Words(std::move(options)), session_) {
    up_ = head_.WaitUp();
    head_.Tell(Introduce{});
    driver_ = head_.StartDriver();
    StartMember();
  }

  void StartMember() {
    member_ = std::make_unique<TestEngine>(
        std::vector<std::string>{"--virtual", "--join=" + up_.socket_name, "--node-name=second"}, session_);
    member_up_ = member_->WaitUp();
  }
  ClusterReply Nodes() {
    driver_->Send(kHead, ClusterRequest{1});
    return driver_->Receive<ClusterReply>();
  }
  // A worker on the second node, leased to the driver.
  std::unique_ptr<TestProcess> LeaseThere(LeaseGrant* grant) {
    JobStart start;
    start.token = 1;
    driver_->Send(kHead, start);
    LeaseDemand demand;
    demand.count = 1;
    demand.lease_class.job = driver_->Receive<JobStarted>().job;
    demand.lease_class.strategy = LeaseClass::kNodeAffinity;
    demand.lease_class.affinity = member_up_.node;
    demand.lease_class.resources.Set("CPU", ResourceSet::kUnit);
    driver_->Send(kHead, demand);
    auto worker = member_->ForkWorker(77);
    *grant = driver_->Receive<LeaseGrant>();
    return worker;
  }

  static std::vector<std::string> Words(std::vector<std::string> options) {
    options.emplace_back("--virtual");
    return options;
  }

  std::string session_ = TestEngine::NewSession();
  TestEngine head_;
  EngineUp up_, member_up_;
  std::unique_ptr<TestProcess> driver_;
  std::unique_ptr<TestEngine> member_;
};

TEST_F(TwoNodesTest, SecondNodeIsPartOfTheCluster) {
  const ClusterReply reply = Nodes();
  ASSERT_EQ(reply.nodes.size(), 2u);
  EXPECT_EQ(reply.nodes[1].id, member_up_.node);
  EXPECT_EQ(reply.nodes[1].name, "second");
  EXPECT_TRUE(reply.nodes[1].alive);
}

TEST_F(TwoNodesTest, LeasesAWorkerThereAndTalksToItInOrder) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  EXPECT_EQ(grant.worker, worker->id());
  EXPECT_EQ(grant.worker.node, 1u);
  EXPECT_EQ(grant.node, member_up_.node);
  KvReply large;
  large.values = {std::string(60'000, 'x')};
  for (std::uint64_t i = 1; i <= 50; ++i) {
    driver_->Send(worker->id(), BorrowAck{i});
    if (i % 10 == 0) driver_->Send(worker->id(), large);
  }
  for (std::uint64_t i = 1; i <= 50; ++i) {
    std::optional<std::uint64_t> token;
    ASSERT_TRUE(WaitUntil([&] {
      BorrowAck ack;
      ProcessGone none;
      driver_->Take(&none);  // moves on what did not fit into the ring
      if (worker->Take(&ack)) token = ack.token;
      return token.has_value();
    }));
    EXPECT_EQ(*token, i);
  }
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(worker->Receive<KvReply>().values == large.values);
  worker->Send(driver_->id(), BorrowAck{99});
  EXPECT_EQ(driver_->Receive<BorrowAck>().token, 99u);
  EXPECT_EQ(driver_->last_from(), worker->id());
}

TEST_F(TwoNodesTest, ObjectIsPulledToTheNodeThatPinsItAndTheOwnerHearsOfTheCopy) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  const ObjectId object = ObjectId::Random();
  const std::uint64_t size = 5 << 20;
  driver_->Send(driver_->id().Engine(), StoreReserve{1, size, StoreUse::kObject});
  const StoreReserved created = driver_->Receive<StoreReserved>();
  ASSERT_EQ(created.error, "");
  for (std::uint64_t i = 0; i < size; ++i) driver_->store().data()[created.offset + i] = static_cast<char>(i * 7);
  driver_->Send(driver_->id().Engine(), StoreSeal{object, driver_->id(), created.offset, size});
  Nodes();  // so the seal has been handled
  worker->Send(worker->id().Engine(), StorePin{2, object, driver_->id(), 0, size});
  const StorePinned pinned = worker->Receive<StorePinned>();
  ASSERT_EQ(pinned.error, "");
  ASSERT_EQ(pinned.size, size);
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < size; ++i)
    wrong += worker->store().data()[pinned.offset + i] != static_cast<char>(i * 7);
  EXPECT_EQ(wrong, 0u);
  const CopyAdded added = driver_->Receive<CopyAdded>();
  EXPECT_EQ(added.object, object);
  EXPECT_EQ(added.node, 1u);
}

TEST_F(TwoNodesTest, WhatASourceHasSpilledIsPulledFromThereAllTheSame) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  const std::uint64_t size = 3 << 20;
  std::vector<ObjectId> objects;
  for (char filling = 'a'; filling < 'g'; ++filling) {
    objects.push_back(ObjectId::Random());
    driver_->Send(driver_->id().Engine(), StoreReserve{1, size, StoreUse::kObject});
    const StoreReserved created = driver_->Receive<StoreReserved>();
    ASSERT_EQ(created.error, "");
    std::memset(driver_->store().data() + created.offset, filling, size);
    driver_->Send(driver_->id().Engine(), StoreSeal{objects.back(), driver_->id(), created.offset, size});
  }
  Nodes();  // so the seals have been handled
  char filling = 'a';
  for (const ObjectId& object : objects) {
    worker->Send(worker->id().Engine(), StorePin{2, object, driver_->id(), 0, size});
    const StorePinned pinned = worker->Receive<StorePinned>();
    ASSERT_EQ(pinned.error, "");
    EXPECT_EQ(std::string(worker->store().data() + pinned.offset, size), std::string(size, filling++));
    worker->Send(worker->id().Engine(), StoreUnpin{{object}});
  }
}

TEST_F(TwoNodesTest, NodesThatWereEachToldThatTheOtherOneHasAnObjectDoNotWaitForEachOther) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  const ObjectId object = ObjectId::Random();
  const std::uint64_t size = 128 << 10;
  const auto pin = [&](TestProcess* process, std::uint32_t node) {
    process->Send(process->id().Engine(), StorePin{2, object, driver_->id(), node, size});
  };
  std::vector<std::pair<TestProcess*, std::uint64_t>> readers;
  for (TestProcess* reader : {driver_.get(), worker.get()}) {
    reader->Send(reader->id().Engine(), StoreReserve{1, size, StoreUse::kArray});
    ASSERT_EQ(reader->Receive<StoreReserved>().error, "");
    pin(reader, reader->id().node);
    readers.emplace_back(reader, reader->Receive<StoreReclaim>().round);  // it might seal the object
  }
  for (const auto& [reader, round] : readers) {
    TestProcess* other = reader == worker.get() ? driver_.get() : worker.get();
    pin(reader, other->id().node);
    reader->Send(other->id(), BorrowAck{1});
    other->Receive<BorrowAck>();  // so its engine has been asked for the object
  }
  for (const auto& [reader, round] : readers) reader->Send(reader->id().Engine(), StoreReclaimed{round});
  for (const auto& [reader, round] : readers) {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(reader->Receive<StorePinned>().problem, StoreProblem::kLost);
  }
}

TEST_F(TwoNodesTest, WatchWorksAcrossNodes) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  worker->Send(worker->id().Engine(), Watch{driver_->id()});
  Nodes();
  member_->FromForkserver(Exited{worker->id().serial, 77, SIGKILL});
  const ProcessGone gone = driver_->Receive<ProcessGone>();
  EXPECT_EQ(gone.process, worker->id());
  EXPECT_THAT(gone.cause, HasSubstr("worker 1.1 (pid 77) was killed by signal 9 (SIGKILL)"));
}

TEST_F(TwoNodesTest, BothSleepWhenThereIsNothingToDoAndWakeForTheOther) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  const ProcessBlock* head = driver_->engine_block();
  const ProcessBlock* member = worker->engine_block();
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(
        WaitUntil([&] { return head->attention == Attention::kAsleep && member->attention == Attention::kAsleep; }));
    driver_->Send(worker->id(), BorrowAck{i});
    EXPECT_EQ(worker->Receive<BorrowAck>().token, i);
    worker->Send(driver_->id(), BorrowAck{i});
    EXPECT_EQ(driver_->Receive<BorrowAck>().token, i);
  }
}

TEST_F(TwoNodesTest, OutputFromTheOtherNodeNamesIt) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  member_->FromForkserver(Output{worker->id().serial, 77, true, "oh\n"});
  const DriverLine line = driver_->Receive<DriverLine>();
  EXPECT_EQ(line.prefix, "(pid=77, ip=second)");
  EXPECT_TRUE(line.is_stderr);
}

TEST_F(TwoNodesTest, KilledNodeIsNoticedAndTheSessionGoesOn) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  Nodes();
  kill(member_->pid(), SIGKILL);
  EXPECT_EQ(driver_->Receive<ProcessGone>().process, worker->id());
  EXPECT_TRUE(WaitUntil([&] { return !Nodes().nodes[1].alive; }));
  StartMember();
  const ClusterReply reply = Nodes();
  ASSERT_EQ(reply.nodes.size(), 3u);
  EXPECT_TRUE(reply.nodes[2].alive);
}

// The heartbeat is short there: that a stopped process is silent needs no longer one.
class StoppedNodeTest : public TwoNodesTest {
 protected:
  StoppedNodeTest() : TwoNodesTest({"--heartbeat-interval=0.1", "--heartbeat-limit=0.5"}) {}
};

TEST_F(StoppedNodeTest, IsGivenUpAndEndsWhenItGoesOn) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  driver_->Send(driver_->id().Engine(), Watch{worker->id()});
  Nodes();
  kill(member_->pid(), SIGSTOP);
  EXPECT_THAT(driver_->Receive<ProcessGone>().cause, HasSubstr("no sign of life for 0.5 s"));
  EXPECT_FALSE(Nodes().nodes[1].alive);
  worker->Send(driver_->id(), BorrowAck{1});  // what it says now is not heard any more
  kill(member_->pid(), SIGCONT);
  EXPECT_EQ(member_->WaitExit(), 71);
  EXPECT_TRUE(WaitUntil([&] { return worker->EngineGone(); }));
  StartMember();
  EXPECT_TRUE(Nodes().nodes[2].alive);
  BorrowAck ack;
  EXPECT_FALSE(driver_->Take(&ack));
}

TEST_F(StoppedNodeTest, AStoppedHeadIsGivenUp) {
  kill(head_.pid(), SIGSTOP);
  EXPECT_EQ(member_->WaitExit(), 71);
  kill(head_.pid(), SIGCONT);
}

TEST_F(StoppedNodeTest, AHeadThatWasStoppedItselfAccusesNobody) {
  for (const pid_t pid : {member_->pid(), head_.pid()}) kill(pid, SIGSTOP);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  WaitUntil([&] { return std::chrono::steady_clock::now() > until; });
  for (const pid_t pid : {head_.pid(), member_->pid()}) kill(pid, SIGCONT);
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  EXPECT_TRUE(Nodes().nodes[1].alive);
}

TEST_F(TwoNodesTest, RemovedNodeLeavesInOrder) {
  member_->Tell(DriverExited{});
  EXPECT_EQ(member_->WaitExit(), 0);
  EXPECT_TRUE(WaitUntil([&] { return !Nodes().nodes[1].alive; }));
}

TEST_F(TwoNodesTest, EndOfTheDriverEndsBothNodes) {
  LeaseGrant grant;
  const auto worker = LeaseThere(&grant);
  head_.Tell(DriverExited{});
  EXPECT_EQ(worker->Receive<Shutdown>().reason, "the driver has ended");
  member_->FromForkserver(Exited{worker->id().serial, 77, 0});
  EXPECT_EQ(member_->WaitExit(), 0);
  EXPECT_EQ(head_.WaitExit(), 0);
}

TEST_F(TwoNodesTest, LossOfTheHeadEndsTheOtherNode) {
  kill(head_.pid(), SIGKILL);
  EXPECT_EQ(member_->WaitExit(), 71);
}

}  // namespace
}  // namespace ray_engine
