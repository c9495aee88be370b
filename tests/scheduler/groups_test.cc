// Placement groups: where bundles go, what a group's life does to leases.

#include <algorithm>
#include <set>

#include "scheduler/bundle_placement.h"
#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

using Nodes = std::vector<std::uint32_t>;

GroupSpec MakeGroup(int number, GroupSpec::Strategy strategy, const std::vector<ResourceSet>& bundles) {
  GroupSpec spec;
  std::string id = "group" + std::to_string(number);
  id.resize(PlacementGroupId::kSize, '.');
  spec.id = PlacementGroupId::FromBinary(id);
  spec.job = JobId::FromBinary("job1");
  spec.strategy = strategy;
  for (const ResourceSet& resources : bundles) spec.bundles.push_back({resources, {}});
  return spec;
}

class BundlePlacementTest : public ::testing::Test {
 protected:
  void Add(std::uint32_t index, double cpus, Labels labels = {}) {
    NodeInfo node = MakeNode(index, Cpus(cpus));
    node.labels = std::move(labels);
    cluster_.Add(node);
  }
  std::optional<Nodes> Place(const GroupSpec& spec) { return Place(spec, Nodes(spec.bundles.size(), kNoNode)); }
  std::optional<Nodes> Place(const GroupSpec& spec, const Nodes& placed) {
    PlacementPolicy policy(&cluster_);
    std::vector<Candidates*> shapes;
    for (const Bundle& bundle : spec.bundles) shapes.push_back(policy.Acquire(ShapeOf(bundle)));
    const auto places = PlaceBundles(cluster_, spec, shapes, placed);
    if (!places) return std::nullopt;
    Nodes nodes;
    for (const BundlePlace& place : *places) nodes.push_back(place.node);
    return nodes;
  }
  std::optional<Nodes> Place(GroupSpec::Strategy strategy, const std::vector<ResourceSet>& bundles) {
    return Place(MakeGroup(1, strategy, bundles));
  }
  static std::size_t Distinct(const Nodes& nodes) { return std::set<std::uint32_t>(nodes.begin(), nodes.end()).size(); }

  ClusterView cluster_;
};

TEST_F(BundlePlacementTest, PackTakesOneNodeIfItCanElseFew) {
  Add(0, 1), Add(1, 2), Add(2, 2);
  EXPECT_EQ(Place(GroupSpec::kPack, {Cpus(1), Cpus(1)}), (Nodes{1, 1}));
  const auto three = Place(GroupSpec::kPack, {Cpus(1), Cpus(1), Cpus(1)});
  ASSERT_TRUE(three);
  EXPECT_EQ(Distinct(*three), 2u);
  EXPECT_FALSE(Place(GroupSpec::kPack, std::vector<ResourceSet>(6, Cpus(1))));
}

TEST_F(BundlePlacementTest, StrictPackTakesOneNodeOrNone) {
  Add(0, 2), Add(1, 3);
  EXPECT_EQ(Place(GroupSpec::kStrictPack, {Cpus(1), Cpus(2)}), (Nodes{1, 1}));
  EXPECT_FALSE(Place(GroupSpec::kStrictPack, {Cpus(2), Cpus(2)}));
}

TEST_F(BundlePlacementTest, SpreadTakesManyNodesAsFarAsTheyGo) {
  Add(0, 3), Add(1, 1);
  const auto nodes = Place(GroupSpec::kSpread, {Cpus(1), Cpus(1), Cpus(1)});
  ASSERT_TRUE(nodes);
  EXPECT_EQ(std::count(nodes->begin(), nodes->end(), 0u), 2);
}

TEST_F(BundlePlacementTest, StrictSpreadFindsAMatchingWhereOneExists) {
  Add(0, 4), Add(1, 1);
  EXPECT_EQ(Place(GroupSpec::kStrictSpread, {Cpus(1), Cpus(3)}), (Nodes{1, 0}));
  EXPECT_FALSE(Place(GroupSpec::kStrictSpread, {Cpus(1), Cpus(1), Cpus(1)}));
}

TEST_F(BundlePlacementTest, BundlesGoWhereTheLabelsAre) {
  Add(0, 2, {{"zone", "a"}}), Add(1, 2, {{"zone", "b"}});
  GroupSpec spec = MakeGroup(1, GroupSpec::kPack, {Cpus(1), Cpus(1)});
  spec.bundles[0].selector = {{"zone", "b"}};
  spec.bundles[1].selector = {{"zone", "a"}};
  EXPECT_EQ(Place(spec), (Nodes{1, 0}));
  spec.bundles[1].selector = {{"zone", "c"}};
  EXPECT_FALSE(Place(spec));
}

TEST_F(BundlePlacementTest, AGroupWithADomainStaysInsideOne) {
  Add(0, 9), Add(1, 1, {{"rack", "a"}}), Add(2, 1, {{"rack", "b"}}), Add(3, 1, {{"rack", "a"}}),
      Add(4, 1, {{"rack", "b"}});
  GroupSpec spec = MakeGroup(1, GroupSpec::kPack, {Cpus(1), Cpus(1)});
  spec.domain_label = "rack";
  EXPECT_EQ(Place(spec), (Nodes{1, 3}));
  cluster_.Take(3, Cpus(1));
  EXPECT_EQ(Place(spec), (Nodes{2, 4}));
  cluster_.Take(2, Cpus(1));
  EXPECT_FALSE(Place(spec)) << "two free nodes of two racks, and one without, do not do";
  spec.domain_label = "row";
  EXPECT_FALSE(Place(spec));
}

TEST_F(BundlePlacementTest, ALostBundleComesBackIntoTheDomainOfTheOthers) {
  for (const std::uint32_t node : {0, 1, 2}) Add(node, 1, {{"rack", node < 2 ? "a" : "b"}});
  GroupSpec spec = MakeGroup(1, GroupSpec::kStrictSpread, {Cpus(1), Cpus(1)});
  spec.domain_label = "rack";
  cluster_.Take(1, Cpus(1));
  EXPECT_EQ(Place(spec, {1, kNoNode}), (Nodes{1, 0}));
  cluster_.Take(0, Cpus(1));
  EXPECT_FALSE(Place(spec, {1, kNoNode})) << "rack b has room, but the other bundle is in rack a";
}

class GroupsTest : public SchedulerFixture {
 protected:
  bool Create(const GroupSpec& spec) {
    Scheduler::Actions actions;
    const bool created = scheduler_.OnGroupCreate(spec, driver_, now_, &actions);
    Do(std::move(actions));
    return created;
  }
  GroupState StateOf(const GroupSpec& spec) {
    GroupQuery query;
    query.id = spec.id;
    const GroupState state = scheduler_.Groups(query).at(0).state;
    const auto told = told_.find(spec.id.Hex());
    EXPECT_EQ(told == told_.end() ? GroupState::kPending : told->second, state);
    return state;
  }
  static LeaseClass In(const GroupSpec& spec, double cpus) {
    LeaseClass lease_class = MakeClass(Resources({{("CPU_group_" + spec.id.Hex()).c_str(), cpus}}));
    lease_class.group = spec.id;
    return lease_class;
  }

  const GroupSpec spec_ = MakeGroup(1, GroupSpec::kPack, {Cpus(1), Cpus(1)});
};

TEST_F(GroupsTest, AGroupKeepsItsResourcesFromOthers) {
  AddNode(0, Cpus(3));
  EXPECT_TRUE(Create(spec_));
  EXPECT_EQ(StateOf(spec_), GroupState::kCreated);
  Demand(driver_, 1, 3, Cpus(1));
  EXPECT_EQ(TakeNodes().size(), 1u);
  Demand(driver_, 2, 3, In(spec_, 1));
  EXPECT_EQ(TakeNodes().size(), 2u);
  Take<LeaseReclaim>();
}

TEST_F(GroupsTest, GroupsAlikeAreServedInTurnAndOthersBesideThem) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 2, Cpus(1));
  const std::vector<Start> others = TakeStarts();
  const GroupSpec second = MakeGroup(2, GroupSpec::kPack, {Cpus(1), Cpus(1)});
  const GroupSpec small = MakeGroup(3, GroupSpec::kPack, {Cpus(1)});
  for (const GroupSpec& spec : {spec_, second, small}) Create(spec);
  EndLease(others[0].lease);
  EXPECT_EQ(StateOf(small), GroupState::kCreated) << "the two before it would not have fitted";
  EndLease(others[1].lease);
  Do(scheduler_.OnGroupRemove(small.id, now_));
  EXPECT_EQ(StateOf(spec_), GroupState::kCreated);
  EXPECT_EQ(StateOf(second), GroupState::kPending);
  Do(scheduler_.OnGroupRemove(spec_.id, now_));
  EXPECT_EQ(StateOf(second), GroupState::kCreated);
  Take<LeaseReclaim>();
}

TEST_F(GroupsTest, AGroupThatHasLostABundleWaitsBesideThoseThatHaveNone) {
  for (const std::uint32_t node : {0, 1, 2}) AddNode(node, Cpus(1));
  const std::vector<ResourceSet> two = {Cpus(1), Cpus(1)};
  const GroupSpec first = MakeGroup(1, GroupSpec::kSpread, two), second = MakeGroup(2, GroupSpec::kSpread, two);
  for (const GroupSpec& spec : {first, second}) Create(spec);
  Do(scheduler_.OnNodeLost(0, "lost", now_));
  EXPECT_EQ(StateOf(first), GroupState::kCreated) << "on the one node left";
  EXPECT_EQ(StateOf(second), GroupState::kPending);
  AddNode(3, Cpus(1)), AddNode(4, Cpus(1));
  EXPECT_EQ(StateOf(second), GroupState::kCreated);
}

TEST_F(GroupsTest, RemovedGroupsAreRememberedForAWhile) {
  AddNode(0, Cpus(2));
  GroupSpec named = MakeGroup(1, GroupSpec::kPack, {Cpus(1)});
  named.name = "pool";
  Create(named);
  Do(scheduler_.OnGroupRemove(named.id, now_));
  EXPECT_EQ(StateOf(named), GroupState::kRemoved);
  for (int i = 0; i < static_cast<int>(GroupTable::kMaxRemoved); ++i) {
    GroupSpec spec = MakeGroup(i + 2, GroupSpec::kPack, {Cpus(1)});
    spec.name = "pool";
    Scheduler::Actions actions;
    EXPECT_TRUE(scheduler_.OnGroupCreate(spec, driver_, now_, &actions));
    scheduler_.OnGroupRemove(spec.id, now_);
  }
  EXPECT_EQ(scheduler_.Groups({}).size(), GroupTable::kMaxRemoved);
}

TEST_F(GroupsTest, AGroupWaitsForRoomAndItsTasksWaitForIt) {
  AddNode(0, Cpus(2));
  Demand(driver_, 1, 1, Cpus(1));
  const LeaseId other = TakeStart().lease;
  Create(spec_);
  Demand(driver_, 2, 1, In(spec_, 1));
  EXPECT_EQ(StateOf(spec_), GroupState::kPending);
  EndLease(other);
  EXPECT_EQ(StateOf(spec_), GroupState::kCreated);
  EXPECT_EQ(TakeStart().key, 2u);
}

TEST_F(GroupsTest, RemovalEndsWhatRunsAndFailsWhatWaits) {
  AddNode(0, Cpus(2));
  Create(spec_);
  Demand(driver_, 1, 3, In(spec_, 1));
  const auto started = TakeStarts();
  ASSERT_EQ(started.size(), 2u);
  Do(scheduler_.OnGroupRemove(spec_.id, now_));
  EXPECT_EQ(Take<LeaseReclaim>().size(), 2u);  // so that nobody pushes more to workers that are about to end
  EXPECT_EQ(Take<KillWorker>().size(), 2u);
  const auto failed = Take<LeaseFailed>();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_TRUE(failed[0].second.group_removed);
  EXPECT_EQ(Available(0), Cpus(2));
  for (const Start& start : started) EndLease(start.lease);
  EXPECT_EQ(Available(0), Cpus(2));

  Demand(driver_, 1, 1, In(spec_, 1));
  EXPECT_TRUE(Take<LeaseFailed>().at(0).second.group_removed);
}

TEST_F(GroupsTest, ABlockedTaskLendsTheCpuOfItsBundle) {
  AddNode(0, Cpus(1));
  const GroupSpec one = MakeGroup(2, GroupSpec::kPack, {Cpus(1)});
  Create(one);
  Demand(driver_, 1, 1, In(one, 1));
  const LeaseId parent = TakeStart().lease;
  Demand(worker_, 1, 1, In(one, 1));
  EXPECT_TRUE(TakeStarts().empty());
  Do(scheduler_.OnBlocked(parent, now_));
  EXPECT_EQ(TakeStart().client, worker_);
  Do(scheduler_.OnUnblocked(parent, now_));
  Take<LeaseReclaim>();
}

TEST_F(GroupsTest, BundlesOfALostNodeArePlacedAgain) {
  AddNode(0, Cpus(2));
  Create(spec_);
  AddNode(1, Cpus(1));
  Do(scheduler_.OnNodeLost(0, "gone", now_));
  EXPECT_EQ(StateOf(spec_), GroupState::kRescheduling);
  AddNode(2, Cpus(2));
  EXPECT_EQ(StateOf(spec_), GroupState::kCreated);
}

TEST_F(GroupsTest, GroupsEndWithTheirCreatorOrJobUnlessDetached) {
  AddNode(0, Cpus(6));
  GroupSpec of_actor = MakeGroup(2, GroupSpec::kPack, {Cpus(1)}), detached = MakeGroup(3, GroupSpec::kPack, {Cpus(1)});
  GroupSpec of_living_actor = MakeGroup(4, GroupSpec::kPack, {Cpus(1)});
  of_actor.creator = worker_;
  of_living_actor.creator = ProcessId{0, 77};
  detached.detached = true;
  for (const GroupSpec& spec : {spec_, of_actor, of_living_actor, detached}) Create(spec);
  Do(scheduler_.OnClientGone(worker_, "killed", now_));
  EXPECT_EQ(StateOf(of_actor), GroupState::kRemoved);
  EXPECT_EQ(StateOf(spec_), GroupState::kCreated);
  Do(scheduler_.OnJobEnded(spec_.job, now_));
  EXPECT_EQ(StateOf(spec_), GroupState::kRemoved);
  EXPECT_EQ(StateOf(of_living_actor), GroupState::kCreated);
  EXPECT_EQ(StateOf(detached), GroupState::kCreated);
}

TEST_F(GroupsTest, NamesAreTakenWhileTheirGroupLives) {
  AddNode(0, Cpus(2));
  GroupSpec first = MakeGroup(1, GroupSpec::kPack, {Cpus(1)}), second = MakeGroup(2, GroupSpec::kPack, {Cpus(1)});
  first.name = second.name = "pool";
  EXPECT_TRUE(Create(first));
  EXPECT_FALSE(Create(second));
  Do(scheduler_.OnGroupRemove(first.id, now_));
  EXPECT_TRUE(Create(second));
}

TEST_F(GroupsTest, AGroupThatNoNodeCanHoldIsReported) {
  AddNode(0, Cpus(1));
  const GroupSpec large = MakeGroup(1, GroupSpec::kStrictPack, {Cpus(2)});
  Create(large);
  Demand(driver_, 1, 1, In(large, 1));
  Tick(seconds(2));
  const auto warnings = TakeKind<Scheduler::Warn>();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].text.find("STRICT_PACK"), std::string::npos);
}

}  // namespace
}  // namespace ray_engine
