// The directory and the scheduler together, under random kills and losses: no lease without an actor, no actor without
// an end or a place.

#include <map>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/actor_directory.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/scheduler_fixture.h"

namespace ray_engine {
namespace {

// The head's two state machines, and as much of node engines and workers as they need.
class ActorWorld {
 public:
  explicit ActorWorld(std::uint64_t seed) : random_(seed) {
    JoinNode();
    JoinNode();
  }

  void Step() {
    now_ += milliseconds(1);
    switch (Below(9)) {
      case 0:
        Create();
        break;
      case 1:
        Kill();
        break;
      case 2:
        if (Below(3) == 0) LoseWorker();
        break;
      case 3:
        if (Below(20) == 0) LoseNode();
        break;
      case 4:
        if (Below(3) == 0) DropHandles();
        break;
      default:
        WorkOn();
        break;
    }
  }

  void SettleAndCheck() {
    for (int i = 0; i < 20000 && !(starting_.empty() && constructing_.empty() && without_args_.empty()); ++i) WorkOn();
    const auto actors = directory_.Stats();
    EXPECT_EQ(actors.pending + actors.restarting, 0u);
    EXPECT_GT(actors.alive, 0u);
    EXPECT_GT(actors.dead, 10u);
    EXPECT_EQ(scheduler_.Stats().leases, actors.alive);
    EXPECT_EQ(scheduler_.Stats().waiting_leases, 0u);
    EXPECT_EQ(workers_.size(), actors.alive);
  }

 private:
  int Below(std::size_t limit) { return static_cast<int>(random_() % limit); }

  void JoinNode() {
    const std::uint32_t node = next_node_++;
    Perform(scheduler_.OnNodeJoined(MakeNode(node, Cpus(3)), now_));
  }

  void Create() {
    const bool by_driver = workers_.empty() || Below(2) == 0;
    ActorSpec spec = MakeActor(++last_actor_, by_driver ? ProcessId{0, 1} : workers_.begin()->first);
    spec.max_restarts = Below(4) - 1;
    spec.detached = Below(3) == 0;
    if (Below(2) == 0) spec.name = "name" + std::to_string(Below(20));
    Perform(directory_.OnCreate({0, spec}, spec.creator));
  }

  void Kill() {
    if (last_actor_ == 0) return;
    const int actor = 1 + Below(static_cast<std::size_t>(last_actor_));
    Perform(directory_.OnKill({ActorIdOf(actor), Below(2) == 0, ""}, now_));
  }

  void DropHandles() {
    if (last_actor_ == 0) return;
    const ActorId actor = ActorIdOf(1 + Below(static_cast<std::size_t>(last_actor_)));
    Perform(directory_.OnOutOfScope({actor, Below(2) == 0}));
    if (Below(2) == 0) Perform(directory_.OnRestart({actor}));
  }

  void LoseWorker() {
    if (workers_.empty()) return;
    const auto [worker, lease] = *std::next(workers_.begin(), Below(workers_.size()));
    Perform(directory_.OnProcessGone(worker, "crash"));
    EndLease(lease);
  }

  void LoseNode() {
    const std::uint32_t node = next_node_ - 1;
    for (auto it = workers_.begin(); it != workers_.end();)
      it = it->first.node == node ? workers_.erase(it) : std::next(it);
    Perform(scheduler_.OnNodeLost(node, "lost", now_));
    Perform(directory_.OnNodeLost(node, "lost"));
    JoinNode();
  }

  // A node engine finds a worker for a lease, or a worker ends a constructor.
  void WorkOn() {
    if (!starting_.empty()) {
      const StartLease start = starting_.front();
      starting_.erase(starting_.begin());
      const auto node = scheduler_.NodeOf(start.lease);
      if (!node) return;
      const ProcessId worker{*node, ++last_serial_};
      workers_[worker] = start.lease;
      Perform(directory_.OnPlaced({start.lease, start.key, worker, NodeIdOf(*node)}));
    } else if (!constructing_.empty()) {
      const StartActor start = constructing_.back();
      constructing_.pop_back();
      const bool args_lost = Below(5) == 0;
      Perform(directory_.OnReady({start.spec.actor, start.incarnation, Below(5) == 0 ? "error" : "", 0, args_lost}));
    } else if (!without_args_.empty()) {
      const ActorId actor = without_args_.back();
      without_args_.pop_back();
      Perform(directory_.OnArgs({actor, "task", Below(5) == 0 ? "cannot be had" : "", ""}));
    }
  }

  void EndLease(LeaseId lease) {
    for (auto it = workers_.begin(); it != workers_.end();)
      it = it->second == lease ? workers_.erase(it) : std::next(it);
    Perform(scheduler_.OnLeaseEnded({lease, ""}, now_));
  }

  void Perform(const Scheduler::Actions& actions) {
    ASSERT_EQ(scheduler_.CheckInvariants(), "");
    for (const Scheduler::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  }
  void Perform(const ActorDirectory::Actions& actions) {
    ASSERT_EQ(directory_.CheckInvariants(), "");
    for (const ActorDirectory::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  }

  void Do(const Scheduler::Send& send) { starting_.push_back(std::get<StartLease>(send.message)); }
  void Do(const Scheduler::Warn&) { ADD_FAILURE() << "every actor can be placed"; }
  void Do(const Scheduler::PlacementLost& lost) { Perform(directory_.OnPlacementLost(lost.key)); }
  void Do(const ActorDirectory::Place& place) { Perform(scheduler_.OnDemand(kHead, place.demand, now_)); }
  void Do(const ActorDirectory::Hold& hold) { Perform(scheduler_.SetHeld(hold.lease, hold.held, now_)); }
  void Do(const ActorDirectory::EndLease& end) { EndLease(end.lease); }
  void Do(const ActorDirectory::Send& send) {
    const auto* lost = std::get_if<ActorArgsLost>(&send.message);
    lost != nullptr ? without_args_.push_back(lost->actor)
                    : constructing_.push_back(std::get<StartActor>(send.message));
  }

  std::mt19937_64 random_;
  Scheduler scheduler_;
  ActorDirectory directory_;
  Time now_ = seconds(1);
  std::vector<StartLease> starting_;   // at the node engines
  std::vector<ActorId> without_args_;  // at their creators
  std::vector<StartActor> constructing_;
  std::map<ProcessId, LeaseId> workers_;
  std::uint32_t next_node_ = 0, last_serial_ = 100;
  int last_actor_ = 0;
};

class ActorDirectoryRandomTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(ActorDirectoryRandomTest, EveryActorLivesOrIsDeadAndNoLeaseIsLeftOver) {
  ActorWorld world(GetParam());
  for (int i = 0; i < 1500 && !HasFatalFailure(); ++i) world.Step();
  world.SettleAndCheck();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ActorDirectoryRandomTest, ::testing::Range<std::uint64_t>(1, 11));

}  // namespace
}  // namespace ray_engine
