// Random events against a model that keeps its own books: nothing is given twice, nothing is lost, nobody starves.

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

// A little world around the scheduler: nodes with CPU and GPU, clients that demand, leases that end after a while.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 4; ++i) JoinNode();
  }

  void Step() {
    now_ += milliseconds(1);
    switch (Below(12)) {
      case 0:
      case 1:
      case 2:
        Demand();
        break;
      case 3:
        Block();
        break;
      case 4:
        Unblock();
        break;
      case 5:
        ShrinkActor();
        break;
      case 6:
        if (Below(20) == 0) JoinNode();
        break;
      case 7:
        if (Below(40) == 0) LoseNode();
        break;
      case 8:
        if (Below(20) == 0) LoseClient();
        break;
      default:
        break;
    }
    Advance();
  }

  // No new demands and no losses: everything that can be served is served and ends.
  void Drain() {
    JoinNode();  // one that can serve all classes
    for (int i = 0; i < 60000 && scheduler_.Stats().queues > 0; ++i) {
      now_ += milliseconds(1);
      Unblock();
      Advance();
    }
    EXPECT_EQ(scheduler_.Stats().queues, 0u);
    EXPECT_EQ(scheduler_.NextTick(), std::nullopt);
    for (const NodeInfo& node : scheduler_.cluster().nodes()) {
      if (!node.alive) continue;
      EXPECT_EQ(node.available, node.total);
    }
  }

  Scheduler::Statistics Stats() const { return scheduler_.Stats(); }
  Time longest_wait() const { return longest_wait_; }  // of a queue, for its next lease

 private:
  struct Running {
    std::uint32_t node = 0;
    ProcessId client;
    std::uint32_t key = 0;
    ResourceSet held;
    bool blocked = false;
    Time ends{};
  };
  using QueueKey = std::pair<ProcessId, std::uint32_t>;

  int Below(int limit) { return static_cast<int>(random_() % static_cast<std::uint64_t>(limit)); }

  static ResourceSet ResourcesOf(std::uint32_t key) {
    switch (key % 5) {
      case 0:
        return Cpus(4);
      case 1:
        return Resources({{"CPU", 1}, {"GPU", 0.5}});
      case 2:
        return Cpus(0.5);
      case 3:
        return ResourceSet();
      default:
        return Cpus(1);
    }
  }

  void JoinNode() {
    const std::uint32_t index = next_node_++;
    const ResourceSet total = Resources({{"CPU", 4}, {"GPU", 2}});
    free_[index] = total;
    Perform(scheduler_.OnNodeJoined(MakeNode(index, total), now_));
  }

  void Demand() {
    const bool actor = Below(6) == 0;
    const ProcessId client =
        actor ? kHead : clients_[static_cast<std::size_t>(Below(static_cast<int>(clients_.size())))];
    const std::uint32_t key = actor ? ++last_actor_ : static_cast<std::uint32_t>(Below(5));
    Demand(client, key, actor ? 1 : static_cast<std::uint32_t>(Below(20)));
  }

  void Demand(ProcessId client, std::uint32_t key, std::uint32_t count) {
    LeaseDemand demand;
    demand.key = key;
    demand.count = count;
    const bool spread = client.serial % 2 == 0;
    demand.lease_class = MakeClass(ResourcesOf(demand.key), spread ? LeaseClass::kSpread : LeaseClass::kDefault);
    demand.received = received_[{client, demand.key}];
    std::uint32_t& wanted = wanted_[{client, demand.key}];
    if (wanted == 0) waiting_since_[{client, demand.key}] = now_;
    wanted = demand.count;
    Perform(scheduler_.OnDemand(client, demand, now_));
  }

  Running* RandomLease(LeaseId* id) {
    if (running_.empty()) return nullptr;
    const auto it = std::next(running_.begin(), Below(static_cast<int>(running_.size())));
    *id = it->first;
    return &it->second;
  }

  void Block() {
    LeaseId id{};
    Running* lease = RandomLease(&id);
    if (lease == nullptr || lease->blocked) return;
    lease->blocked = true;
    free_[lease->node].Add(CpuOf(*lease));
    Perform(scheduler_.OnBlocked(id, now_));
  }

  void Unblock() {
    LeaseId id{};
    Running* lease = RandomLease(&id);
    if (lease == nullptr || !lease->blocked) return;
    lease->blocked = false;
    free_[lease->node].Subtract(CpuOf(*lease));
    Perform(scheduler_.OnUnblocked(id, now_));
  }

  void ShrinkActor() {
    LeaseId id{};
    Running* lease = RandomLease(&id);
    if (lease == nullptr || lease->client != kHead) return;
    free_[lease->node].Add(Taken(*lease));
    lease->held = ResourceSet();
    Perform(scheduler_.SetHeld(id, ResourceSet(), now_));
  }

  void LoseNode() {
    std::vector<std::uint32_t> nodes;  // node 0 has the head
    for (const auto& [node, amount] : free_) {
      if (node != 0) nodes.push_back(node);
    }
    if (nodes.size() < 2) return;
    const std::uint32_t node = nodes[static_cast<std::size_t>(Below(static_cast<int>(nodes.size())))];
    free_.erase(node);
    for (auto it = running_.begin(); it != running_.end();) {
      if (it->second.node != node) {
        ++it;
        continue;
      }
      it = running_.erase(it);
    }
    Perform(scheduler_.OnNodeLost(node, "lost", now_));
    for (const auto& [client, key] : std::exchange(asked_, {})) {
      Demand(client, key, wanted_[{client, key}] + static_cast<std::uint32_t>(Below(3)));
    }
  }

  void LoseClient() {
    ProcessId& client = clients_[static_cast<std::size_t>(Below(static_cast<int>(clients_.size())))];
    const ProcessId gone = client;
    gone_[gone] = true;
    client = ProcessId{0, ++last_client_};
    for (auto& [key, wanted] : wanted_) {
      if (key.first == gone) wanted = 0;
    }
    Perform(scheduler_.OnClientGone(gone, "gone", now_));
  }

  // Ends leases whose time has come and ticks when asked to.
  void Advance() {
    std::vector<LeaseId> over;
    for (const auto& [id, lease] : running_) {
      if (lease.ends <= now_) over.push_back(id);
    }
    for (const LeaseId id : over) End(id);
    if (const auto tick = scheduler_.NextTick(); tick && *tick <= now_) Perform(scheduler_.OnTick(now_));
    for (const auto& [key, wanted] : wanted_) {
      if (wanted > 0) longest_wait_ = std::max(longest_wait_, now_ - waiting_since_[key]);
    }
  }

  void End(LeaseId id) {
    const auto it = running_.find(id);
    if (it == running_.end()) return;
    free_[it->second.node].Add(Taken(it->second));
    running_.erase(it);
    Perform(scheduler_.OnLeaseEnded({id, ""}, now_));
  }

  void Perform(const Scheduler::Actions& actions) {
    ASSERT_EQ(scheduler_.CheckInvariants(), "");
    for (const Scheduler::Action& action : actions) {
      const auto* send = std::get_if<Scheduler::Send>(&action);
      if (send == nullptr) continue;
      if (const auto* start = std::get_if<StartLease>(&send->message)) Begin(send->to.node, *start);
      if (const auto* reclaim = std::get_if<LeaseReclaim>(&send->message)) Hurry(reclaim->lease, send->to);
      if (const auto* kill = std::get_if<KillWorker>(&send->message)) Hurry(kill->lease, running_[kill->lease].client);
      if (const auto* lost = std::get_if<LeasesLost>(&send->message)) asked_.emplace_back(send->to, lost->key);
      EXPECT_FALSE(std::holds_alternative<LeaseFailed>(send->message));
    }
  }

  void Begin(std::uint32_t node, const StartLease& start) {
    const QueueKey key{start.client, start.key};
    ASSERT_TRUE(free_.count(node)) << "a lease on a node that is not there";
    ASSERT_GT(wanted_[key], 0u) << "a lease nobody wants";
    const ResourceSet resources = ResourcesOf(start.key);
    ASSERT_EQ(start.lease_class->resources, resources);
    ASSERT_TRUE(free_[node].Covers(resources)) << "a lease beyond what the node has";
    --wanted_[key];
    ++received_[key];
    waiting_since_[key] = now_;
    free_[node].Subtract(resources);
    running_[start.lease] = {node, start.client, start.key, resources, false, now_ + milliseconds(1 + Below(120))};
  }

  void Hurry(LeaseId id, ProcessId client) {
    ASSERT_TRUE(running_.count(id));
    ASSERT_EQ(running_[id].client, client);
    ASSERT_NE(client, kHead) << "an actor was asked to go";
    running_[id].ends = std::min(running_[id].ends, now_ + milliseconds(Below(10)));
  }

  static ResourceSet CpuOf(const Running& lease) {
    ResourceSet cpu;
    cpu.Set("CPU", lease.held.Get("CPU"));
    return cpu;
  }
  static ResourceSet Taken(const Running& lease) {
    ResourceSet taken = lease.held;
    if (lease.blocked) taken.Subtract(CpuOf(lease));
    return taken;
  }

  std::mt19937_64 random_;
  Scheduler scheduler_;
  Time now_ = seconds(1);
  std::map<std::uint32_t, ResourceSet> free_;  // the model's own books
  std::map<LeaseId, Running> running_;
  std::map<QueueKey, std::uint32_t> wanted_, received_;
  std::map<QueueKey, Time> waiting_since_;
  std::vector<QueueKey> asked_;  // how many they want, as leases are lost
  std::map<ProcessId, bool> gone_;
  std::vector<ProcessId> clients_ = {{0, 1}, {0, 2}, {0, 3}, {0, 4}};
  std::uint32_t next_node_ = 0, last_actor_ = 0, last_client_ = 4;
  Time longest_wait_{};
};

class SchedulerRandomTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(SchedulerRandomTest, KeepsItsBooksAndServesEverybody) {
  World world(GetParam());
  for (int i = 0; i < 4000 && !::testing::Test::HasFatalFailure(); ++i) world.Step();
  EXPECT_GT(world.Stats().grants, 500u);
  EXPECT_LT(world.longest_wait(), seconds(1));
  world.Drain();
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerRandomTest, ::testing::Range<std::uint64_t>(1, 13));

}  // namespace
}  // namespace ray_engine
