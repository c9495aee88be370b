// LeaseTable: who holds which lease, and who waits for how many.
//
// A DemandQueue is one (client, class) pair: the number of leases it still waits for and those it holds. A Lease is the
// right to use one worker on one node; it lives from the decision of the scheduler until the node engine reports its
// end. A queue without leases and wishes is forgotten. Plain bookkeeping: it decides nothing and knows nothing of
// resources of nodes.
//
// There may be a million leases, and any of them ends next: one has a cache line, and its end touches few others.
//
// Owns queues and leases; pointers to them stay valid until they are erased. Loop-bound (head loop).

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "boost/intrusive/list.hpp"
#include "engine/base/ids.h"
#include "engine/wire/messages.h"
#include "scheduler/placement_policy.h"

namespace ray_engine {

using Time = std::chrono::nanoseconds;  // since an arbitrary start; always passed in

struct DemandQueue;
struct Line;

struct alignas(64) Lease {
  // What few leases have.
  struct Special {
    std::optional<ResourceSet> held;  // instead of what it was granted
    Units units;                      // of the resources held
  };

  LeaseId id{};
  std::uint32_t node = 0;
  std::uint32_t place = 0;  // among those of its queue
  DemandQueue* queue = nullptr;
  Candidates* shape = nullptr;  // what was granted
  std::unique_ptr<Special> special;
  Time ask_after{};  // not to be asked back before
  Time patience{};   // until it may be asked again
  bool blocked = false;

  const ResourceSet& held() const { return special && special->held ? *special->held : shape->shape().resources; }
  bool HasUnits() const { return special != nullptr && !special->units.Empty(); }
  // What it takes from the node: all it holds, without CPU while blocked.
  ResourceSet Taken() const;
};
static_assert(sizeof(Lease) == 64);

struct DemandQueue {
  using Hook = boost::intrusive::list_member_hook<>;
  ProcessId client;
  std::uint32_t key = 0;
  std::string name;                               // for people
  std::shared_ptr<const LeaseClass> lease_class;  // of the last demand
  Candidates* candidates = nullptr;
  std::uint32_t locality = kNoNode;
  Time near_until{};  // until then it takes no lease elsewhere

  std::uint32_t granted = 0;  // leases that it has been given since it was made, seen or under way
  bool lost_grants = false;   // with a node, seen or not
  std::uint32_t wanted = 0;   // leases still to be granted; the queue is in a waiting line if and only if > 0
  std::uint64_t turn = 0;     // place in the line of its shape: lower comes first
  Line* line = nullptr;       // where it waits
  Hook in_line;
  std::vector<Lease*> leases;  // held, in no order
  std::uint32_t active = 0;    // those not blocked
  bool gone = false;           // the client is: only its leases have still to end

  std::optional<Time> asked_at;   // when leases of others were last asked back for it
  std::optional<Time> overtaken;  // since when others have been served on nodes that this queue waits for
  Time patience{};                // how long the next reservation for it may last

  // The node that holds the arguments of its tasks. (What an actor has in its place is where its creator is.)
  std::uint32_t DataNode() const { return client == kHead ? kNoNode : locality; }
  // For a moment the node with the arguments is worth waiting for: leases there are asked back meanwhile.
  bool WaitsForItsNode(Time now) const {
    if (locality == kNoNode || now >= near_until) return false;
    return candidates->IsFeasible(DataNode()) && !candidates->IsReady(DataNode());
  }
};

class LeaseTable {
 public:
  DemandQueue* FindQueue(ProcessId client, std::uint32_t key);
  const DemandQueue* FindQueue(ProcessId client, std::uint32_t key) const;
  DemandQueue* AddQueue(ProcessId client, std::uint32_t key);
  // REQUIRES: it holds no lease and wants none.
  void EraseQueue(DemandQueue* queue);
  std::vector<DemandQueue*> QueuesOf(ProcessId client);
  std::vector<ProcessId> ClientsOn(std::uint32_t node) const;

  Lease* FindLease(LeaseId id);
  const Lease* FindLease(LeaseId id) const;
  // Of the queue's shape.
  Lease* AddLease(DemandQueue* queue, std::uint32_t node);
  void EraseLease(Lease* lease);
  void SetBlocked(Lease* lease, bool blocked);
  // Oldest first.
  const std::vector<Lease*>& LeasesOn(std::uint32_t node) const;

  std::size_t leases() const { return slots_ - free_.size(); }
  std::size_t blocked() const { return blocked_; }
  using QueueMap = absl::btree_map<std::pair<ProcessId, std::uint32_t>, std::unique_ptr<DemandQueue>>;
  const QueueMap& queues() const { return queues_; }

 private:
  // An id is a slot (the low kSlotBits) and which use of the slot it is, so that finding a lease is looking into its
  // slot.
  static constexpr int kSlotBits = 24;
  static std::uint32_t SlotOf(LeaseId id) {
    return static_cast<std::uint64_t>(id) & ((std::uint64_t{1} << kSlotBits) - 1);
  }
  static constexpr std::uint32_t kChunk = 4096;  // slots
  Lease* Slot(std::uint32_t slot) { return &chunks_[slot / kChunk][slot % kChunk]; }

  std::vector<std::unique_ptr<Lease[]>> chunks_;  // free slots have no id
  std::uint32_t slots_ = 0;
  std::vector<std::uint32_t> free_;
  std::uint64_t uses_ = 0;
  QueueMap queues_;
  std::vector<std::vector<Lease*>> by_node_;
  std::size_t blocked_ = 0;
};

}  // namespace ray_engine
