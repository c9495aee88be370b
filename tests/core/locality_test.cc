#include "engine/core/locality.h"

#include <deque>
#include <memory>

#include "gtest/gtest.h"

namespace ray_engine {
namespace {

class LocalityTest : public ::testing::Test {
 protected:
  void Stored(std::uint32_t node, std::uint64_t size, const std::vector<std::uint32_t>& copies = {}) {
    ObjectEntry& entry = entries_.emplace_back();
    entry.ready = true;
    entry.kind = WireValue::kStored;
    entry.node = node;
    entry.size = size;
    if (!copies.empty()) entry.Extra().copies = copies;
    args_.emplace_back(0, &entry);
  }
  void Small() { args_.emplace_back(0, &entries_.emplace_back()); }

  std::deque<ObjectEntry> entries_;
  std::vector<std::pair<std::size_t, ObjectEntry*>> args_;
};

TEST_F(LocalityTest, SmallValuesLieNowhere) {
  EXPECT_EQ(NodeWithMostBytes(args_), kNoNode);
  Small();
  EXPECT_EQ(NodeWithMostBytes(args_), kNoNode);
}

TEST_F(LocalityTest, BytesCountAndNotObjects) {
  Stored(1, 100), Stored(2, 300), Small(), Stored(1, 150);
  EXPECT_EQ(NodeWithMostBytes(args_), 2u);
  Stored(1, 100);
  EXPECT_EQ(NodeWithMostBytes(args_), 1u);
}

TEST_F(LocalityTest, ACopyIsAsGoodAsThePrimaryCopy) {
  Stored(1, 100, {2, 3}), Stored(2, 10);
  EXPECT_EQ(NodeWithMostBytes(args_), 2u);
}

TEST_F(LocalityTest, ThePrimaryCopyWinsAmongEquals) {
  Stored(3, 100, {1});
  EXPECT_EQ(NodeWithMostBytes(args_), 3u);
}

}  // namespace
}  // namespace ray_engine
