// SimHead: head and node engines of the simulation in one, as little of them as the state machines of a process need:
// leases with CPUs, actors, who watches whom, what lies in the stores.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/wire/messages.h"
#include "tests/core/sim_network.h"

namespace ray_engine::sim {

class SimWorld;

class SimHead {
 public:
  SimHead(SimWorld* world, std::size_t cpus) : world_(world), free_cpus_(static_cast<std::int64_t>(cpus)) {}

  void OnFrame(const Frame& frame);
  // Forgets a process that has died and tells all who must know.
  void OnDeath(ProcessId process, const std::string& cause);
  // Answers a frame to a process that is gone.
  void TellGone(ProcessId whom, ProcessId gone);
  // Nobody has created the actors that some have asked about: they never will be.
  void GiveUpOnUnknown();
  // Something a head may do at any time: asks for a lease back, ends an idle worker.
  void Meddle();

  bool Stored(std::uint32_t node, const ObjectId& object) const { return store_.count({node, object}) != 0; }
  void Lose(std::uint32_t node, const ObjectId& object) { store_.erase({node, object}); }
  void Store(std::uint32_t node, const ObjectId& object, ProcessId owner) { store_[{node, object}] = owner; }

  bool IsDead(const ActorId& actor) const {
    const auto it = actors_.find(actor);
    return it != actors_.end() && it->second.state == ActorState::kDead;
  }
  std::size_t leases() const { return leases_.size(); }
  // What is in stores: "object at node, of its owner", for people.
  std::string DescribeStored() const;

 private:
  struct Lease {
    ProcessId client, worker;
    bool blocked = false;
  };
  struct Actor {
    ActorSpec spec;
    ActorState state = ActorState::kPending;
    std::uint32_t incarnation = 0;
    ProcessId worker;
    std::string cause;
    std::set<ProcessId> watchers;
  };

  template <class Message>
  void Send(ProcessId from, ProcessId to, const Message& message);
  void GrantAll();
  ProcessId IdleWorker();
  void EndLease(LeaseId lease);
  void Block(LeaseId lease, bool blocked);
  void Create(const ActorSpec& spec);
  void Start(Actor* actor);
  void Publish(const Actor& actor);
  ActorUpdate UpdateOf(const Actor& actor) const;
  void Die(Actor* actor, const std::string& cause);

  SimWorld* world_;
  std::int64_t free_cpus_;
  std::uint64_t last_lease_ = 0;
  std::map<std::pair<ProcessId, std::uint32_t>, std::uint32_t> demands_;
  std::map<LeaseId, Lease> leases_;
  std::vector<ProcessId> idle_;
  std::map<ActorId, Actor> actors_;
  std::map<ActorId, std::set<ProcessId>> early_watchers_;
  std::map<ProcessId, std::set<ProcessId>> watchers_;
  std::map<std::pair<std::uint32_t, ObjectId>, ProcessId> store_;
};

}  // namespace ray_engine::sim
