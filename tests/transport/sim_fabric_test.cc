#include "engine/transport/sim_fabric.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/transport/fabric_recorder.h"

namespace ray_engine {
namespace {

class SimFabricTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kNodes = 3;

  SimFabricTest() {
    for (std::uint32_t node = 0; node < kNodes; ++node) {
      fabric_[node] = network_.Attach(&saw_[node]);
      fabric_[node]->Introduce(node, "secret");
    }
    for (std::uint32_t from = 0; from < kNodes; ++from) Connect(from);
  }
  void Connect(std::uint32_t from) {
    for (std::uint32_t to = 0; to < kNodes; ++to) {
      EXPECT_EQ(fabric_[from]->Connect(to, fabric_[to]->Address()).ok(), from != to);
    }
  }

  SimNetwork network_;
  FabricRecorder saw_[kNodes];
  std::unique_ptr<Fabric> fabric_[kNodes];
};

TEST_F(SimFabricTest, FramesArriveInOrderWhenTheReceiverProgresses) {
  for (const char* text : {"a", "b", "c"}) fabric_[0]->Send(1, TestFrame(0, 1), text);
  EXPECT_FALSE(fabric_[1]->Arm());
  EXPECT_TRUE(saw_[1].frames.empty());
  EXPECT_TRUE(fabric_[1]->Progress());
  ASSERT_EQ(saw_[1].frames.size(), 3u);
  EXPECT_EQ(saw_[1].frames[2].payload, "c");
  EXPECT_EQ(saw_[1].frames[2].header.size, 1u);
  EXPECT_FALSE(fabric_[1]->Progress());
  EXPECT_TRUE(fabric_[1]->Arm());
}

TEST_F(SimFabricTest, ChunksLandWhereTheHandlerSays) {
  int done = 0;
  const auto count = [&](const absl::Status& status) { done += status.ok(); };
  const ObjectId object = ObjectId::Random();
  fabric_[0]->SendBulk(1, {object, 4, 4, 8}, "5678", count);
  fabric_[0]->SendBulk(1, {object, 0, 4, 8}, "1234", count);
  EXPECT_EQ(done, 0);
  network_.Settle();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(saw_[1].memory, "12345678");
}

TEST_F(SimFabricTest, DroppedNodeIsReportedAndItsLastFramesAreLost) {
  fabric_[1]->Send(0, TestFrame(1, 0), "never seen");
  network_.Drop(1, "power cut");
  network_.Settle();
  EXPECT_TRUE(saw_[0].frames.empty());
  for (const std::uint32_t node : {0, 2}) {
    ASSERT_EQ(saw_[node].lost.size(), 1u);
    EXPECT_EQ(saw_[node].lost[0], std::make_pair(1u, std::string("power cut")));
  }
  fabric_[0]->Send(1, TestFrame(0, 1), "too late");
  fabric_[1]->Send(0, TestFrame(1, 0), "from the grave");
  network_.Settle();
  EXPECT_EQ(fabric_[0]->Stats().dropped_unreachable, 1u);
  EXPECT_TRUE(saw_[0].frames.empty());
  EXPECT_TRUE(saw_[1].frames.empty());
}

TEST_F(SimFabricTest, ClosedNodeIsReportedAfterItsLastFrames) {
  fabric_[1]->Send(0, TestFrame(1, 0), "goodbye");
  fabric_[1].reset();
  network_.Settle();
  EXPECT_EQ(saw_[0].frames.size(), 1u);
  EXPECT_EQ(saw_[0].lost.size(), 1u);
}

TEST_F(SimFabricTest, StrangersAreNotListenedTo) {
  FabricRecorder stranger_saw;
  std::unique_ptr<Fabric> stranger = network_.Attach(&stranger_saw);
  stranger->Introduce(7, "guess");
  ASSERT_TRUE(stranger->Connect(0, fabric_[0]->Address()).ok());
  stranger->Send(0, TestFrame(7, 0), "hello");
  network_.Settle();
  EXPECT_TRUE(saw_[0].frames.empty());
  EXPECT_EQ(fabric_[0]->Stats().dropped_unauthenticated, 1u);
}

TEST_F(SimFabricTest, EveryChunkIsAnswered) {
  std::vector<bool> answers;
  const auto note = [&](const absl::Status& status) { answers.push_back(status.ok()); };
  fabric_[0]->SendBulk(9, {ObjectId::Random(), 0, 1, 1}, "x", note);
  fabric_[0]->SendBulk(1, {ObjectId::Random(), 0, 1, 1}, "x", note);
  fabric_[0].reset();
  EXPECT_EQ(answers, (std::vector<bool>{false, true}));
}

}  // namespace
}  // namespace ray_engine
