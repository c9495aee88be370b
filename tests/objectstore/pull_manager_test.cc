#include "objectstore/pull_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace ray_engine {
namespace {

using testing::HasSubstr;

constexpr ProcessId kSelf{0, 0}, kAlice{0, 1}, kBob{0, 2}, kOwner{3, 5};
constexpr std::uint64_t kStoreSize = 8 * kPullChunk;

ObjectId Object(char name) { return ObjectId::FromBinary(std::string(ObjectId::kSize, name)); }

BulkChunk Chunk(char name, std::uint64_t index, std::uint64_t total) {
  const std::uint64_t offset = index * kPullChunk;
  return {Object(name), offset, std::min(kPullChunk, total - offset), total};
}

class PullManagerTest : public testing::Test {
 protected:
  ~PullManagerTest() override {
    EXPECT_EQ(pulls_.CheckInvariants(), "");
    EXPECT_EQ(store_.CheckInvariants(), "");
  }

  PullActions Want(char name, std::uint64_t size, ProcessId client = kAlice, std::uint64_t token = 1,
                   std::uint32_t node = 7) {
    return pulls_.OnWant(Object(name), kOwner, node, size, client, token);
  }
  bool Begin(char name, std::uint64_t index, std::uint64_t total, std::uint32_t node = 7) {
    return pulls_.OnChunk(node, Chunk(name, index, total)).has_value();
  }
  PullActions End(char name, std::uint64_t index, std::uint64_t total, const absl::Status& status = absl::OkStatus()) {
    return pulls_.OnChunkDone(7, Chunk(name, index, total), status);
  }
  // Object 'a', of one chunk, is asked for there, comes, and serves one client.
  void ExpectPulledFromNode8(const PullActions& actions) {
    ASSERT_EQ(actions.requests.size(), 1u);
    EXPECT_EQ(actions.requests[0].node, 8u);
    ASSERT_TRUE(Begin('a', 0, kPullChunk, 8));
    EXPECT_EQ(pulls_.OnChunkDone(8, Chunk('a', 0, kPullChunk), absl::OkStatus()).pinned.size(), 1u);
  }
  // All chunks in order; returns what the last one caused.
  PullActions Arrive(char name, std::uint64_t total) {
    PullActions last;
    for (std::uint64_t index = 0; index * kPullChunk < total; ++index) {
      EXPECT_TRUE(Begin(name, index, total)) << index;
      last = End(name, index, total);
    }
    return last;
  }
  void Put(char name, std::uint64_t size) {
    ASSERT_TRUE(store_.Create(Object(name), size, kBob).ok());
    ASSERT_TRUE(store_.Seal(Object(name), kBob).ok());
  }

  Store store_{kStoreSize};
  PullManager pulls_{&store_, kSelf, {4 * kPullChunk, 1000}};
};

TEST_F(PullManagerTest, ObjectThatIsHereIsPinnedAtOnce) {
  Put('a', 100);
  const PullActions actions = Want('a', 100);
  ASSERT_EQ(actions.pinned.size(), 1u);
  EXPECT_EQ(actions.pinned[0].client, kAlice);
  EXPECT_EQ(actions.pinned[0].location.size, 100u);
  EXPECT_TRUE(actions.requests.empty());
  EXPECT_EQ(store_.Stats().pinned_bytes, 100u);
}

TEST_F(PullManagerTest, ManyWaitersOnePull) {
  constexpr std::uint64_t kSize = 2 * kPullChunk + 5;
  const PullActions first = Want('a', kSize, kAlice, 1);
  ASSERT_EQ(first.requests.size(), 1u);
  EXPECT_EQ(first.requests[0].node, 7u);
  EXPECT_TRUE(Want('a', kSize, kBob, 2).empty());
  EXPECT_TRUE(Want('a', kSize, kBob, 3).empty());
  const PullActions done = Arrive('a', kSize);
  ASSERT_EQ(done.pinned.size(), 3u);
  EXPECT_EQ(done.pinned[2].token, 3u);
  ASSERT_EQ(done.added.size(), 1u);
  EXPECT_EQ(done.added[0].owner, kOwner);
  EXPECT_EQ(pulls_.pulls(), 0u);
  EXPECT_EQ(pulls_.bytes_in_flight(), 0u);
  EXPECT_EQ(pulls_.Stats().pulled_objects, 1u);
  for (int i = 0; i < 2; ++i) store_.Unpin(Object('a'), kBob);
  EXPECT_EQ(store_.Stats().pinned_bytes, kSize);
  store_.Unpin(Object('a'), kAlice);
  EXPECT_EQ(store_.Stats().pinned_bytes, 0u);
}

TEST_F(PullManagerTest, ChunksComeInAnyOrderAndOnlyOnce) {
  constexpr std::uint64_t kSize = 3 * kPullChunk;
  Want('a', kSize);
  const auto place = pulls_.OnChunk(7, Chunk('a', 2, kSize));
  ASSERT_TRUE(place);
  EXPECT_FALSE(Begin('a', 2, kSize));  // is arriving
  End('a', 2, kSize);
  EXPECT_FALSE(Begin('a', 2, kSize));  // is here
  EXPECT_EQ(*pulls_.OnChunk(7, Chunk('a', 0, kSize)) + 2 * kPullChunk, *place);
  EXPECT_TRUE(Begin('a', 1, kSize));
  EXPECT_TRUE(End('a', 1, kSize).pinned.empty());
  EXPECT_EQ(End('a', 0, kSize).pinned.size(), 1u);
}

TEST_F(PullManagerTest, StrangeChunksAreRefused) {
  constexpr std::uint64_t kSize = 2 * kPullChunk;
  Want('a', kSize);
  EXPECT_FALSE(Begin('b', 0, kSize));                                        // nobody wants it
  EXPECT_FALSE(Begin('a', 0, kSize, 8));                                     // from another node
  EXPECT_FALSE(pulls_.OnChunk(7, {Object('a'), 0, kPullChunk, kSize + 1}));  // another size
  EXPECT_FALSE(pulls_.OnChunk(7, {Object('a'), 1, kPullChunk, kSize}));      // not a chunk's start
  EXPECT_FALSE(pulls_.OnChunk(7, {Object('a'), kPullChunk, 1, kSize}));      // not its length
  EXPECT_FALSE(pulls_.OnChunk(7, {Object('a'), 2 * kPullChunk, 0, kSize}));  // behind the end
}

TEST_F(PullManagerTest, FailureReachesEveryWaiterAndFreesTheMemory) {
  Want('a', kPullChunk, kAlice, 1);
  Want('a', kPullChunk, kBob, 2);
  EXPECT_TRUE(pulls_.OnPullFailed(8, Object('a'), "not from you").empty());
  const PullActions actions = pulls_.OnPullFailed(7, Object('a'), "it is not here");
  ASSERT_EQ(actions.failed.size(), 2u);
  EXPECT_EQ(actions.failed[1].error, "it is not here");
  EXPECT_EQ(pulls_.Stats().failed, 1u);
  EXPECT_EQ(store_.Stats().memory.used, 0u);
  EXPECT_EQ(pulls_.pulls(), 0u);
}

TEST_F(PullManagerTest, MemoryIsKeptWhileAChunkIsStillArriving) {
  constexpr std::uint64_t kSize = 2 * kPullChunk;
  Want('a', kSize);
  ASSERT_TRUE(Begin('a', 0, kSize));
  const PullActions lost = pulls_.OnNodeLost(7, "gone");
  ASSERT_EQ(lost.failed.size(), 1u);
  EXPECT_THAT(lost.failed[0].error, HasSubstr("node 7"));
  EXPECT_EQ(store_.Stats().memory.used, kSize);
  EXPECT_FALSE(Begin('a', 1, kSize));
  EXPECT_EQ(End('a', 0, kSize, absl::UnavailableError("cut")).aborted.size(), 1u);
  EXPECT_EQ(store_.Stats().memory.used, 0u);
}

TEST_F(PullManagerTest, LostNodesAreNotAsked) {
  pulls_.OnNodeLost(7, "gone");
  const PullActions actions = Want('a', 100);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("node 7"));
  EXPECT_EQ(pulls_.pulls(), 0u);
}

TEST_F(PullManagerTest, NodeThatIsGettingTheObjectIsAskedInstead) {
  Want('a', 2 * kPullChunk);
  EXPECT_TRUE(pulls_.OnElsewhere(9, Object('a'), 8).empty());  // it was not asked
  const PullActions actions = pulls_.OnElsewhere(7, Object('a'), 8);
  ASSERT_EQ(actions.requests.size(), 1u);
  EXPECT_EQ(actions.requests[0].node, 8u);
  EXPECT_TRUE(actions.requests[0].direct);
  EXPECT_FALSE(Begin('a', 0, 2 * kPullChunk, 7));
  EXPECT_TRUE(Begin('a', 0, 2 * kPullChunk, 8));
  End('a', 0, 2 * kPullChunk);
  EXPECT_EQ(store_.Written(Object('a')), kPullChunk);
}

TEST_F(PullManagerTest, HolderIsAskedDirectlyIfTheOtherNodeIsLostOrIsThisOne) {
  pulls_.OnNodeLost(8, "gone");
  for (const std::uint32_t next : {8u, kSelf.node}) {
    Want('a', 2 * kPullChunk);
    const PullActions actions = pulls_.OnElsewhere(7, Object('a'), next);
    ASSERT_EQ(actions.requests.size(), 1u);
    EXPECT_EQ(actions.requests[0].node, 7u);
    EXPECT_TRUE(actions.requests[0].direct);
  }
}

TEST_F(PullManagerTest, RestComesFromTheHolderWhenTheOtherNodeFails) {
  constexpr std::uint64_t kSize = 3 * kPullChunk;
  Want('a', kSize);
  pulls_.OnElsewhere(7, Object('a'), 8);
  ASSERT_TRUE(Begin('a', 0, kSize, 8));
  ASSERT_TRUE(Begin('a', 1, kSize, 8));
  End('a', 0, kSize);
  EXPECT_TRUE(pulls_.OnPullFailed(8, Object('a'), "given up").requests.empty());  // a chunk is arriving still
  EXPECT_FALSE(Begin('a', 2, kSize, 8));
  const PullActions actions = End('a', 1, kSize, absl::UnavailableError("cut"));
  ASSERT_EQ(actions.requests.size(), 1u);
  EXPECT_EQ(actions.requests[0].node, 7u);
  EXPECT_EQ(actions.requests[0].from, kPullChunk);
  EXPECT_TRUE(actions.requests[0].direct);
  for (const std::uint64_t index : {1, 2}) ASSERT_TRUE(Begin('a', index, kSize));
  EXPECT_TRUE(End('a', 1, kSize).pinned.empty());
  EXPECT_EQ(End('a', 2, kSize).pinned.size(), 1u);
}

TEST_F(PullManagerTest, NothingIsLeftToAskWhenTheHolderIsLostAndThenTheOtherNode) {
  Want('a', 2 * kPullChunk);
  pulls_.OnElsewhere(7, Object('a'), 8);
  EXPECT_TRUE(pulls_.OnNodeLost(7, "gone").failed.empty());  // the other one may have all of it
  const PullActions actions = pulls_.OnNodeLost(8, "gone too");
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("node 7"));
}

TEST_F(PullManagerTest, AHolderWithoutMemoryHasNotLostTheObject) {
  Want('a', kPullChunk);
  const PullActions actions = pulls_.OnPullFailed(7, Object('a'), "no room to bring it back", true);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_TRUE(actions.failed[0].full);
}

TEST_F(PullManagerTest, SourceIsToldWhenNobodyWaitsAnyMore) {
  Want('a', 2 * kPullChunk);
  const PullActions actions = pulls_.OnCancel(kAlice, 1);
  ASSERT_EQ(actions.cancels.size(), 1u);
  EXPECT_EQ(actions.cancels[0].node, 7u);
}

TEST_F(PullManagerTest, ObjectWantedAgainWhileItsOldPullDrainsIsPulledFromTheNewSource) {
  Want('a', kPullChunk);
  ASSERT_TRUE(Begin('a', 0, kPullChunk));
  pulls_.OnNodeLost(7, "gone");
  EXPECT_TRUE(Want('a', kPullChunk, kBob, 2, 8).empty());
  const PullActions actions = End('a', 0, kPullChunk, absl::UnavailableError("cut"));
  ExpectPulledFromNode8(actions);
}

TEST_F(PullManagerTest, WhoWasToldOfAnotherHolderThanTheOneThatIsLostGetsItFromThere) {
  Want('a', kPullChunk, kAlice, 1, 7);
  EXPECT_TRUE(Want('a', kPullChunk, kBob, 2, 8).empty());
  const PullActions actions = pulls_.OnNodeLost(7, "gone");
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_EQ(actions.failed[0].client, kAlice);
  ExpectPulledFromNode8(actions);
}

TEST_F(PullManagerTest, WhoWasToldOfAnotherHolderWaitsUntilTheOldPullHasDrained) {
  Want('a', kPullChunk, kAlice, 1, 7);
  ASSERT_TRUE(Begin('a', 0, kPullChunk));
  Want('a', kPullChunk, kBob, 2, 8);
  EXPECT_EQ(pulls_.OnPullFailed(7, Object('a'), "it is not here").failed.size(), 1u);
  const PullActions actions = End('a', 0, kPullChunk, absl::UnavailableError("cut"));
  ASSERT_EQ(actions.requests.size(), 1u);
  EXPECT_EQ(actions.requests[0].node, 8u);
}

TEST_F(PullManagerTest, ObjectThatWasMadeAgainWithAnotherSizeIsPulledWithThat) {
  Want('a', 2 * kPullChunk);
  ASSERT_TRUE(Begin('a', 0, 2 * kPullChunk));
  const BulkChunk larger = Chunk('a', 0, 3 * kPullChunk), strange{Object('a'), 1, kPullChunk, 2 * kPullChunk};
  EXPECT_TRUE(pulls_.OnRefused(7, strange).empty());
  EXPECT_TRUE(pulls_.OnRefused(8, larger).empty());  // it was not asked
  ASSERT_FALSE(pulls_.OnChunk(7, larger));
  const PullActions left = pulls_.OnRefused(7, larger);
  EXPECT_EQ(left.cancels.size(), 1u);
  EXPECT_TRUE(left.requests.empty());  // something is written to its memory still
  EXPECT_TRUE(pulls_.OnRefused(7, larger).empty());
  const PullActions again = End('a', 0, 2 * kPullChunk, absl::UnavailableError("cut"));
  EXPECT_EQ(again.aborted.size(), 1u);
  ASSERT_EQ(again.requests.size(), 1u);
  const PullActions all = Arrive('a', 3 * kPullChunk);
  ASSERT_EQ(all.pinned.size(), 1u);
  EXPECT_EQ(all.pinned[0].location.size, 3 * kPullChunk);
}

TEST_F(PullManagerTest, ItIsKnownFromWhomAnObjectIsFetched) {
  EXPECT_FALSE(pulls_.IsFetching(Object('a'), 7));
  Want('a', kPullChunk);
  EXPECT_TRUE(pulls_.IsFetching(Object('a'), 7));
  EXPECT_FALSE(pulls_.IsFetching(Object('a'), 8));
}

TEST_F(PullManagerTest, FailedChunkFailsThePull) {
  Want('a', kPullChunk);
  ASSERT_TRUE(Begin('a', 0, kPullChunk));
  const PullActions actions = End('a', 0, kPullChunk, absl::UnavailableError("cut"));
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("cut"));
  EXPECT_EQ(store_.Stats().memory.used, 0u);
}

TEST_F(PullManagerTest, PullIsGivenUpWhenTheLastWaiterIsGone) {
  Want('a', kPullChunk, kAlice, 1);
  Want('a', kPullChunk, kBob, 2);
  pulls_.OnClientGone(kAlice);
  EXPECT_EQ(pulls_.pulls(), 1u);
  pulls_.OnCancel(kBob, 9);
  EXPECT_EQ(pulls_.pulls(), 1u);
  pulls_.OnCancel(kBob, 2);
  EXPECT_EQ(pulls_.pulls(), 0u);
  EXPECT_EQ(store_.Stats().memory.used, 0u);
  EXPECT_FALSE(Begin('a', 0, kPullChunk));
}

TEST_F(PullManagerTest, AdmitsInOrderWithinTheLimit) {
  EXPECT_EQ(Want('a', 3 * kPullChunk).requests.size(), 1u);
  EXPECT_TRUE(Want('b', 2 * kPullChunk).requests.empty());
  EXPECT_TRUE(Want('c', kPullChunk).requests.empty());  // would fit, but does not overtake
  const PullActions actions = Arrive('a', 3 * kPullChunk);
  ASSERT_EQ(actions.requests.size(), 2u);
  EXPECT_EQ(actions.requests[0].object, Object('b'));
}

TEST_F(PullManagerTest, OneObjectLargerThanTheLimitIsAdmittedAlone) {
  EXPECT_EQ(Want('a', 6 * kPullChunk).requests.size(), 1u);
  EXPECT_TRUE(Want('b', 1).requests.empty());
  EXPECT_EQ(Arrive('a', 6 * kPullChunk).requests.size(), 1u);
}

TEST_F(PullManagerTest, WaitsForMemoryAndGoesOnWhenSomethingIsFreed) {
  Put('x', 7 * kPullChunk);
  EXPECT_TRUE(Want('a', 2 * kPullChunk).empty());
  EXPECT_TRUE(pulls_.OnMemoryFreed().empty());
  store_.Free(Object('x'));
  EXPECT_EQ(pulls_.OnMemoryFreed().requests.size(), 1u);
}

TEST_F(PullManagerTest, FullStoreIsAnErrorAfterAWhile) {
  Put('x', 7 * kPullChunk);
  Want('a', 2 * kPullChunk, kAlice, 1);
  Want('b', kPullChunk, kBob, 2);  // would fit, waits behind
  EXPECT_TRUE(pulls_.OnTick(5000).empty());
  EXPECT_TRUE(pulls_.OnTick(5999).empty());
  const PullActions actions = pulls_.OnTick(6000);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_EQ(actions.failed[0].client, kAlice);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("object store full: needs 8388608 bytes"));
  EXPECT_EQ(actions.requests.size(), 1u);
  EXPECT_EQ(Arrive('b', kPullChunk).pinned.size(), 1u);
}

TEST_F(PullManagerTest, WaitingBehindARunningPullIsNotStarving) {
  Want('a', 4 * kPullChunk);
  Want('b', kPullChunk);
  EXPECT_TRUE(pulls_.OnTick(1000).empty());
  EXPECT_TRUE(pulls_.OnTick(9000).empty());
}

TEST_F(PullManagerTest, ObjectLargerThanTheStoreFailsAtOnce) {
  const PullActions actions = Want('a', kStoreSize + 1);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("larger than the whole object store"));
  EXPECT_EQ(pulls_.pulls(), 0u);
}

TEST_F(PullManagerTest, ObjectBeingWrittenHereIsNotPulled) {
  ASSERT_TRUE(store_.Create(Object('a'), 10, kBob).ok());
  EXPECT_TRUE(Want('a', 10).empty());
  EXPECT_EQ(Want('b', 10).requests.size(), 1u);  // is not held up by it
  ASSERT_TRUE(store_.Seal(Object('a'), kBob).ok());
  EXPECT_EQ(pulls_.OnMemoryFreed().pinned.size(), 1u);
}

TEST_F(PullManagerTest, ObjectMissingOnItsOwnNodeFailsAtOnce) {
  const PullActions actions = Want('a', 10, kAlice, 1, kSelf.node);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("not in the store of node 0"));
}

TEST_F(PullManagerTest, ObjectFreedWhileItIsPulledFails) {
  Want('a', kPullChunk);
  store_.Free(Object('a'));
  const PullActions actions = Arrive('a', kPullChunk);
  ASSERT_EQ(actions.failed.size(), 1u);
  EXPECT_THAT(actions.failed[0].error, HasSubstr("freed"));
  EXPECT_TRUE(actions.added.empty());
  EXPECT_EQ(store_.Stats().memory.used, 0u);
}

TEST_F(PullManagerTest, PulledCopiesMakeRoomForEachOther) {
  for (int round = 0; round < 10; ++round) {
    const char name = static_cast<char>('a' + round);
    ASSERT_EQ(Want(name, 4 * kPullChunk).requests.size(), 1u);
    ASSERT_EQ(Arrive(name, 4 * kPullChunk).pinned.size(), 1u);
    store_.Unpin(Object(name), kAlice);
  }
  EXPECT_EQ(store_.Stats().evicted, 8u);
}

}  // namespace
}  // namespace ray_engine
