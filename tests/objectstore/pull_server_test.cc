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

  Store store_{64 * kPullChunk};
  PullServer server_{&store_, kSelf, 3};
};

TEST_F(PullServerTest, SendsAllChunksWithinTheWindow) {
  Put('a', 4 * kPullChunk + 10);
  ServeActions actions = server_.OnPullRequest(7, Object('a'));
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
  EXPECT_EQ(store_.Stats().pinned_bytes, 0u);
}

TEST_F(PullServerTest, MissingObjectIsRefused) {
  const ServeActions actions = server_.OnPullRequest(7, Object('x'));
  ASSERT_EQ(actions.refusals.size(), 1u);
  EXPECT_EQ(actions.refusals[0].node, 7u);
  EXPECT_NE(actions.refusals[0].error, "");
  EXPECT_EQ(server_.transfers(), 0u);
}

TEST_F(PullServerTest, ObjectIsHeldUntilItHasLeft) {
  Put('a', 10);
  const ServeActions actions = server_.OnPullRequest(7, Object('a'));
  store_.Free(Object('a'));
  EXPECT_TRUE(store_.Contains(Object('a')));
  server_.OnChunkSent(7, actions.chunks[0].chunk);
  EXPECT_FALSE(store_.Contains(Object('a')));
}

TEST_F(PullServerTest, NodesHaveWindowsOfTheirOwn) {
  Put('a', 5 * kPullChunk);
  EXPECT_EQ(server_.OnPullRequest(7, Object('a')).chunks.size(), 3u);
  EXPECT_EQ(server_.OnPullRequest(8, Object('a')).chunks.size(), 3u);
  Put('b', kPullChunk);
  EXPECT_TRUE(server_.OnPullRequest(7, Object('b')).chunks.empty());
  EXPECT_EQ(server_.transfers(), 3u);
}

TEST_F(PullServerTest, SmallObjectsOfOneNodeShareTheWindow) {
  for (const char name : {'a', 'b', 'c', 'd'}) Put(name, 10);
  EXPECT_EQ(server_.OnPullRequest(7, Object('a')).chunks.size(), 1u);
  EXPECT_EQ(server_.OnPullRequest(7, Object('b')).chunks.size(), 1u);
  EXPECT_EQ(server_.OnPullRequest(7, Object('c')).chunks.size(), 1u);
  EXPECT_EQ(server_.OnPullRequest(7, Object('d')).chunks.size(), 0u);
  const ServeActions next = server_.OnChunkSent(7, {Object('b'), 0, 10, 10});
  ASSERT_EQ(next.chunks.size(), 1u);
  EXPECT_EQ(next.chunks[0].chunk.object, Object('d'));
}

TEST_F(PullServerTest, LostNodeIsSentNothingMoreAndItsPinsEndWithTheChunksUnderWay) {
  Put('a', 10 * kPullChunk);
  Put('b', kPullChunk);
  const ServeActions actions = server_.OnPullRequest(7, Object('a'));
  server_.OnPullRequest(7, Object('b'));
  server_.OnNodeLost(7);
  EXPECT_EQ(store_.Stats().pinned_objects, 1u);  // b had nothing under way
  for (const auto& chunk : actions.chunks) EXPECT_TRUE(server_.OnChunkSent(7, chunk.chunk).chunks.empty());
  EXPECT_EQ(store_.Stats().pinned_objects, 0u);
  EXPECT_EQ(server_.transfers(), 0u);
  server_.OnNodeLost(8);
}

}  // namespace
}  // namespace ray_engine
