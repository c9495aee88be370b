// Where requests go: hybrid, SPREAD, node affinity.

#include <set>

#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

using Nodes = std::vector<std::uint32_t>;

using PlacementPolicyTest = SchedulerFixture;

TEST_F(PlacementPolicyTest, PrefersTheNodeOfTheClientUntilHalfUsedThenTheLeastUsed) {
  for (std::uint32_t node = 0; node < 3; ++node) AddNode(node, Cpus(4));
  Demand(far_worker_, 1, 2, Cpus(1));
  EXPECT_EQ(TakeNodes(), (Nodes{1, 1}));
  Demand(far_worker_, 1, 4, Cpus(1));
  EXPECT_EQ(TakeNodes(), (Nodes{0, 0, 2, 2}));
  Demand(far_worker_, 1, 6, Cpus(1));
  EXPECT_EQ(TakeNodes(), (Nodes{1, 0, 2, 1, 0, 2}));
}

TEST_F(PlacementPolicyTest, PrefersTheNodeThatHoldsMostArgumentBytes) {
  for (std::uint32_t node = 0; node < 3; ++node) AddNode(node, Cpus(4));
  Demand(driver_, 1, 1, MakeClass(Cpus(1)), 2);
  EXPECT_EQ(TakeNodes(), (Nodes{2}));
  Demand(driver_, 1, 1, MakeClass(Cpus(1)), 9);  // a node that never was
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
}

TEST_F(PlacementPolicyTest, TheNodeWithTheArgumentsIsFilledBeforeOthers) {
  for (std::uint32_t node = 0; node < 3; ++node) AddNode(node, Cpus(4));
  Demand(driver_, 1, 4, MakeClass(Cpus(1)), 2);
  EXPECT_EQ(TakeNodes(), (Nodes{2, 2, 2, 2}));
}

TEST_F(PlacementPolicyTest, LabelsThatWereWishedForCountMoreThanWhereTheArgumentsAre) {
  AddNode(0, Cpus(4), {{"disk", "fast"}}), AddNode(1, Cpus(4));
  LeaseClass lease_class = MakeClass(Cpus(1));
  lease_class.soft_selector = {{"disk", "fast"}};
  Demand(driver_, 1, 1, lease_class, 1);
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
}

TEST_F(PlacementPolicyTest, KeepsRequestsWithoutGpuAwayFromGpuNodesWhileOthersHaveRoom) {
  AddNode(0, Resources({{"CPU", 2}, {"GPU", 1}}));
  AddNode(1, Cpus(2));
  Demand(driver_, 1, 3, Cpus(1));
  EXPECT_EQ(TakeNodes(), (Nodes{1, 1, 0}));
  Demand(driver_, 2, 1, Resources({{"GPU", 1}}));
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
}

TEST_F(PlacementPolicyTest, MemoryCountsAsMuchAsCpu) {
  AddNode(0, Resources({{"CPU", 10}, {"memory", 100}}));
  AddNode(1, Resources({{"CPU", 10}, {"memory", 100}}));
  Demand(driver_, 1, 2, Resources({{"CPU", 1}, {"memory", 50}}));
  EXPECT_EQ(TakeNodes(), (Nodes{0, 1}));
}

TEST_F(PlacementPolicyTest, SpreadGoesRoundAllNodesWithRoom) {
  for (std::uint32_t node = 0; node < 3; ++node) AddNode(node, Cpus(node == 1 ? 1 : 3));
  Demand(driver_, 1, 6, MakeClass(Cpus(1), LeaseClass::kSpread));
  EXPECT_EQ(TakeNodes(), (Nodes{0, 1, 2, 0, 2, 0}));
}

TEST_F(PlacementPolicyTest, HardAffinityWaitsForItsNode) {
  AddNode(0, Cpus(4));
  AddNode(1, Cpus(1));
  Demand(driver_, 1, 2, OnNode(1, Cpus(1), false));
  const LeaseId lease = TakeStart().lease;
  EXPECT_EQ(scheduler_.Explain(driver_, 1), "f1 holds 1 leases and waits for 1 more, each with {CPU: 1} on node " +
                                                NodeIdOf(1).Hex() +
                                                "\nnode 0 (host0): not the node asked for"
                                                "\nnode 1 (host1): CPU 0 free of 1, 1 needed");
  EndLease(lease);
  EXPECT_EQ(TakeStart().node, 1u);
}

TEST_F(PlacementPolicyTest, ShortagesOfMemoryAreReadable) {
  ResourceSet all = Cpus(4), asked = Cpus(1);
  all.Set("memory", ResourceSet::FromDouble(1.76932e10));
  asked.Set("memory", ResourceSet::FromDouble(2.0 * (1ll << 40)));
  AddNode(0, all);
  Demand(driver_, 1, 1, MakeClass(asked));
  EXPECT_EQ(scheduler_.Explain(driver_, 1),
            "f1 holds 0 leases and waits for 1 more, each with {CPU: 1, memory: 2048.0 GiB}; no node can ever serve it"
            "\nnode 0 (host0): memory 16.5 GiB, 2048.0 GiB needed");
}

TEST_F(PlacementPolicyTest, HardAffinityToANodeThatNeverWasFails) {
  AddNode(0, Cpus(4));
  Demand(driver_, 1, 1, OnNode(5, Cpus(1), false));
  const auto failed = Take<LeaseFailed>();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_NE(failed[0].second.error.find(NodeIdOf(5).Hex()), std::string::npos);
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(PlacementPolicyTest, HardAffinityToANodeThatIsTooSmallFails) {
  AddNode(0, Cpus(4));
  Demand(driver_, 1, 1, OnNode(0, Cpus(5), false));
  EXPECT_EQ(Take<LeaseFailed>().size(), 1u);
}

TEST_F(PlacementPolicyTest, HardAffinityFailsWhenItsNodeIsLostWhileItWaits) {
  AddNode(0, Cpus(4));
  AddNode(1, Cpus(1));
  Demand(driver_, 1, 1, OnNode(1, Cpus(1), false));
  TakeStart();
  Demand(driver_, 2, 1, OnNode(1, Cpus(1), false));
  Do(scheduler_.OnNodeLost(1, "", now_));
  ASSERT_EQ(Take<LeasesLost>().size(), 1u);
  Demand(driver_, 1, 1, OnNode(1, Cpus(1), false));
  std::set<std::uint32_t> keys;
  for (const auto& [to, failed] : Take<LeaseFailed>()) keys.insert(failed.key);
  EXPECT_EQ(keys, (std::set<std::uint32_t>{1, 2}));
  EXPECT_EQ(scheduler_.Stats().queues, 0u);
}

TEST_F(PlacementPolicyTest, SoftAffinityWaitsForItsNodeWhileThatIsThere) {
  AddNode(0, Cpus(4));
  AddNode(1, Cpus(1));
  Demand(driver_, 1, 2, OnNode(1, Cpus(1), true));
  EXPECT_EQ(TakeNodes(), (Nodes{1}));
  Do(scheduler_.OnNodeLost(1, "", now_));
  Take<LeasesLost>();
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
}

TEST_F(PlacementPolicyTest, SoftAffinityGoesAnywhereIfItsNodeIsNotThereOrTooSmall) {
  AddNode(0, Cpus(4));
  Demand(driver_, 1, 1, OnNode(1, Cpus(2), true));
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
  AddNode(1, Cpus(1));
  Demand(driver_, 1, 1, OnNode(1, Cpus(2), true));
  EXPECT_EQ(TakeNodes(), (Nodes{0}));
  AddNode(2, Cpus(8));
  Demand(driver_, 2, 1, OnNode(2, Cpus(2), true));
  EXPECT_EQ(TakeNodes(), (Nodes{2}));
}

TEST_F(PlacementPolicyTest, ShapesThatComeAndGoAreForgottenInTime) {
  AddNode(0, Cpus(1000));
  for (int i = 1; i <= 200; ++i) {
    Demand(driver_, 1, 1, Cpus(i));
    EndLease(TakeStart().lease);
  }
  EXPECT_EQ(Available(0), Cpus(1000));
}

TEST_F(PlacementPolicyTest, FallbacksAreTriedInTurnWhereNothingBetterHasRoom) {
  AddNode(0, Cpus(4));
  AddNode(1, Cpus(1), {{"gpu", "old"}});
  AddNode(2, Cpus(1), {{"gpu", "new"}});
  LeaseClass wishes = MakeClass(Cpus(1));
  wishes.selector = {{"gpu", "new"}};
  wishes.fallbacks = {{{"gpu", "old"}}, {}};
  Demand(driver_, 1, 3, wishes);
  EXPECT_EQ(TakeNodes(), (Nodes{2, 1, 0}));
}

TEST_F(PlacementPolicyTest, WithoutANodeForAnyFallbackARequestWaits) {
  AddNode(0, Cpus(4), {{"gpu", "none"}});
  LeaseClass wishes = MakeClass(Cpus(1));
  wishes.selector = {{"gpu", "new"}};
  wishes.fallbacks = {{{"gpu", "old"}}};
  Demand(driver_, 1, 1, wishes);
  EXPECT_EQ(TakeNodes(), Nodes{});
  EXPECT_NE(scheduler_.Explain(driver_, 1).find("{gpu: new} or {gpu: old}"), std::string::npos);
  AddNode(1, Cpus(1), {{"gpu", "old"}});
  EXPECT_EQ(TakeNodes(), Nodes{1});
}

}  // namespace
}  // namespace ray_engine
