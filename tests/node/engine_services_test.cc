// One real node engine: its store, its tables, its guests, and its end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "tests/node/engine_test_base.h"

namespace ray_engine {
namespace {

using testing::HasSubstr;

TEST_F(EngineTest, OutputIsFlushedWhenTheForkserverHasAnswered) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  driver_->Send(kHead, FlushOutput{7});
  const Flush asked = engine_.NextForForkserver<Flush>();
  driver_->Send(kHead, ClusterRequest{8});
  driver_->Receive<ClusterReply>();  // so the flush could have been answered
  OutputFlushed flushed;
  EXPECT_FALSE(driver_->Take(&flushed));
  engine_.FromForkserver(Flushed{asked.token});
  EXPECT_EQ(driver_->Receive<OutputFlushed>().token, 7u);
}

TEST_F(EngineTest, AForkserverWithoutWorkersIsNotAskedForTheirOutput) {
  driver_->Send(kHead, FlushOutput{7});
  EXPECT_EQ(driver_->Receive<OutputFlushed>().token, 7u);
}

TEST_F(EngineTest, FlushingOutputDoesNotWaitForAForkserverThatHasEnded) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  driver_->Send(kHead, FlushOutput{7});
  engine_.NextForForkserver<Flush>();
  engine_.CloseForkserver();
  EXPECT_EQ(driver_->Receive<OutputFlushed>().token, 7u);
  driver_->Send(kHead, FlushOutput{8});
  EXPECT_EQ(driver_->Receive<OutputFlushed>().token, 8u);
}

TEST_F(EngineTest, StoreCreatesSealsAndPins) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  const ObjectId object = ObjectId::Random();
  driver_->Send(driver_->id().Engine(), StoreReserve{1, 1 << 20, StoreUse::kObject});
  const StoreReserved created = driver_->Receive<StoreReserved>();
  ASSERT_EQ(created.error, "");
  std::memset(driver_->store().data() + created.offset, 'x', 1 << 20);
  driver_->Send(driver_->id().Engine(), StoreSeal{object, driver_->id(), created.offset, 1 << 20});
  worker->Send(worker->id().Engine(), StorePin{9, object, driver_->id(), 0, 1 << 20});
  const StorePinned pinned = worker->Receive<StorePinned>();
  ASSERT_EQ(pinned.error, "");
  EXPECT_EQ(pinned.size, 1u << 20);
  EXPECT_EQ(worker->store().data()[pinned.offset + 77], 'x');
}

TEST_F(EngineTest, StoreWaitsForRoomUntilAnObjectIsFreed) {
  const ObjectId first = ObjectId::Random();
  driver_->Send(driver_->id().Engine(), StoreReserve{1, 6 << 20, StoreUse::kObject});
  const std::uint64_t offset = driver_->Receive<StoreReserved>().offset;
  driver_->Send(driver_->id().Engine(), StoreSeal{first, driver_->id(), offset, 6 << 20});
  driver_->Send(driver_->id().Engine(), StoreReserve{2, 6 << 20, StoreUse::kObject});
  driver_->Send(driver_->id().Engine(), StoreFree{{first}});
  const StoreReserved created = driver_->Receive<StoreReserved>();
  EXPECT_EQ(created.token, 2u);
  EXPECT_EQ(created.error, "");
}

TEST_F(EngineTest, StoreRefusesWhatCanNeverFit) {
  driver_->Send(driver_->id().Engine(), StoreReserve{1, 100 << 20, StoreUse::kObject});
  EXPECT_NE(driver_->Receive<StoreReserved>().error, "");
}

TEST_F(EngineTest, ObjectWrittenTwiceKeepsItsFirstValue) {
  const ObjectId object = ObjectId::Random();
  const auto write = [&](char value) {
    driver_->Send(driver_->id().Engine(), StoreReserve{1, 4096, StoreUse::kObject});
    const StoreReserved created = driver_->Receive<StoreReserved>();
    EXPECT_EQ(created.error, "");
    std::memset(driver_->store().data() + created.offset, value, 4096);
    driver_->Send(driver_->id().Engine(), StoreSeal{object, driver_->id(), created.offset, 4096});
  };
  write('1');
  write('2');
  driver_->Send(driver_->id().Engine(), StorePin{9, object, driver_->id(), 0, 4096});
  EXPECT_EQ(driver_->store().data()[driver_->Receive<StorePinned>().offset], '1');
}

TEST_F(EngineTest, ObjectsOfADeadOwnerAreFreed) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  worker->Send(worker->id().Engine(), StoreReserve{1, 6 << 20, StoreUse::kObject});
  const StoreReserved created = worker->Receive<StoreReserved>();
  EXPECT_EQ(created.error, "");
  worker->Send(worker->id().Engine(), StoreSeal{ObjectId::Random(), worker->id(), created.offset, 6 << 20});
  Die(*worker, 4711, SIGSEGV);
  driver_->Send(driver_->id().Engine(), StoreReserve{2, 6 << 20, StoreUse::kObject});
  EXPECT_EQ(driver_->Receive<StoreReserved>().error, "");
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
  EXPECT_TRUE(refused.is_other_version);
}

TEST_F(EngineTest, RefusesWhatIsNoHello) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    ControlSocket socket = *ControlSocket::Connect(up_.socket_name);
    std::string bytes(2 + random() % 100, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % (i % 2 == 0 ? 256 : 5));
    ASSERT_GT(send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    const absl::StatusOr<ControlPacket> answer = socket.WaitReceive(kLimit);
    Refused refused;
    ASSERT_TRUE(answer.ok() && answer->As(&refused)) << i;
  }
  driver_->Send(kHead, ClusterRequest{1});
  EXPECT_EQ(driver_->Receive<ClusterReply>().nodes.size(), 1u);
}

TEST_F(EngineTest, RefusesADriverOfAnotherRayOrPython) {
  for (std::string Hello::*version : {&Hello::ray, &Hello::python}) {
    Hello hello = DriverHello();
    hello.*version = "1.2.3";
    ControlSocket socket = Connect(hello);
    absl::StatusOr<ControlPacket> answer = socket.WaitReceive(kLimit);
    Refused refused;
    ASSERT_TRUE(answer.ok() && answer->As(&refused));
    EXPECT_TRUE(refused.is_other_version);
    EXPECT_THAT(refused.reason, HasSubstr("1.2.3"));
    EXPECT_THAT(refused.reason, HasSubstr(std::string(DriverHello().*version)));
  }
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
