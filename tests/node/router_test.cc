#include "engine/node/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <type_traits>

namespace ray_engine {

struct PushTask;  // laid out by hand (engine/wire/task_spec.h), and not for engines
struct TaskDone;

namespace {

template <class Message, class = void>
struct IsDecoded : std::false_type {};
template <class Message>
struct IsDecoded<Message, std::void_t<decltype(sizeof(Message))>> : std::true_type {};

// Counts messages of this type.
template <class Message>
void Take(Router* router, std::uint64_t* taken) {
  if constexpr (IsDecoded<Message>()) router->On<Message>([taken](ProcessId, const Message&) { ++*taken; });
}

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Sent {
  std::uint32_t where;  // serial or node
  FrameHeader header;
  std::string payload;
};

class RecordingWays : public FrameWays {
 public:
  bool ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) override {
    if (serial == dead) return false;
    to_process.push_back({serial, header, std::string(payload)});
    return true;
  }
  bool ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) override {
    to_node.push_back({node, header, std::string(payload)});
    return true;
  }
  std::uint32_t dead = 0;
  std::vector<Sent> to_process, to_node;
};

FrameHeader Header(ProcessId from, ProcessId to, MessageType type, std::uint8_t flags = 0) {
  FrameHeader header;
  header.type = type;
  header.flags = flags;
  header.from = from;
  header.to = to;
  return header;
}

class RouterTest : public testing::Test {
 protected:
  RouterTest() { router_.SetSelf({1, 0}); }
  RecordingWays ways_;
  Router router_{&ways_};
};

TEST_F(RouterTest, FramesForProcessesAndNodesPassThroughUnchanged) {
  router_.OnFrame(Header({1, 4}, {1, 5}, MessageType::kPushTask, kMoreFragments), "part");
  router_.OnFrame(Header({1, 4}, {2, 5}, MessageType::kPushTask), "far");
  ASSERT_THAT(ways_.to_process, SizeIs(1));
  EXPECT_EQ(ways_.to_process[0].where, 5u);
  EXPECT_EQ(ways_.to_process[0].header.flags, kMoreFragments);
  EXPECT_EQ(ways_.to_process[0].payload, "part");
  ASSERT_THAT(ways_.to_node, SizeIs(1));
  EXPECT_EQ(ways_.to_node[0].where, 2u);
}

TEST_F(RouterTest, FragmentsForTheEngineAreJoinedPerSender) {
  std::vector<std::pair<ProcessId, std::string>> got;
  router_.On<KvRequest>([&](ProcessId from, const KvRequest& request) { got.emplace_back(from, request.value); });
  KvRequest request;
  request.value = "first";
  const std::string a = Encode(request);
  request.value = "second";
  const std::string b = Encode(request);
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kKvRequest, kMoreFragments), a.substr(0, 9));
  router_.OnFrame(Header({1, 5}, {1, 0}, MessageType::kKvRequest, kMoreFragments), b.substr(0, 9));
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kKvRequest), a.substr(9));
  router_.OnFrame(Header({1, 5}, {1, 0}, MessageType::kKvRequest), b.substr(9));
  EXPECT_THAT(got, ElementsAre(std::pair(ProcessId{1, 4}, "first"), std::pair(ProcessId{1, 5}, "second")));
}

TEST_F(RouterTest, PartsOfADeadSenderAreForgotten) {
  std::vector<std::uint32_t> pids;
  router_.On<Ready>([&](ProcessId, const Ready& ready) { pids.push_back(ready.pid); });
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kReady, kMoreFragments), "ab");
  router_.Forget({1, 4});
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kReady), Encode(Ready{17}));
  EXPECT_THAT(pids, ElementsAre(17));
}

TEST_F(RouterTest, LongMessagesOfTheEngineAreCutIntoFragments) {
  KvReply reply;
  reply.values = {std::string(3 * kMaxFragment, 'x')};
  router_.Send({2, 7}, reply, true);
  ASSERT_THAT(ways_.to_node, SizeIs(4));
  std::string joined;
  for (std::size_t i = 0; i < ways_.to_node.size(); ++i) {
    const Sent& sent = ways_.to_node[i];
    EXPECT_LE(sent.payload.size(), kMaxFragment);
    EXPECT_EQ(sent.header.size, sent.payload.size());
    EXPECT_EQ((sent.header.flags & kMoreFragments) != 0, i + 1 < ways_.to_node.size());
    joined += sent.payload;
  }
  EXPECT_EQ(joined, Encode(reply));
}

TEST_F(RouterTest, FrameForADeadProcessIsAnsweredWithItsCause) {
  ways_.dead = 5;
  router_.SetCauseOf([](ProcessId) { return std::string("it fell over"); });
  router_.OnFrame(Header({2, 4}, {1, 5}, MessageType::kPushTask), "task");
  ASSERT_THAT(ways_.to_node, SizeIs(1));
  EXPECT_EQ(ways_.to_node[0].header.to, (ProcessId{2, 4}));
  ProcessGone gone;
  ASSERT_TRUE(Decode(ways_.to_node[0].payload, &gone));
  EXPECT_EQ(gone.process, (ProcessId{1, 5}));
  EXPECT_EQ(gone.cause, "it fell over");
  router_.Send({1, 5}, Shutdown{"idle"});  // nobody is told that the engine's own message is lost
  EXPECT_THAT(ways_.to_node, SizeIs(1));
}

TEST_F(RouterTest, MessagesToItselfWaitForTheNextTurn) {
  std::vector<std::uint32_t> pids;
  router_.On<Ready>([&](ProcessId, const Ready& ready) {
    pids.push_back(ready.pid);
    if (ready.pid == 1) router_.Send({1, 0}, Ready{2});
  });
  router_.Send({1, 0}, Ready{1});
  EXPECT_THAT(pids, IsEmpty());
  EXPECT_FALSE(router_.PrepareToSleep());
  EXPECT_TRUE(router_.Poll());
  EXPECT_THAT(pids, ElementsAre(1));
  EXPECT_TRUE(router_.Poll());
  EXPECT_THAT(pids, ElementsAre(1, 2));
  EXPECT_TRUE(router_.PrepareToSleep());
}

TEST_F(RouterTest, MalformedAndUnknownMessagesAreDropped) {
  int calls = 0;
  router_.On<Ready>([&](ProcessId, const Ready&) { ++calls; });
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kReady), "x");
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kTaskDone), "x");
  EXPECT_EQ(calls, 0);
}

TEST_F(RouterTest, WhatMakesNoSenseIsDroppedAndCounted) {
  int taken = 0;
  router_.On<KvRequest>([&](ProcessId, const KvRequest&) { ++taken; });
  router_.OnFromHead<Shutdown>([&](const Shutdown&) { ++taken; });
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kKvRequest), "no request");
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kGroupCreate), "nobody takes it");
  router_.OnFrame(Header({1, 4}, {1, 0}, MessageType::kShutdown), Encode(Shutdown{"said by a worker"}));
  EXPECT_EQ(taken, 0);
  EXPECT_EQ(router_.dropped(), 3u);
  router_.OnFrame(Header(kHead, {1, 0}, MessageType::kShutdown), Encode(Shutdown{"said by the head"}));
  EXPECT_EQ(taken, 1);
}

// Whatever bytes come as whatever message: they are taken or dropped.
TEST_F(RouterTest, RandomBytesAreNoCrash) {
  std::uint64_t taken = 0;
#define RAY_ENGINE_TAKE(name) Take<name>(&router_, &taken);
  RAY_ENGINE_MESSAGES(RAY_ENGINE_TAKE)
#undef RAY_ENGINE_TAKE
  std::mt19937_64 random(1);
  constexpr std::uint64_t kFrames = 200'000;
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    std::string bytes(random() % 200, '\0');
    const auto kind = random() % 3;  // all values, small ones, none but zeros with one large
    for (char& byte : bytes) byte = static_cast<char>(kind == 0 ? random() : kind == 1 ? random() % 3 : 0);
    if (kind == 2 && !bytes.empty()) bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto type = static_cast<MessageType>(random() % (static_cast<std::uint16_t>(MessageType::kHeartbeat) + 20));
    router_.OnFrame(Header({1, 4}, {1, 0}, type), bytes);
  }
  EXPECT_EQ(taken + router_.dropped(), kFrames);
  EXPECT_GT(taken, kFrames / 100);
  EXPECT_GT(router_.dropped(), kFrames / 100);
}

}  // namespace
}  // namespace ray_engine
