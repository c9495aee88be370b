#include "engine/launch/bootstrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

RankCard Card(bool has_engine, const std::string& name) {
  RankCard card;
  card.build = "1";
  card.host = "host";
  card.has_engine = has_engine;
  card.fabric_address = card.socket_name = has_engine ? name : "";
  card.secret = "secret of " + name;
  return card;
}

TEST(ArrangeTest, NumbersTheNodesByTheFirstRankOfEach) {
  const std::vector<RankCard> cards = {Card(true, "a"), Card(false, ""), Card(true, "b"), Card(false, "")};
  const auto second = Arrange(cards, 2, 2);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->introduce.index, 1u);
  EXPECT_EQ(second->introduce.node_count, 2u);
  EXPECT_EQ(second->introduce.head_fabric_address, "a");
  EXPECT_EQ(second->introduce.secret, "secret of a");
  EXPECT_EQ(Arrange(cards, 3, 2)->leader_socket, "b");
}

TEST(ArrangeTest, RefusesDifferentBuildsAndNamesThem) {
  std::vector<RankCard> cards = {Card(true, "a"), Card(false, "")};
  cards[1].build = "2";
  const auto introduction = Arrange(cards, 0, 0);
  EXPECT_TRUE(absl::IsAborted(introduction.status()));
  EXPECT_THAT(std::string(introduction.status().message()), testing::HasSubstr("builds"));
}

TEST(ArrangeTest, OneFailureIsEverybodysEnd) {
  std::vector<RankCard> cards = {Card(true, "a"), Card(false, "")};
  cards[1].failure = "no memory";
  for (int rank : {0, 1}) {
    EXPECT_THAT(std::string(Arrange(cards, rank, 0).status().message()),
                testing::HasSubstr("rank 1 on host: no memory"));
  }
}

TEST(ArrangeTest, TellsThatTheDriverHasEndedAlready) {
  std::vector<RankCard> cards = {Card(true, "a"), Card(true, "b")};
  EXPECT_FALSE(Arrange(cards, 1, 1)->ended);
  cards[0].ended = true;
  EXPECT_TRUE(Arrange(cards, 1, 1)->ended);
}

TEST(ArrangeTest, OfACardOfAnotherBuildTheBuildCanBeRead) {
  RankCard card = Card(true, "a");
  std::string encoded = Encode(card);
  encoded.resize(encoded.size() / 2);
  RankCard read;
  EXPECT_FALSE(Decode(encoded, &read));
  EXPECT_EQ(read.build, "1");
}

TEST(BootstrapTest, ALoneRankMeetsItself) {
  const auto bootstrap = MakeLoneBootstrap();
  EXPECT_EQ(bootstrap->Start()->size, 1);
  EXPECT_THAT(*bootstrap->Exchange("card"), testing::ElementsAre("card"));
}

TEST(BootstrapTest, AMissingLibraryIsAnError) {
  EXPECT_THAT(std::string(LoadBootstrap("/no/such/library.so").status().message()),
              testing::HasSubstr("/no/such/library.so"));
}

}  // namespace
}  // namespace ray_engine
