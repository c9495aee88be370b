// One real node engine, alone in its session, between a supervisor, a forkserver and processes that the test plays.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "tests/node/engine_fixture.h"

namespace ray_engine {
namespace {

using testing::HasSubstr;

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    up_ = engine_.WaitUp();
    engine_.Tell(Introduce{});
    driver_ = engine_.StartDriver();
  }

  JobId StartJob(const std::string& config = "config") {
    JobStart start;
    start.token = 11;
    start.config = config;
    driver_->Send(kHead, start);
    job_ = driver_->Receive<JobStarted>().job;
    return job_;
  }
  void Demand(std::uint32_t count, std::uint32_t key = 1) {
    LeaseDemand demand;
    demand.key = key;
    demand.count = count;
    demand.name = "f";
    demand.lease_class.job = job_;
    demand.lease_class.resources.Set("CPU", ResourceSet::kUnit);
    driver_->Send(kHead, demand);
  }
  // A worker leased to the driver.
  std::unique_ptr<TestProcess> LeaseWorker(LeaseGrant* grant, std::uint32_t pid = 4711) {
    if (job_.IsNil()) StartJob();
    Demand(1);
    auto worker = engine_.ForkWorker(pid);
    *grant = driver_->Receive<LeaseGrant>();
    EXPECT_EQ(grant->worker, worker->id());
    return worker;
  }
  void Die(const TestProcess& worker, std::uint32_t pid, int status) {
    engine_.FromForkserver(Exited{worker.id().serial, pid, status});
  }
  // Connects by the engine's name.
  ControlSocket Connect(const Hello& hello) {
    absl::StatusOr<ControlSocket> socket = ControlSocket::Connect(up_.socket_name);
    EXPECT_TRUE(socket.ok());
    EXPECT_TRUE(socket->Send(hello).ok());
    return *std::move(socket);
  }
  static Hello DriverHello() {
    Hello hello;
    hello.build = std::string(BuildId());
    return hello;
  }

  TestEngine engine_;
  EngineUp up_;
  std::unique_ptr<TestProcess> driver_;
  JobId job_;
};

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

TEST_F(EngineTest, StoreCreatesSealsAndPins) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  const ObjectId object = ObjectId::Random();
  driver_->Send(driver_->id().Engine(), StoreCreate{1, object, driver_->id(), 1 << 20});
  const StoreCreated created = driver_->Receive<StoreCreated>();
  ASSERT_EQ(created.error, "");
  std::memset(driver_->store().data() + created.offset, 'x', 1 << 20);
  driver_->Send(driver_->id().Engine(), StoreSeal{object});
  driver_->Send(kHead, ClusterRequest{2});
  driver_->Receive<ClusterReply>();  // so the seal has been handled
  worker->Send(worker->id().Engine(), StorePin{9, object, driver_->id(), 0, 1 << 20});
  const StorePinned pinned = worker->Receive<StorePinned>();
  ASSERT_EQ(pinned.error, "");
  EXPECT_EQ(pinned.size, 1u << 20);
  EXPECT_EQ(worker->store().data()[pinned.offset + 77], 'x');
}

TEST_F(EngineTest, StoreWaitsForRoomUntilAnObjectIsFreed) {
  const ObjectId first = ObjectId::Random(), second = ObjectId::Random();
  driver_->Send(driver_->id().Engine(), StoreCreate{1, first, driver_->id(), 6 << 20});
  EXPECT_EQ(driver_->Receive<StoreCreated>().error, "");
  driver_->Send(driver_->id().Engine(), StoreSeal{first});
  driver_->Send(driver_->id().Engine(), StoreCreate{2, second, driver_->id(), 6 << 20});
  driver_->Send(driver_->id().Engine(), StoreFree{{first}});
  const StoreCreated created = driver_->Receive<StoreCreated>();
  EXPECT_EQ(created.token, 2u);
  EXPECT_EQ(created.error, "");
}

TEST_F(EngineTest, StoreRefusesWhatCanNeverFit) {
  driver_->Send(driver_->id().Engine(), StoreCreate{1, ObjectId::Random(), driver_->id(), 100 << 20});
  EXPECT_NE(driver_->Receive<StoreCreated>().error, "");
}

TEST_F(EngineTest, ObjectWrittenTwiceKeepsItsFirstValue) {
  const ObjectId object = ObjectId::Random();
  const auto write = [&](char value) {
    driver_->Send(driver_->id().Engine(), StoreCreate{1, object, driver_->id(), 4096});
    const StoreCreated created = driver_->Receive<StoreCreated>();
    EXPECT_EQ(created.error, "");
    std::memset(driver_->store().data() + created.offset, value, 4096);
    driver_->Send(driver_->id().Engine(), StoreSeal{object});
  };
  write('1');
  write('2');
  driver_->Send(driver_->id().Engine(), StorePin{9, object, driver_->id(), 0, 4096});
  EXPECT_EQ(driver_->store().data()[driver_->Receive<StorePinned>().offset], '1');
}

TEST_F(EngineTest, ObjectsOfADeadOwnerAreFreed) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  worker->Send(worker->id().Engine(), StoreCreate{1, ObjectId::Random(), worker->id(), 6 << 20});
  EXPECT_EQ(worker->Receive<StoreCreated>().error, "");
  Die(*worker, 4711, SIGSEGV);
  driver_->Send(driver_->id().Engine(), StoreCreate{2, ObjectId::Random(), driver_->id(), 6 << 20});
  EXPECT_EQ(driver_->Receive<StoreCreated>().error, "");
}

TEST_F(EngineTest, KeepsKeysAndValues) {
  KvRequest put;
  put.token = 1;
  put.op = KvRequest::kPut;
  put.name_space = "n";
  put.key = "k";
  put.value = std::string(200'000, 'v');
  driver_->Send(kHead, put);
  EXPECT_TRUE(driver_->Receive<KvReply>().found);
  put.op = KvRequest::kGet;
  put.token = 2;
  driver_->Send(kHead, put);
  const KvReply reply = driver_->Receive<KvReply>();
  ASSERT_EQ(reply.values.size(), 1u);
  EXPECT_TRUE(reply.values[0] == put.value);
}

TEST_F(EngineTest, OutputOfWorkersReachesTheDriverWithAPrefix) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  engine_.FromForkserver(Output{worker->id().serial, 4711, false, ":task_name:f\nhello\nworld\n"});
  const DriverLine line = driver_->Receive<DriverLine>();
  EXPECT_EQ(line.text, "hello\nworld\n");
  EXPECT_THAT(line.prefix, HasSubstr("(f pid=4711, ip="));
  EXPECT_FALSE(line.is_stderr);
}

TEST_F(EngineTest, ActorIsPlacedStartedAndKilled) {
  StartJob();
  ActorCreate create;
  create.token = 4;
  create.spec.actor = ActorId::Random();
  create.spec.creator = driver_->id();
  create.spec.class_name = "Counter";
  create.spec.name = "counter";
  create.spec.handle = "handle";
  create.spec.placement.job = job_;
  create.spec.placement.resources.Set("CPU", ResourceSet::kUnit);
  driver_->Send(kHead, create);
  EXPECT_EQ(driver_->Receive<ActorCreated>().error, "");
  driver_->Send(kHead, ActorWatch{create.spec.actor});
  const auto worker = engine_.ForkWorker(8);
  const StartActor start = worker->Receive<StartActor>();
  EXPECT_EQ(start.spec.actor, create.spec.actor);
  worker->Send(kHead, ActorReady{create.spec.actor, start.incarnation, ""});
  ActorUpdate update;
  do update = driver_->Receive<ActorUpdate>();
  while (update.state == ActorState::kPending);
  EXPECT_EQ(update.state, ActorState::kAlive);
  EXPECT_EQ(update.process, worker->id());
  ActorLookup lookup;
  lookup.token = 6;
  lookup.name = "counter";
  driver_->Send(kHead, lookup);
  EXPECT_THAT(driver_->Receive<ActorFound>().handles, testing::ElementsAre("handle"));
  driver_->Send(kHead, ActorKill{create.spec.actor, true, "killed by the test"});
  EXPECT_EQ(engine_.NextForForkserver<Kill>().serial, worker->id().serial);
  Die(*worker, 8, SIGKILL);
  EXPECT_EQ(driver_->Receive<ActorUpdate>().state, ActorState::kDead);
}

TEST_F(EngineTest, LaterDriverJoinsByTheSocketAndItsDeathEndsItsLeases) {
  auto later = std::make_unique<TestProcess>(Connect(DriverHello()));
  later->SendReady(static_cast<std::uint32_t>(getpid()));
  EXPECT_NE(later->id(), driver_->id());
  JobStart start;
  start.token = 1;
  later->Send(kHead, start);
  LeaseDemand demand;
  demand.count = 1;
  demand.lease_class.job = later->Receive<JobStarted>().job;
  demand.lease_class.resources.Set("CPU", ResourceSet::kUnit);
  later->Send(kHead, demand);
  const auto worker = engine_.ForkWorker(5);
  later->Receive<LeaseGrant>();
  driver_->Send(driver_->id().Engine(), Watch{later->id()});
  later->CloseSocket();
  EXPECT_THAT(driver_->Receive<ProcessGone>().cause, HasSubstr("driver 0.2"));
  EXPECT_EQ(engine_.NextForForkserver<Kill>().serial, worker->id().serial);
}

TEST_F(EngineTest, RefusesAProcessOfAnotherBuild) {
  Hello hello;
  hello.build = "0.0.1+older";
  ControlSocket socket = Connect(hello);
  absl::StatusOr<ControlPacket> answer = socket.WaitReceive(kLimit);
  Refused refused;
  ASSERT_TRUE(answer.ok() && answer->As(&refused));
  EXPECT_THAT(refused.reason, HasSubstr("0.0.1+older"));
  EXPECT_THAT(refused.reason, HasSubstr(std::string(BuildId())));
}

TEST_F(EngineTest, ForkserverOfAnotherRankTakesItsShareOfTheWorkers) {
  auto pair = *ControlSocket::Pair();
  Hello hello = DriverHello();
  hello.kind = Hello::kForkserver;
  hello.num_cpus = 64;
  ControlSocket lifeline = *ControlSocket::Connect(up_.socket_name);
  const int fd = pair.second.fd();
  ASSERT_TRUE(lifeline.Send(hello, absl::MakeConstSpan(&fd, 1)).ok());
  absl::StatusOr<ControlPacket> answer = lifeline.WaitReceive(kLimit);
  Welcome welcome;
  ASSERT_TRUE(answer.ok() && answer->As(&welcome));
  StartJob();
  absl::StatusOr<ControlPacket> fork = pair.first.WaitReceive(kLimit);
  EXPECT_TRUE(fork.ok() && fork->type == ControlType::kFork);
}

TEST_F(EngineTest, SleepsWhenThereIsNothingToDo) {
  const ProcessBlock* engine = driver_->engine_block();
  EXPECT_TRUE(WaitUntil([&] { return engine->attention.load() == Attention::kAsleep; }));
  driver_->Send(kHead, ClusterRequest{3});
  EXPECT_EQ(driver_->Receive<ClusterReply>().token, 3u);
  EXPECT_TRUE(WaitUntil([&] { return engine->attention.load() == Attention::kAsleep; }));
}

TEST_F(EngineTest, EndOfTheDriverEndsEverythingAndLeavesNothing) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  engine_.Tell(DriverExited{7});
  EXPECT_EQ(worker->Receive<Shutdown>().reason, "the driver has ended");
  EXPECT_EQ(engine_.NextForForkserver<Kill>().serial, worker->id().serial);  // it did not end by itself
  Die(*worker, 4711, SIGKILL);
  EXPECT_EQ(engine_.WaitExit(), 0);
  EXPECT_TRUE(driver_->EngineGone());
  EXPECT_FALSE(ControlSocket::Connect(up_.socket_name).ok());
}

TEST_F(EngineTest, WithoutItsSupervisorItEndsAtOnce) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  engine_.CloseControl();
  EXPECT_EQ(engine_.WaitExit(), 71);
  EXPECT_TRUE(worker->EngineGone());
}

}  // namespace
}  // namespace ray_engine
