#include "engine/transport/fabric_wire.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "tests/transport/fabric_recorder.h"

namespace ray_engine {
namespace {

std::string BatchOf(const std::vector<std::string>& payloads) {
  std::string batch;
  for (const std::string& payload : payloads) AppendFrame(TestFrame(3, 4), payload, &batch);
  return batch;
}

TEST(FabricWire, FramesOfABatchComeOutAsTheyWentIn) {
  const std::vector<std::string> payloads = {"one", "", std::string(70'000, 'x')};
  const std::string batch = BatchOf(payloads);
  ASSERT_TRUE(WellFormed(batch, 3, 4));
  std::vector<std::string> seen;
  ForEachFrame(batch, [&](const FrameHeader& header, std::string_view payload) {
    EXPECT_EQ(header.size, payload.size());
    EXPECT_EQ(header.type, MessageType::kKvRequest);
    seen.emplace_back(payload);
    return true;
  });
  EXPECT_EQ(seen, payloads);
}

TEST(FabricWire, VisitorStopsAtFalse) {
  int visits = 0;
  ForEachFrame(BatchOf({"a", "b", "c"}), [&](const FrameHeader&, std::string_view) { return ++visits < 2; });
  EXPECT_EQ(visits, 2);
}

TEST(FabricWire, EveryTruncationIsMalformed) {
  const std::string batch = BatchOf({"payload"});
  for (std::size_t size = 1; size < batch.size(); ++size) EXPECT_FALSE(WellFormed(batch.substr(0, size), 3, 4)) << size;
  EXPECT_TRUE(WellFormed(batch, 3, 4));
}

TEST(FabricWire, ForeignAndUnknownFramesAreMalformed) {
  const std::string batch = BatchOf({"payload"});
  EXPECT_FALSE(WellFormed(batch, 2, 4));
  EXPECT_FALSE(WellFormed(batch, 3, 5));
  for (const int type : {0, static_cast<int>(MessageType::kHeartbeat) + 1, 0xffff}) {
    FrameHeader header = TestFrame(3, 4);
    header.type = static_cast<MessageType>(type);
    std::string unknown;
    AppendFrame(header, "payload", &unknown);
    EXPECT_FALSE(WellFormed(unknown, 3, 4)) << type;
  }
}

TEST(FabricWire, SizeBeyondTheBatchIsMalformed) {
  std::string batch = BatchOf({"payload"});
  batch[offsetof(FrameHeader, size) + 3] = '\x7f';
  EXPECT_FALSE(WellFormed(batch, 3, 4));
}

TEST(FabricWire, BatchesComeInOrderWhateverOrderTheyArriveIn) {
  BatchOrder order;
  std::string kept;
  std::vector<std::string> taken;
  const std::vector<std::pair<std::uint64_t, std::string>> arriving = {
      {2, "c"}, {0, "a"}, {0, "again"}, {3, "d"}, {1, "b"}};
  for (const auto& [sequence, batch] : arriving) {
    if (!order.Take(sequence, batch)) continue;
    taken.push_back(batch);
    while (order.TakeKept(&kept)) taken.push_back(kept);
  }
  EXPECT_EQ(taken, (std::vector<std::string>{"a", "b", "c", "d"}));
}

TEST(FabricWire, SecretsAreComparedWhole) {
  EXPECT_TRUE(SameSecret("0123456789abcdef", "0123456789abcdef"));
  EXPECT_FALSE(SameSecret("0123456789abcdef", "0123456789abcdeF"));
  EXPECT_FALSE(SameSecret("0123456789abcdef", "0123456789abcde"));
  EXPECT_FALSE(SameSecret("", "x"));
}

TEST(FabricWire, IncarnationsDiffer) { EXPECT_NE(RandomIncarnation(), RandomIncarnation()); }

}  // namespace
}  // namespace ray_engine
