// SchedulerFixture: a scheduler, a clock that tests advance, and the actions nobody has looked at yet.
//
// Beside it, makers of nodes, classes and actors. Tests take the actions they expect; TearDown fails if any is left or
// an invariant is broken.

#pragma once

#include <chrono>
#include <initializer_list>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/scheduler.h"

namespace ray_engine {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline ResourceSet Resources(std::initializer_list<std::pair<const char*, double>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, ResourceSet::FromDouble(amount));
  return set;
}
inline ResourceSet Cpus(double amount) { return Resources({{"CPU", amount}}); }

inline NodeId NodeIdOf(std::uint32_t index) {
  return NodeId::FromBinary("node" + std::string(NodeId::kSize - 5, '.') + static_cast<char>('0' + index % 64));
}

inline NodeInfo MakeNode(std::uint32_t index, const ResourceSet& total) {
  NodeInfo node;
  node.id = NodeIdOf(index);
  node.index = index;
  node.hostname = "host" + std::to_string(index);
  node.total = total;
  return node;
}

inline LeaseClass MakeClass(const ResourceSet& resources, LeaseClass::Strategy strategy = LeaseClass::kDefault) {
  LeaseClass lease_class;
  lease_class.job = JobId::FromBinary("job1");
  lease_class.resources = resources;
  lease_class.strategy = strategy;
  return lease_class;
}

inline LeaseClass OnNode(std::uint32_t node, const ResourceSet& resources, bool soft) {
  LeaseClass lease_class = MakeClass(resources, LeaseClass::kNodeAffinity);
  lease_class.affinity = NodeIdOf(node);
  lease_class.soft = soft;
  return lease_class;
}

inline ActorId ActorIdOf(int number) {
  std::string binary = "actor" + std::to_string(number);
  binary.resize(ActorId::kSize, '.');
  return ActorId::FromBinary(binary);
}

inline ActorSpec MakeActor(int number, ProcessId creator) {
  ActorSpec spec;
  spec.actor = ActorIdOf(number);
  spec.creator = creator;
  spec.class_name = "Counter";
  spec.name_space = "space";
  spec.placement = MakeClass(Cpus(1));
  spec.handle = "handle" + std::to_string(number);
  spec.creation_task = "task";
  return spec;
}

class SchedulerFixture : public ::testing::Test {
 protected:
  // A StartLease that was sent.
  struct Start {
    std::uint32_t node = 0;
    LeaseId lease{};
    ProcessId client;
    std::uint32_t key = 0;
  };

  void TearDown() override {
    EXPECT_TRUE(actions_.empty()) << actions_.size() << " actions nobody expected";
    EXPECT_EQ(scheduler_.CheckInvariants(), "");
  }

  void Do(Scheduler::Actions actions) {
    EXPECT_EQ(scheduler_.CheckInvariants(), "");
    for (Scheduler::Action& action : actions) {
      const auto* send = std::get_if<Scheduler::Send>(&action);
      const auto* update = send == nullptr ? nullptr : std::get_if<GroupUpdate>(&send->message);
      if (update == nullptr) {
        actions_.push_back(std::move(action));
      } else {
        EXPECT_EQ(send->to, driver_);
        told_[update->id.Hex()] = update->state;
      }
    }
  }
  void AddNode(std::uint32_t index, const ResourceSet& total, Labels labels = {}) {
    NodeInfo node = MakeNode(index, total);
    node.labels = std::move(labels);
    Do(scheduler_.OnNodeJoined(node, now_));
  }
  void Demand(ProcessId client, std::uint32_t key, std::uint32_t count, const LeaseClass& lease_class,
              std::uint32_t locality = kNoNode) {
    LeaseDemand demand;
    demand.key = key;
    demand.count = count;
    demand.received = received_[{client, key}];
    demand.name = "f" + std::to_string(key);
    demand.lease_class = lease_class;
    demand.locality = locality;
    Do(scheduler_.OnDemand(client, demand, now_));
  }
  void Demand(ProcessId client, std::uint32_t key, std::uint32_t count, const ResourceSet& resources) {
    Demand(client, key, count, MakeClass(resources));
  }
  void EndLease(LeaseId lease, const std::string& error = "") { Do(scheduler_.OnLeaseEnded({lease, error}, now_)); }
  void Tick(Time step) {
    now_ += step;
    Do(scheduler_.OnTick(now_));
  }

  // Takes all messages of a type that were sent, with their receivers.
  template <class Message>
  std::vector<std::pair<ProcessId, Message>> Take() {
    std::vector<std::pair<ProcessId, Message>> taken;
    Scheduler::Actions rest;
    for (Scheduler::Action& action : actions_) {
      auto* send = std::get_if<Scheduler::Send>(&action);
      Message* message = send == nullptr ? nullptr : std::get_if<Message>(&send->message);
      if (message != nullptr) {
        if constexpr (std::is_same_v<Message, StartLease>) ++received_[{message->client, message->key}];
        taken.emplace_back(send->to, std::move(*message));
      } else {
        rest.push_back(std::move(action));
      }
    }
    actions_ = std::move(rest);
    return taken;
  }
  template <class Kind>
  std::vector<Kind> TakeKind() {
    std::vector<Kind> taken;
    Scheduler::Actions rest;
    for (Scheduler::Action& action : actions_) {
      if (auto* kind = std::get_if<Kind>(&action)) {
        taken.push_back(std::move(*kind));
      } else {
        rest.push_back(std::move(action));
      }
    }
    actions_ = std::move(rest);
    return taken;
  }
  std::vector<Start> TakeStarts() {
    std::vector<Start> starts;
    for (const auto& [to, start] : Take<StartLease>()) {
      EXPECT_TRUE(to.IsEngine());
      starts.push_back({to.node, start.lease, start.client, start.key});
    }
    return starts;
  }
  // The one StartLease that was sent.
  Start TakeStart() {
    const std::vector<Start> starts = TakeStarts();
    EXPECT_EQ(starts.size(), 1u);
    return starts.empty() ? Start{} : starts.front();
  }
  std::vector<std::uint32_t> TakeNodes() {
    std::vector<std::uint32_t> nodes;
    for (const Start& start : TakeStarts()) nodes.push_back(start.node);
    return nodes;
  }
  ResourceSet Available(std::uint32_t node) const { return scheduler_.cluster().nodes().at(node).available; }

  Scheduler scheduler_;
  Time now_ = seconds(1);
  Scheduler::Actions actions_;
  std::map<std::string, GroupState> told_;  // the last state of each group that its maker has been told of
  std::map<std::pair<ProcessId, std::uint32_t>, std::uint32_t>
      received_;  // by the clients; what is not taken is under way
  const ProcessId driver_{0, 1};
  const ProcessId worker_{0, 2};
  const ProcessId far_worker_{1, 1};
};

}  // namespace ray_engine
