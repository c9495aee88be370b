#include "engine/core/store_chunk.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/recording_sender.h"

namespace ray_engine {
namespace {

class StoreChunkTest : public testing::Test {
 protected:
  static constexpr ProcessId kSelf{0, 1}, kEngine{0, 0};

  bool Nothing() { return sender_.Nothing(kEngine); }
  StoreReserve Asked() { return sender_.Take<StoreReserve>(kEngine); }
  StoreReturn Returned() { return sender_.Take<StoreReturn>(kEngine); }
  void TearDown() override { EXPECT_EQ(sender_.Left(), ""); }
  // As many objects as are asked for one by one, and the chunk that comes then.
  void BeginAt(std::uint64_t offset) {
    for (std::uint32_t i = 0; i <= StoreChunk::kFew; ++i) EXPECT_FALSE(chunk_.Carve(1000, now_));
    EXPECT_EQ(Asked().size, StoreChunk::kFirst);
    chunk_.On(StoreReserved{0, offset, StoreProblem::kNone, ""}, now_);
  }

  RecordingSender sender_{kSelf};
  StoreChunk chunk_{&sender_};
  std::int64_t now_ = 1'000'000'000;
};

TEST_F(StoreChunkTest, AFewObjectsAreWorthNoChunk) {
  for (std::uint32_t i = 0; i < StoreChunk::kFew; ++i) EXPECT_FALSE(chunk_.Carve(1000, now_));
  EXPECT_TRUE(Nothing());
  EXPECT_FALSE(chunk_.NeedsTick());
}

TEST_F(StoreChunkTest, ObjectsAreCarvedOneBehindTheOther) {
  BeginAt(1 << 20);
  EXPECT_EQ(chunk_.Carve(1000, now_), 1u << 20);
  EXPECT_EQ(chunk_.Carve(0, now_), (1u << 20) + 1024);
  EXPECT_EQ(chunk_.Carve(64, now_), (1u << 20) + 1024 + 64);
  EXPECT_FALSE(chunk_.Carve(StoreChunk::kLimit, now_)) << "large ones are asked for";
  EXPECT_TRUE(Nothing());
}

TEST_F(StoreChunkTest, WhatIsUsedUpIsFollowedByALargerOne) {
  BeginAt(0);
  std::uint64_t carved = 0;
  while (chunk_.Carve(100'000, now_)) carved += 100'032;
  EXPECT_LE(carved, StoreChunk::kFirst);
  const StoreReserve asked = Asked();
  EXPECT_EQ(asked.size, 2 * StoreChunk::kFirst);
  EXPECT_EQ(asked.use, StoreUse::kChunk);
  EXPECT_FALSE(chunk_.Carve(900'000, now_));
  EXPECT_TRUE(Nothing()) << "once at a time";
  chunk_.On(StoreReserved{0, 64 << 20, StoreProblem::kNone, ""}, now_);
  const StoreReturn rest = Returned();
  EXPECT_EQ(rest.offset, carved);
  EXPECT_EQ(rest.size, StoreChunk::kFirst - carved);
  EXPECT_EQ(chunk_.Carve(100'000, now_), 64u << 20);
}

TEST_F(StoreChunkTest, IdleRestGoesBack) {
  BeginAt(0);
  chunk_.Carve(64, now_);
  chunk_.Tick(now_ + StoreChunk::kIdleNs);
  EXPECT_TRUE(chunk_.NeedsTick());
  chunk_.Tick(now_ + StoreChunk::kIdleNs + 1);
  const StoreReturn rest = Returned();
  EXPECT_EQ(rest.offset, 64u);
  EXPECT_EQ(rest.size, StoreChunk::kFirst - 64);
  EXPECT_FALSE(chunk_.NeedsTick());
  EXPECT_FALSE(chunk_.Carve(64, now_));
}

TEST_F(StoreChunkTest, WhatComesAfterTheEngineWantedAllBackGoesBackAsWell) {
  for (std::uint32_t i = 0; i <= StoreChunk::kFew; ++i) chunk_.Carve(1000, now_);
  Asked();
  chunk_.GiveBack();
  EXPECT_TRUE(Nothing());
  chunk_.On(StoreReserved{0, 4096, StoreProblem::kNone, ""}, now_);
  const StoreReturn rest = Returned();
  EXPECT_EQ(rest.offset, 4096u);
  EXPECT_EQ(rest.size, StoreChunk::kFirst);
  EXPECT_FALSE(chunk_.NeedsTick());
}

TEST_F(StoreChunkTest, WhoIsRefusedAsksAgainOnlyLater) {
  for (std::uint32_t i = 0; i <= StoreChunk::kFew; ++i) chunk_.Carve(1000, now_);
  Asked();
  chunk_.On(StoreReserved{0, 0, StoreProblem::kFull, ""}, now_);
  EXPECT_FALSE(chunk_.Carve(1000, now_));
  EXPECT_TRUE(Nothing());
  EXPECT_FALSE(chunk_.Carve(1000, now_ + StoreChunk::kRefusedNs));
  EXPECT_EQ(Asked().size, StoreChunk::kFirst);
}

}  // namespace
}  // namespace ray_engine
