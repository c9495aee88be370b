#include "scheduler/lease_table.h"

#include <algorithm>
#include <limits>

#include "scheduler/group_table.h"

namespace ray_engine {

ResourceSet Lease::Taken() const {
  ResourceSet taken = held;
  if (!blocked) return taken;
  auto& entries = taken.mutable_entries();
  entries.erase(std::remove_if(entries.begin(), entries.end(), [](const auto& entry) { return IsCpu(entry.first); }),
                entries.end());
  return taken;
}

DemandQueue* LeaseTable::FindQueue(ProcessId client, std::uint32_t key) {
  const auto it = queues_.find({client, key});
  return it == queues_.end() ? nullptr : it->second.get();
}

const DemandQueue* LeaseTable::FindQueue(ProcessId client, std::uint32_t key) const {
  return const_cast<LeaseTable*>(this)->FindQueue(client, key);
}

DemandQueue* LeaseTable::AddQueue(ProcessId client, std::uint32_t key) {
  std::unique_ptr<DemandQueue>& queue = queues_[{client, key}];
  queue = std::make_unique<DemandQueue>();
  queue->client = client;
  queue->key = key;
  return queue.get();
}

void LeaseTable::EraseQueue(DemandQueue* queue) { queues_.erase({queue->client, queue->key}); }

std::vector<DemandQueue*> LeaseTable::QueuesOf(ProcessId client) {
  std::vector<DemandQueue*> found;
  for (auto it = queues_.lower_bound({client, 0}); it != queues_.end() && it->first.first == client; ++it) {
    found.push_back(it->second.get());
  }
  return found;
}

std::vector<ProcessId> LeaseTable::ClientsOn(std::uint32_t node) const {
  constexpr std::uint32_t kLast = std::numeric_limits<std::uint32_t>::max();
  std::vector<ProcessId> clients;
  auto it = queues_.lower_bound({ProcessId{node, 0}, 0});
  while (it != queues_.end() && it->first.first.node == node) {
    clients.push_back(it->first.first);
    it = queues_.upper_bound({clients.back(), kLast});
  }
  return clients;
}

Lease* LeaseTable::FindLease(LeaseId id) {
  const std::uint32_t slot = SlotOf(id);
  return slot < slots_.size() && slots_[slot].id == id && id != LeaseId::kNone ? &slots_[slot] : nullptr;
}

const Lease* LeaseTable::FindLease(LeaseId id) const { return const_cast<LeaseTable*>(this)->FindLease(id); }

Lease* LeaseTable::AddLease(DemandQueue* queue, std::uint32_t node) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  Lease* lease = &slots_[free_.back()];
  lease->id = LeaseId{++uses_ << kSlotBits | free_.back()};
  free_.pop_back();
  lease->node = node;
  lease->queue = queue;
  lease->ask_after = lease->patience = Time{};
  queue->leases.push_back(*lease);
  ++queue->active;
  LeasesOn(node).push_back(*lease);
  return lease;
}

void LeaseTable::EraseLease(Lease* lease) {
  lease->queue->leases.erase(LeasesOfQueue::s_iterator_to(*lease));
  SetBlocked(lease, false);
  --lease->queue->active;
  by_node_[lease->node].erase(LeasesOnNode::s_iterator_to(*lease));
  free_.push_back(SlotOf(lease->id));
  lease->id = LeaseId::kNone;
}

void LeaseTable::SetBlocked(Lease* lease, bool blocked) {
  if (lease->blocked == blocked) return;
  lease->blocked = blocked;
  lease->queue->active += blocked ? -1 : 1;
  blocked_ += blocked ? 1 : -1;
}

LeasesOnNode& LeaseTable::LeasesOn(std::uint32_t node) {
  if (by_node_.size() <= node) by_node_.resize(node + 1);
  return by_node_[node];
}

const LeasesOnNode& LeaseTable::LeasesOn(std::uint32_t node) const {
  static const LeasesOnNode kNone;
  return node < by_node_.size() ? by_node_[node] : kNone;
}

}  // namespace ray_engine
