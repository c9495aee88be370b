#include "objectstore/pull_server.h"

#include <gtest/gtest.h>

namespace ray_engine {
namespace {

constexpr ProcessId kSelf{0, 0}, kWriter{0, 1};

ObjectId Object(char name) { return ObjectId::FromBinary(std::string(ObjectId::kSize, name)); }

class PullServerTest : public testing::Test {
 protected:
  ~PullServerTest() override { EXPECT_EQ(store_.CheckInvariants(), ""); }

  void Put(char name, std::uint64_t size) {
    ASSERT_TRUE(store_.Create(Object(name), size, kWriter).ok());
    ASSERT_TRUE(store_.Seal(Object(name), kWriter).ok());
  }

  ServeActions Ask(std::uint32_t node, char name, std::uint64_t from = 0, bool direct = false) {
    return server_.OnPullRequest(node, Object(name), from, direct);
  }

  Store store_{64 * kPullChunk};
  PullServer server_{&store_, kSelf, 3};
};

TEST_F(PullServerTest, SendsAllChunksWithinTheWindow) {
  Put('a', 4 * kPullChunk + 10);
  ServeActions actions = Ask(7, 'a');
  ASSERT_EQ(actions.chunks.size(), 3u);
  std::vector<ServeActions::Chunk> sent;
  std::size_t answered = 0;
  while (answered < sent.size() + actions.chunks.size()) {
    sent.insert(sent.end(), actions.chunks.begin(), actions.chunks.end());
    EXPECT_LE(sent.size() - answered, 3u);
    actions = server_.OnChunkSent(7, sent[answered++].chunk);
  }
  ASSERT_EQ(sent.size(), 5u);
  const std::uint64_t base = store_.Lookup(Object('a'))->offset;
  for (std::size_t i = 0; i < sent.size(); ++i) {
    EXPECT_EQ(sent[i].chunk.offset, i * kPullChunk);
    EXPECT_EQ(sent[i].chunk.total, 4 * kPullChunk + 10);
    EXPECT_EQ(sent[i].at, base + i * kPullChunk);
    EXPECT_EQ(sent[i].chunk.size, i < 4 ? kPullChunk : 10);
  }
  EXPECT_EQ(server_.transfers(), 0u);
  EXPECT_EQ(server_.Stats().served_objects, 1u);
  EXPECT_EQ(store_.Stats().pinned_bytes, 0u);
}

TEST_F(PullServerTest, MissingObjectIsRefused) {
  const ServeActions actions = Ask(7, 'x');
  ASSERT_EQ(actions.refusals.size(), 1u);
  EXPECT_EQ(actions.refusals[0].node, 7u);
  EXPECT_NE(actions.refusals[0].error, "");
  EXPECT_EQ(server_.Stats().refused, 1u);
  EXPECT_EQ(server_.transfers(), 0u);
}

TEST_F(PullServerTest, ObjectIsHeldUntilItHasLeft) {
  Put('a', 10);
  const ServeActions actions = Ask(7, 'a');
  store_.Free(Object('a'));
  EXPECT_TRUE(store_.Contains(Object('a')));
  server_.OnChunkSent(7, actions.chunks[0].chunk);
  EXPECT_FALSE(store_.Contains(Object('a')));
}

TEST_F(PullServerTest, NodesHaveWindowsOfTheirOwn) {
  Put('a', 5 * kPullChunk);
  EXPECT_EQ(Ask(7, 'a').chunks.size(), 3u);
  EXPECT_EQ(Ask(8, 'a', 0, true).chunks.size(), 3u);
  Put('b', kPullChunk);
  EXPECT_TRUE(Ask(7, 'b').chunks.empty());
  EXPECT_EQ(server_.transfers(), 3u);
}

TEST_F(PullServerTest, SmallObjectsOfOneNodeShareTheWindow) {
  for (const char name : {'a', 'b', 'c', 'd'}) Put(name, 10);
  EXPECT_EQ(Ask(7, 'a').chunks.size(), 1u);
  EXPECT_EQ(Ask(7, 'b').chunks.size(), 1u);
  EXPECT_EQ(Ask(7, 'c').chunks.size(), 1u);
  EXPECT_EQ(Ask(7, 'd').chunks.size(), 0u);
  const ServeActions next = server_.OnChunkSent(7, {Object('b'), 0, 10, 10});
  ASSERT_EQ(next.chunks.size(), 1u);
  EXPECT_EQ(next.chunks[0].chunk.object, Object('d'));
}

TEST_F(PullServerTest, LostNodeIsSentNothingMoreAndItsPinsEndWithTheChunksUnderWay) {
  Put('a', 10 * kPullChunk);
  Put('b', kPullChunk);
  const ServeActions actions = Ask(7, 'a');
  Ask(7, 'b');
  server_.OnNodeLost(7);
  EXPECT_EQ(store_.Stats().pinned_objects, 1u);  // b had nothing under way
  for (const auto& chunk : actions.chunks) EXPECT_TRUE(server_.OnChunkSent(7, chunk.chunk).chunks.empty());
  EXPECT_EQ(store_.Stats().pinned_objects, 0u);
  EXPECT_EQ(server_.transfers(), 0u);
  server_.OnNodeLost(8);
}

TEST_F(PullServerTest, NodesThatWantOneLargeObjectFormAChain) {
  Put('a', 5 * kPullChunk);
  EXPECT_EQ(Ask(7, 'a').chunks.size(), 3u);
  for (const std::uint32_t node : {8, 9}) {
    const ServeActions actions = Ask(node, 'a');
    EXPECT_TRUE(actions.chunks.empty());
    ASSERT_EQ(actions.elsewheres.size(), 1u);
    EXPECT_EQ(actions.elsewheres[0].node, node);
    EXPECT_EQ(actions.elsewheres[0].next, node - 1);
  }
  EXPECT_EQ(server_.Stats().sent_on, 2u);
  EXPECT_EQ(Ask(8, 'a').chunks.size(), 3u);  // who is in it already might be waited for by the last
}

TEST_F(PullServerTest, SmallObjectsGoToEverybodyFromHere) {
  Put('a', kPullChunk);
  EXPECT_EQ(Ask(7, 'a').chunks.size(), 1u);
  EXPECT_EQ(Ask(8, 'a').chunks.size(), 1u);
}

TEST_F(PullServerTest, ChainEndsWithTheTransfer) {
  Put('a', 2 * kPullChunk);
  for (const auto& sent : Ask(7, 'a').chunks) {
    EXPECT_EQ(server_.chains(), 1u);
    server_.OnChunkSent(7, sent.chunk);
  }
  EXPECT_EQ(server_.chains(), 0u);
  EXPECT_EQ(Ask(8, 'a').chunks.size(), 2u);
}

TEST_F(PullServerTest, LostNodeLeavesTheChain) {
  Put('a', 5 * kPullChunk);
  Ask(7, 'a');
  Ask(8, 'a');
  server_.OnNodeLost(8);
  EXPECT_EQ(Ask(9, 'a').elsewheres.at(0).next, 7u);
}

TEST_F(PullServerTest, OnlyTheRestIsSentWhenThatIsWanted) {
  Put('a', 3 * kPullChunk);
  const ServeActions actions = Ask(7, 'a', 2 * kPullChunk, true);
  ASSERT_EQ(actions.chunks.size(), 1u);
  EXPECT_EQ(actions.chunks[0].chunk.offset, 2 * kPullChunk);
}

TEST_F(PullServerTest, CancelledTransferEndsWithTheChunksUnderWay) {
  Put('a', 5 * kPullChunk);
  const ServeActions actions = Ask(7, 'a');
  server_.OnPullCancel(7, Object('a'));
  for (const auto& sent : actions.chunks) EXPECT_TRUE(server_.OnChunkSent(7, sent.chunk).chunks.empty());
  EXPECT_EQ(server_.transfers(), 0u);
  EXPECT_EQ(store_.Stats().pinned_objects, 0u);
}

// An object that this node is getting itself.
class RelayTest : public PullServerTest {
 protected:
  RelayTest() { EXPECT_TRUE(store_.Create(Object('r'), 3 * kPullChunk, kSelf, Store::Copy::kSecondary).ok()); }
};

TEST_F(RelayTest, WhatHasArrivedIsPassedOn) {
  EXPECT_TRUE(Ask(7, 'r', 0, true).chunks.empty());
  EXPECT_TRUE(server_.OnMoreWritten(Object('r')).chunks.empty());
  store_.SetWritten(Object('r'), 2 * kPullChunk);
  EXPECT_EQ(server_.OnMoreWritten(Object('r')).chunks.size(), 2u);
  ASSERT_TRUE(store_.Seal(Object('r'), kSelf).ok());
  EXPECT_EQ(server_.OnMoreWritten(Object('r')).chunks.size(), 1u);
}

TEST_F(RelayTest, WhatWaitsForDataDoesNotHoldUpOthers) {
  Put('a', 10);
  Ask(7, 'r', 0, true);
  EXPECT_EQ(Ask(7, 'a').chunks.size(), 1u);
}

TEST_F(RelayTest, WhoeverWaitsIsToldWhenItIsGivenUpAndMemoryStaysWhileItIsRead) {
  store_.SetWritten(Object('r'), kPullChunk);
  const ServeActions sent = Ask(7, 'r', 0, true);
  ASSERT_EQ(sent.chunks.size(), 1u);
  store_.Abort(Object('r'), kSelf);
  const ServeActions actions = server_.OnAborted(Object('r'));
  ASSERT_EQ(actions.refusals.size(), 1u);
  EXPECT_EQ(actions.refusals[0].node, 7u);
  EXPECT_EQ(store_.Stats().memory.used, 3 * kPullChunk);
  EXPECT_FALSE(Ask(8, 'r', 0, true).refusals.empty());
  server_.OnChunkSent(7, sent.chunks[0].chunk);
  EXPECT_EQ(store_.Stats().memory.used, 0u);
  EXPECT_EQ(server_.transfers(), 0u);
}

}  // namespace
}  // namespace ray_engine
