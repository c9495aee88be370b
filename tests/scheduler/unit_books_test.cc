#include "scheduler/unit_books.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

using Numbers = std::vector<std::uint32_t>;

constexpr char kGroup[] = "0a1b";

ResourceSet Gpus(double amount) { return Resources({{"GPU", amount}}); }
ResourceSet InGroup(double gpus) { return Resources({{"GPU_group_0a1b", gpus}}); }
ResourceSet InBundle(const char* indexed, double gpus) {
  return Resources({{indexed, gpus}, {"GPU_group_0a1b", gpus}});
}

class UnitBooksTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(books_.CheckInvariants(), ""); }

  // The numbers of the GPUs taken; nothing if there is no room.
  std::optional<Numbers> Take(const ResourceSet& resources, Units* taken = nullptr) {
    const std::optional<Units> units = books_.Choose(UnitAsk::Of(resources));
    if (!units) return std::nullopt;
    books_.Take(*units);
    if (taken != nullptr) *taken = *units;
    return units->Numbers().at(0).second;
  }
  void Open(std::uint32_t bundle, double gpus) {
    books_.OpenBundle({kGroup, bundle}, *books_.Choose(UnitAsk::Of(Gpus(gpus))));
  }

  UnitBooks books_{Resources({{"CPU", 8}, {"GPU", 3}, {"neuron_cores", 2}})};
};

TEST_F(UnitBooksTest, WholeUnitsAreGivenInOrder) {
  EXPECT_EQ(Take(Gpus(2)), (Numbers{0, 1}));
  EXPECT_EQ(Take(Gpus(1)), (Numbers{2}));
  EXPECT_EQ(Take(Gpus(1)), std::nullopt);
  EXPECT_EQ(books_.Free("GPU"), 0);
}

TEST_F(UnitBooksTest, PartsShareAUnitSoThatOthersStayWhole) {
  EXPECT_EQ(Take(Gpus(0.5)), (Numbers{0}));
  EXPECT_EQ(Take(Gpus(1)), (Numbers{1}));
  EXPECT_EQ(Take(Gpus(0.5)), (Numbers{0}));
  EXPECT_EQ(Take(Gpus(1)), (Numbers{2}));
}

TEST_F(UnitBooksTest, APartTakesTheUnitWithTheLeastRoomThatIsEnough) {
  Take(Gpus(0.3)), Take(Gpus(0.8));  // units 0 and 1
  EXPECT_EQ(Take(Gpus(0.2)), (Numbers{1}));
  EXPECT_EQ(Take(Gpus(0.7)), (Numbers{0}));
  EXPECT_EQ(Take(Gpus(0.1)), (Numbers{2}));
}

TEST_F(UnitBooksTest, PiecesThatAreTooSmallLeaveNoRoomThoughTheirSumWould) {
  for (const Numbers& unit : {Numbers{0}, Numbers{1}, Numbers{2}}) EXPECT_EQ(Take(Gpus(0.6)), unit);
  EXPECT_EQ(Take(Gpus(0.8)), std::nullopt);
  EXPECT_EQ(Take(Gpus(1)), std::nullopt);
  EXPECT_TRUE(books_.CouldFit(UnitAsk::Of(Gpus(0.8))));
  EXPECT_FALSE(books_.CouldFit(UnitAsk::Of(Gpus(4))));
}

TEST_F(UnitBooksTest, WhatIsGivenBackIsGivenAgain) {
  Units first;
  Take(Gpus(2), &first);
  EXPECT_EQ(Take(Gpus(0.5)), (Numbers{2}));
  books_.Give(first);
  EXPECT_EQ(Take(Gpus(2)), (Numbers{0, 1}));
}

TEST_F(UnitBooksTest, SeveralFamiliesAreGivenTogetherOrNotAtAll) {
  const ResourceSet both = Resources({{"CPU", 1}, {"GPU", 1}, {"neuron_cores", 2}});
  const auto units = books_.Choose(UnitAsk::Of(both));
  ASSERT_TRUE(units);
  EXPECT_THAT(units->Numbers(),
              testing::ElementsAre(testing::Pair("GPU", Numbers{0}), testing::Pair("neuron_cores", Numbers{0, 1})));
  books_.Take(*units);
  EXPECT_FALSE(books_.Fits(UnitAsk::Of(both)));
}

TEST_F(UnitBooksTest, RequestsWithoutUnitsAskForNothing) {
  EXPECT_TRUE(UnitAsk::Of(Resources({{"CPU", 1}, {"memory", 5}, {"CPU_group_0a1b", 1}})).Empty());
  EXPECT_TRUE(books_.Choose(UnitAsk())->Empty());
}

TEST_F(UnitBooksTest, ABundleServesWhatRunsInItFromItsOwnUnits) {
  Open(0, 1), Open(1, 2);
  EXPECT_EQ(Take(Gpus(1)), std::nullopt);
  EXPECT_EQ(Take(InBundle("GPU_group_1_0a1b", 2)), (Numbers{1, 2}));
  EXPECT_EQ(Take(InBundle("GPU_group_1_0a1b", 0.5)), std::nullopt);
  EXPECT_EQ(Take(InBundle("GPU_group_0_0a1b", 0.5)), (Numbers{0}));
}

TEST_F(UnitBooksTest, AnyBundleMeansAllUnitsFromOneBundle) {
  Open(0, 1), Open(1, 2);
  EXPECT_EQ(Take(InGroup(2)), (Numbers{1, 2}));
  EXPECT_EQ(Take(InGroup(1)), (Numbers{0}));
  EXPECT_EQ(Take(InBundle("GPU_group_0_0a1b", 1)), std::nullopt);  // the same unit
  EXPECT_FALSE(books_.CouldFit(UnitAsk::Of(InGroup(3))));
}

TEST_F(UnitBooksTest, ABundleOfPartsHasNoWholeUnit) {
  Open(0, 0.5), Open(1, 0.5);
  EXPECT_EQ(Take(Gpus(2)), (Numbers{1, 2}));  // the bundles share a unit
  EXPECT_FALSE(books_.CouldFit(UnitAsk::Of(InGroup(0.6))));
  EXPECT_EQ(Take(InGroup(0.5)), (Numbers{0}));
  EXPECT_EQ(Take(InGroup(0.5)), (Numbers{0}));
  EXPECT_EQ(Take(InGroup(0.1)), std::nullopt);
}

TEST_F(UnitBooksTest, AClosedBundleGivesItsUnitsBack) {
  Open(0, 2.5);
  Units used;
  EXPECT_EQ(Take(InBundle("GPU_group_0_0a1b", 1), &used), (Numbers{1}));
  books_.Give(used);
  books_.CloseBundle({kGroup, 0});
  EXPECT_EQ(Take(Gpus(3)), (Numbers{0, 1, 2}));
}

TEST_F(UnitBooksTest, InvariantsShowWhatIsGivenTwice) {
  Units taken;
  Take(Gpus(1), &taken);
  UnitBooks twice = books_;
  twice.Take(taken);
  EXPECT_NE(twice.CheckInvariants(), "");
  EXPECT_NE(books_.CheckAllFree(), "");
  books_.Give(taken);
  EXPECT_EQ(books_.CheckAllFree(), "");
}

// Random takes and returns against a model that adds up per unit.
TEST_F(UnitBooksTest, RandomUseNeverGivesAUnitTwiceNorLosesOne) {
  std::mt19937 random(7);
  std::vector<Units> held;
  std::size_t taken = 0;
  for (int step = 0; step < 20000; ++step) {
    const double amount = random() % 3 == 0 ? 1 + random() % 2 : 0.1 * (1 + random() % 9);
    Units units;
    if (random() % 2 == 0 && Take(Gpus(amount), &units)) {
      held.push_back(units);
      ++taken;
    } else if (!held.empty()) {
      const std::size_t chosen = random() % held.size();
      books_.Give(held[chosen]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
    std::map<std::uint32_t, ResourceSet::Amount> used;
    for (const Units& one : held) {
      for (const UnitShare& share : one.shares.at(0).second) used[share.unit] += share.amount;
    }
    ResourceSet::Amount sum = 0;
    for (const auto& [unit, in_use] : used) {
      ASSERT_LE(in_use, ResourceSet::kUnit);
      sum += in_use;
    }
    ASSERT_EQ(books_.Free("GPU"), 3 * ResourceSet::kUnit - sum);
  }
  EXPECT_GT(taken, 3000u);
  for (const Units& one : held) books_.Give(one);
  EXPECT_EQ(books_.CheckAllFree(), "");
}

// ---- in the scheduler ----------------------------------------------------------------------------------------------

class UnitsTest : public SchedulerFixture {
 protected:
  AssignedUnits TakeUnits() {
    const auto started = Take<StartLease>();
    EXPECT_EQ(started.size(), 1u);
    if (!started.empty()) last_ = started[0].second.lease;
    return started.empty() ? AssignedUnits() : started[0].second.units;
  }
  static AssignedUnits Gpu(Numbers numbers) { return {{"GPU", std::move(numbers)}}; }

  LeaseId last_{};
};

TEST_F(UnitsTest, ALeaseComesWithItsUnitsAndOneWithoutAnyWithNone) {
  AddNode(0, Resources({{"CPU", 4}, {"GPU", 2}}));
  Demand(driver_, 1, 1, Resources({{"CPU", 1}, {"GPU", 2}}));
  EXPECT_EQ(TakeUnits(), Gpu({0, 1}));
  Demand(driver_, 2, 1, Cpus(1));
  EXPECT_EQ(TakeUnits(), AssignedUnits());
}

TEST_F(UnitsTest, ARequestWaitsWhileTheUnitsAreInPiecesAndSaysSo) {
  AddNode(0, Resources({{"GPU", 2}}));
  Demand(kHead, 1, 1, Gpus(0.6));
  TakeUnits();
  const LeaseId first = last_;
  Demand(kHead, 2, 1, Gpus(0.6));
  EXPECT_EQ(TakeUnits(), Gpu({1}));
  Demand(driver_, 1, 1, Gpus(0.8));
  EXPECT_THAT(scheduler_.Explain(driver_, 1), testing::HasSubstr("GPU 0.8 needed of one unit, and none has so much"));
  EndLease(first);
  EXPECT_EQ(TakeUnits(), Gpu({0}));
  TakeKind<Scheduler::PlacementLost>();
}

TEST_F(UnitsTest, ANodeWithTheRightPieceIsFoundBehindOneWithout) {
  AddNode(0, Resources({{"GPU", 1}})), AddNode(1, Resources({{"GPU", 1}}));
  Demand(kHead, 1, 1, Gpus(0.5));
  TakeUnits();
  Demand(driver_, 1, 1, Gpus(0.8));
  EXPECT_EQ(TakeNodes(), Numbers{1});
}

TEST_F(UnitsTest, PiecesAreAskedBackForWhoNeedsMore) {
  AddNode(0, Resources({{"GPU", 2}}));
  Demand(worker_, 1, 2, Gpus(0.6));
  ASSERT_EQ(TakeStarts().size(), 2u);
  now_ += milliseconds(10);
  Demand(driver_, 1, 1, Gpus(0.8));
  EXPECT_EQ(Take<LeaseReclaim>().size(), 1u);
}

TEST_F(UnitsTest, AnActorKeepsItsUnitsWhenItRunsAndGivesThemBackAtItsEnd) {
  AddNode(0, Resources({{"CPU", 1}, {"GPU", 1}}));
  Demand(kHead, 1, 1, Resources({{"CPU", 1}, {"GPU", 1}}));
  TakeUnits();
  Do(scheduler_.SetHeld(last_, Gpus(1), now_));
  Demand(driver_, 1, 1, Gpus(0.1));
  EXPECT_TRUE(TakeStarts().empty());
  EndLease(last_);
  EXPECT_EQ(TakeUnits(), Gpu({0}));
  TakeKind<Scheduler::PlacementLost>();
}

TEST_F(UnitsTest, AGroupsUnitsAreItsOwnUntilItIsRemoved) {
  AddNode(0, Resources({{"GPU", 2}}));
  GroupSpec spec;
  spec.id = PlacementGroupId::FromBinary(std::string(PlacementGroupId::kSize, 'g'));
  spec.bundles = {{Gpus(1), {}}};
  Scheduler::Actions actions;
  scheduler_.OnGroupCreate(spec, driver_, now_, &actions);
  Do(actions);
  LeaseClass in_group = MakeClass(Resources({{("GPU_group_" + spec.id.Hex()).c_str(), 1}}));
  in_group.group = spec.id;
  Demand(kHead, 1, 1, in_group);
  EXPECT_EQ(TakeUnits(), Gpu({0}));
  Demand(driver_, 2, 2, Gpus(1));
  EXPECT_EQ(TakeUnits(), Gpu({1}));
  Do(scheduler_.OnGroupRemove(spec.id, now_));
  Take<KillWorker>();
  EXPECT_EQ(TakeUnits(), Gpu({0}));
}

TEST_F(UnitsTest, BundlesOfPartsArePlacedWhereTheirUnitsFitTogether) {
  AddNode(0, Resources({{"GPU", 1}})), AddNode(1, Resources({{"GPU", 2}}));
  Demand(kHead, 1, 1, OnNode(1, Gpus(0.5), false));
  TakeUnits();
  GroupSpec spec;
  spec.id = PlacementGroupId::FromBinary(std::string(PlacementGroupId::kSize, 'g'));
  spec.strategy = GroupSpec::kStrictPack;
  spec.bundles = {{Gpus(0.7), {}}, {Gpus(0.7), {}}};
  Scheduler::Actions actions;
  scheduler_.OnGroupCreate(spec, driver_, now_, &actions);
  Do(actions);
  GroupQuery query;
  query.id = spec.id;
  EXPECT_EQ(scheduler_.Groups(query).at(0).state, GroupState::kPending);
  EndLease(last_);
  EXPECT_EQ(scheduler_.Groups(query).at(0).state, GroupState::kCreated);
  TakeKind<Scheduler::PlacementLost>();
}

}  // namespace
}  // namespace ray_engine
