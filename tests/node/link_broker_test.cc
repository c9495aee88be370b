#include "engine/node/link_broker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RecordingAllocator : public LinkAllocator {
 public:
  std::uint64_t Allocate(std::uint32_t, std::uint32_t) override { return full ? 0 : next += 100; }
  void Free(std::uint64_t offset) override { freed.push_back(offset); }
  void Forget(std::uint32_t serial) override { forgotten.push_back(serial); }

  bool full = false;
  std::uint64_t next = 0;
  std::vector<std::uint64_t> freed;
  std::vector<std::uint32_t> forgotten;
};

class LinkBrokerTest : public testing::Test {
 protected:
  RecordingAllocator memory_;
  LinkBroker broker_{3, &memory_};
};

TEST_F(LinkBrokerTest, BothEndsAreGrantedTheLinkWithDifferentSides) {
  const auto grants = broker_.OnRequest(5, 2);
  ASSERT_EQ(grants.size(), 2u);
  EXPECT_EQ(grants[0].to, 5u);
  EXPECT_EQ(grants[0].grant.peer, (ProcessId{3, 2}));
  EXPECT_EQ(grants[1].to, 2u);
  EXPECT_EQ(grants[1].grant.peer, (ProcessId{3, 5}));
  EXPECT_EQ(grants[0].grant.offset, 100u);
  EXPECT_EQ(grants[1].grant.offset, 100u);
  EXPECT_EQ(grants[0].grant.side + grants[1].grant.side, 1);
}

TEST_F(LinkBrokerTest, SecondRequestOfAPairRepeatsTheSameLink) {
  const auto first = broker_.OnRequest(1, 2);
  const auto again = broker_.OnRequest(2, 1);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].to, 2u);
  EXPECT_EQ(again[0].grant.offset, first[1].grant.offset);
  EXPECT_EQ(again[0].grant.side, first[1].grant.side);
}

TEST_F(LinkBrokerTest, LinkIsFreeOnceTheSurvivorHasLetGo) {
  broker_.OnRequest(1, 2);
  EXPECT_THAT(broker_.OnGone(2), ElementsAre(1));
  EXPECT_THAT(memory_.freed, IsEmpty());
  EXPECT_THAT(memory_.forgotten, IsEmpty());
  broker_.OnClosed(1, 2);
  EXPECT_THAT(memory_.freed, ElementsAre(100));
  EXPECT_THAT(memory_.forgotten, ElementsAre(2));
  EXPECT_EQ(broker_.links(), 0u);
}

TEST_F(LinkBrokerTest, LinkIsFreeOnceBothEndsAreDead) {
  broker_.OnRequest(1, 2);
  broker_.OnGone(1);
  EXPECT_THAT(broker_.OnGone(2), IsEmpty());
  EXPECT_THAT(memory_.freed, ElementsAre(100));
  EXPECT_THAT(memory_.forgotten, testing::UnorderedElementsAre(1, 2));
}

TEST_F(LinkBrokerTest, ClosingALinkToALivingPeerChangesNothing) {
  broker_.OnRequest(1, 2);
  broker_.OnClosed(1, 2);
  EXPECT_THAT(memory_.freed, IsEmpty());
  EXPECT_EQ(broker_.links(), 1u);
}

TEST_F(LinkBrokerTest, SlotOfADeadProcessIsKeptWhileAnyoneMayStillRingIt) {
  broker_.OnRequest(1, 3);
  broker_.OnRequest(2, 3);
  broker_.OnGone(3);
  broker_.OnClosed(1, 3);
  EXPECT_THAT(memory_.forgotten, IsEmpty());
  broker_.OnClosed(2, 3);
  EXPECT_THAT(memory_.forgotten, ElementsAre(3));
}

TEST_F(LinkBrokerTest, ProcessWithoutLinksIsForgottenAtOnce) {
  EXPECT_THAT(broker_.OnGone(9), IsEmpty());
  EXPECT_THAT(memory_.forgotten, ElementsAre(9));
}

TEST_F(LinkBrokerTest, PairWithoutRoomForALinkIsRelayedForGood) {
  memory_.full = true;
  EXPECT_EQ(broker_.OnRequest(1, 2)[0].grant.offset, 0u);
  memory_.full = false;
  EXPECT_EQ(broker_.OnRequest(1, 2)[0].grant.offset, 0u);
  EXPECT_THAT(broker_.OnGone(2), ElementsAre(1));
  EXPECT_THAT(memory_.freed, IsEmpty());
  EXPECT_THAT(memory_.forgotten, ElementsAre(2));
  EXPECT_EQ(broker_.links(), 0u);
}

}  // namespace
}  // namespace ray_engine
