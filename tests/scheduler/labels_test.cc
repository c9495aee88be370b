#include "scheduler/labels.h"

#include <gtest/gtest.h>

namespace ray_engine {
namespace {

bool Fits(const std::string& expression) {
  return MatchesLabels({{"zone", expression}}, {{"market", "spot"}, {"zone", "b"}});
}
bool FitsWithout(const std::string& expression) { return MatchesLabels({{"zone", expression}}, {{"market", "spot"}}); }

TEST(LabelsTest, Values) {
  EXPECT_TRUE(Fits("b"));
  EXPECT_FALSE(Fits("a"));
  EXPECT_FALSE(Fits("!b"));
  EXPECT_TRUE(Fits("!a"));
  EXPECT_FALSE(FitsWithout("b"));
  EXPECT_TRUE(FitsWithout("!b"));
}

TEST(LabelsTest, Lists) {
  EXPECT_TRUE(Fits("in(a,b)"));
  EXPECT_TRUE(Fits("in(a, b)"));
  EXPECT_FALSE(Fits("in(a,c)"));
  EXPECT_FALSE(Fits("!in(a,b)"));
  EXPECT_TRUE(FitsWithout("!in(a,b)"));
}

TEST(LabelsTest, Presence) {
  EXPECT_TRUE(Fits("exists()"));
  EXPECT_FALSE(FitsWithout("exists()"));
  EXPECT_TRUE(FitsWithout("!exists()"));
}

TEST(LabelsTest, AllMustMatch) {
  const Labels labels{{"market", "spot"}, {"zone", "b"}};
  EXPECT_TRUE(MatchesLabels({}, labels));
  EXPECT_TRUE(MatchesLabels({{"market", "spot"}, {"zone", "!a"}}, labels));
  EXPECT_FALSE(MatchesLabels({{"market", "spot"}, {"zone", "a"}}, labels));
}

}  // namespace
}  // namespace ray_engine
