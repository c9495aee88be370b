#include "engine/node/gather.h"

#include <gtest/gtest.h>

namespace ray_engine {
namespace {

constexpr ProcessId kFirst{0, 1}, kSecond{0, 2};

class GatherTest : public testing::Test {
 protected:
  std::uint64_t Ask(absl::btree_set<ProcessId> asked) {
    return gather_.Begin(std::move(asked), [this](std::vector<int> answers) {
      ++ended_;
      answers_ = std::move(answers);
    });
  }

  Gather<int> gather_;
  int ended_ = 0;
  std::vector<int> answers_;
};

TEST_F(GatherTest, EndsWithTheLastAnswer) {
  const std::uint64_t round = Ask({kFirst, kSecond});
  gather_.OnAnswer(round, kSecond, 2);
  EXPECT_EQ(ended_, 0);
  gather_.OnAnswer(round, kFirst, 1);
  EXPECT_EQ(ended_, 1);
  EXPECT_EQ(answers_, (std::vector<int>{2, 1}));
}

TEST_F(GatherTest, EndsAtOnceIfNobodyIsAsked) {
  Ask({});
  EXPECT_EQ(ended_, 1);
  EXPECT_TRUE(answers_.empty());
}

TEST_F(GatherTest, DoesNotWaitForTheGone) {
  const std::uint64_t round = Ask({kFirst, kSecond});
  gather_.OnAnswer(round, kFirst, 1);
  gather_.OnGone(kSecond);
  EXPECT_EQ(ended_, 1);
  EXPECT_EQ(answers_, std::vector<int>{1});
  Ask({kFirst});
  gather_.OnGone(kFirst);
  EXPECT_EQ(ended_, 2);
}

TEST_F(GatherTest, SecondAndLateAnswersHaveNoEffect) {
  const std::uint64_t round = Ask({kFirst, kSecond});
  gather_.OnAnswer(round, kFirst, 1);
  gather_.OnAnswer(round, kFirst, 1);
  gather_.OnAnswer(round + 1, kSecond, 3);
  EXPECT_EQ(ended_, 0);
  gather_.OnAnswer(round, kSecond, 2);
  gather_.OnAnswer(round, kSecond, 2);
  EXPECT_EQ(ended_, 1);
  EXPECT_EQ(answers_, (std::vector<int>{1, 2}));
}

TEST_F(GatherTest, TheEndOfARoundMayBeginAnother) {
  const std::uint64_t round = gather_.Begin({kFirst}, [this](const std::vector<int>&) { Ask({kFirst}); });
  gather_.OnAnswer(round, kFirst, 1);
  EXPECT_EQ(ended_, 0);
  gather_.OnGone(kFirst);
  EXPECT_EQ(ended_, 1);
}

}  // namespace
}  // namespace ray_engine
