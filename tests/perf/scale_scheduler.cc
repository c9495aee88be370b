// How the scheduler's work grows with nodes and with what waits: what it does per second of CPU time, in one thread and
// without a cluster.
//
//   scale_scheduler leases NODES PENDING   leases that end, each followed by a grant; 64 clients, 8 classes, full nodes
//   scale_scheduler groups NODES PENDING   placement groups of 4 bundles, created and removed, while PENDING wait
//   scale_scheduler actors NODES PENDING   actors placed, started and ended, while PENDING wait
//
// Prints one line RESULT {"per_s": ...}.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "scheduler/actor_directory.h"
#include "scheduler/scheduler.h"
#include "tests/perf/scale_rate.h"

namespace ray_engine {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint32_t kCpus = 64, kGpus = 8;  // of a node
constexpr std::uint32_t kClients = 64, kClasses = 8;

ResourceSet Resources(const std::vector<std::pair<const char*, double>>& amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, ResourceSet::FromDouble(amount));
  return set;
}

template <class Id>
Id NumberedId(std::uint64_t number) {
  std::string binary(Id::kSize, '.');
  std::copy_n(reinterpret_cast<const char*>(&number), sizeof number, binary.begin());
  return Id::FromBinary(binary);
}

LeaseClass MakeClass(const ResourceSet& resources) {
  LeaseClass lease_class;
  lease_class.job = JobId::FromBinary("job1");
  lease_class.resources = resources;
  return lease_class;
}

std::vector<LeaseClass> MakeClasses() {
  std::vector<LeaseClass> classes;
  for (const ResourceSet& resources :
       {Resources({{"CPU", 1}}), Resources({{"CPU", 2}}), Resources({{"CPU", 1}, {"memory", 1e9}}),
        Resources({{"CPU", 1}, {"GPU", 1}}), Resources({{"CPU", 4}}), Resources({{"CPU", 0.5}}),
        Resources({{"CPU", 1}}), Resources({{"CPU", 1}})}) {
    classes.push_back(MakeClass(resources));
  }
  classes[6].strategy = LeaseClass::kSpread;
  classes[7].environment = {{"OMP_NUM_THREADS", "1"}};
  return classes;
}

// The scheduler of a cluster of full-sized nodes, and a clock that is read once per event, as an engine's loop does.
class World {
 public:
  explicit World(std::uint32_t nodes) {
    for (std::uint32_t index = 0; index < nodes; ++index) {
      NodeInfo node;
      node.index = index;
      node.id = NumberedId<NodeId>(index);
      node.hostname = fmt::format("host{}", index);
      node.total = Resources({{"CPU", kCpus}, {"GPU", kGpus}, {"memory", 256e9}, {"object_store_memory", 64e9}});
      scheduler.OnNodeJoined(node, Now());
    }
  }
  static Time Now() { return Clock::now().time_since_epoch(); }

  Scheduler scheduler;
};

class Leases {
 public:
  Leases(std::uint32_t nodes, std::uint32_t pending) : world_(nodes), pending_(pending), queues_(kClients * kClasses) {
    for (std::uint32_t i = 0; i < kClients; ++i) clients_.push_back({i * nodes / kClients, i + 1});
    const std::uint32_t chunk = std::max(1u, pending / (kClients * kClasses));
    for (std::uint32_t i = 0; waiting_ < pending; i = (i + 1) % queues_.size()) Demand(i, chunk);
  }

  // A lease ends: one that is asked back, or else a random one. What waits is kept at its number.
  void EndOne() {
    const Held ended = TakeOne();
    const Time now = World::Now();
    Do(world_.scheduler.OnLeaseEnded({ended.lease, "", true}, now));
    if (const auto tick = world_.scheduler.NextTick(); tick && *tick <= now) Do(world_.scheduler.OnTick(now));
    const std::uint32_t chunk = std::max(1u, pending_ / 100);
    if (waiting_ + chunk <= pending_) Demand(ended.queue, chunk);
  }

 private:
  struct Held {
    LeaseId lease{};
    std::uint32_t queue = 0;
  };
  struct Queue {
    std::uint32_t wanted = 0, received = 0;
  };

  Held TakeOne() {
    std::uint32_t place = kNowhere;
    for (; place == kNowhere && !asked_back_.empty(); asked_back_.pop_back()) place = PlaceOf(asked_back_.back());
    if (place == kNowhere) place = random_() % held_.size();
    const Held taken = std::exchange(held_[place], held_.back());
    PlaceOf(held_[place].lease) = place;
    PlaceOf(taken.lease) = kNowhere;
    held_.pop_back();
    return taken;
  }
  std::uint32_t& PlaceOf(LeaseId lease) {
    const auto slot = static_cast<std::uint64_t>(lease) & 0xffffff;
    if (places_.size() <= slot) places_.resize(2 * slot + 1, kNowhere);
    return places_[slot];
  }
  void Demand(std::uint32_t queue, std::uint32_t more) {
    waiting_ += more;
    queues_[queue].wanted += more;
    LeaseDemand demand;
    demand.key = queue % kClasses;
    demand.count = queues_[queue].wanted;
    demand.received = queues_[queue].received;
    demand.name = "function";
    demand.lease_class = classes_[queue % kClasses];
    Do(world_.scheduler.OnDemand(clients_[queue / kClasses], demand, World::Now()));
  }
  void Do(const Scheduler::Actions& actions) {
    for (const Scheduler::Action& action : actions) {
      const auto* send = std::get_if<Scheduler::Send>(&action);
      if (send == nullptr) continue;
      if (const auto* back = std::get_if<LeaseReclaim>(&send->message)) asked_back_.push_back(back->lease);
      const auto* started = std::get_if<StartLease>(&send->message);
      if (started == nullptr) continue;
      PlaceOf(started->lease) = static_cast<std::uint32_t>(held_.size());
      const std::uint32_t queue = (started->client.serial - 1) * kClasses + started->key;
      held_.push_back({started->lease, queue});
      --queues_[queue].wanted, ++queues_[queue].received, --waiting_;
    }
  }

  World world_;
  const std::uint32_t pending_;
  const std::vector<LeaseClass> classes_ = MakeClasses();
  std::vector<ProcessId> clients_;
  std::vector<Queue> queues_;  // client by client
  std::vector<Held> held_;
  static constexpr std::uint32_t kNowhere = 0xffffffff;
  std::vector<std::uint32_t> places_;  // in held_, by slot of the lease (scheduler/lease_table.h)
  std::vector<LeaseId> asked_back_;
  std::uint32_t waiting_ = 0;
  std::mt19937 random_{1};
};

class Groups {
 public:
  Groups(std::uint32_t nodes, std::uint32_t pending) : world_(nodes) {
    for (std::uint32_t i = 0; i < pending; ++i) Create(kCpus + 1);  // no node has so many
  }
  void CreateAndRemove() { world_.scheduler.OnGroupRemove(Create(1), World::Now()); }

 private:
  PlacementGroupId Create(double cpus) {
    GroupSpec spec;
    spec.id = NumberedId<PlacementGroupId>(++last_);
    spec.job = JobId::FromBinary("job1");
    spec.bundles = std::vector<Bundle>(4, Bundle{Resources({{"CPU", cpus}}), {}});
    Scheduler::Actions actions;
    world_.scheduler.OnGroupCreate(spec, {0, 1}, World::Now(), &actions);
    return spec.id;
  }

  World world_;
  std::uint64_t last_ = 0;
};

class Actors {
 public:
  Actors(std::uint32_t nodes, std::uint32_t pending) : world_(nodes) {
    for (std::uint32_t i = 0; i < pending; ++i) Create(kCpus + 1);
  }
  void CreateAndKill() {
    ActorKill kill;
    kill.actor = Create(1);
    Do(directory_.OnKill(kill, World::Now()));
  }

 private:
  ActorId Create(double cpus) {
    ActorCreate create;
    create.spec.actor = NumberedId<ActorId>(++last_);
    create.spec.creator = driver_;
    create.spec.class_name = "Class";
    create.spec.placement = MakeClass(Resources({{"CPU", cpus}}));
    create.spec.handle = create.spec.creation_task = std::string(200, '.');
    Do(directory_.OnCreate(create, driver_));
    return create.spec.actor;
  }
  void Do(const ActorDirectory::Actions& actions) {
    for (const ActorDirectory::Action& action : actions) {
      std::visit([this](const auto& one) { Do(one); }, action);
    }
  }
  void Do(const ActorDirectory::Place& place) { Do(world_.scheduler.OnDemand(kHead, place.demand, World::Now())); }
  void Do(const ActorDirectory::Hold& hold) { Do(world_.scheduler.SetHeld(hold.lease, hold.held, World::Now())); }
  void Do(const ActorDirectory::EndLease& end) {
    Do(world_.scheduler.OnLeaseEnded({end.lease, "", true}, World::Now()));
  }
  // The worker's constructor returns at once.
  void Do(const ActorDirectory::Send& send) {
    if (const auto* start = std::get_if<StartActor>(&send.message)) {
      Do(directory_.OnReady({start->spec.actor, start->incarnation, "", 1}));
    }
  }
  // So does the engine with a worker.
  void Do(const Scheduler::Actions& actions) {
    for (const Scheduler::Action& action : actions) {
      const auto* send = std::get_if<Scheduler::Send>(&action);
      const auto* started = send == nullptr ? nullptr : std::get_if<StartLease>(&send->message);
      if (started == nullptr) continue;
      const ProcessId worker{send->to.node, ++last_worker_};
      Do(directory_.OnPlaced({started->lease, started->key, worker, NumberedId<NodeId>(send->to.node)}));
    }
  }

  World world_;
  ActorDirectory directory_;
  const ProcessId driver_{0, 1};
  std::uint64_t last_ = 0;
  std::uint32_t last_worker_ = 1;
};

double Measure(const std::string& what, std::uint32_t nodes, std::uint32_t pending) {
  if (what == "leases") {
    Leases leases(nodes, pending);
    return Rate([&] { leases.EndOne(); });
  }
  if (what == "groups") {
    Groups groups(nodes, pending);
    return Rate([&] { groups.CreateAndRemove(); });
  }
  Actors actors(nodes, pending);
  return Rate([&] { actors.CreateAndKill(); });
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: scale_scheduler leases|groups|actors NODES PENDING\n");
    return 2;
  }
  const auto number = [](const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); };
  fmt::print("RESULT {{\"per_s\": {:.0f}}}\n", ray_engine::Measure(argv[1], number(argv[2]), number(argv[3])));
  return 0;
}
