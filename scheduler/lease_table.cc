#include "scheduler/lease_table.h"

#include <algorithm>
#include <limits>

#include "scheduler/group_table.h"

namespace ray_engine {

ResourceSet Lease::Taken() const {
  ResourceSet taken = held();
  if (!blocked) return taken;
  held().ForEach([&taken](std::string_view name, ResourceSet::Amount) {
    if (IsCpu(name)) taken.Set(name, 0);
  });
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
  if (id == LeaseId::kNone || slot >= slots_) return nullptr;
  return Slot(slot)->id == id ? Slot(slot) : nullptr;
}

const Lease* LeaseTable::FindLease(LeaseId id) const { return const_cast<LeaseTable*>(this)->FindLease(id); }

Lease* LeaseTable::AddLease(DemandQueue* queue, std::uint32_t node) {
  if (free_.empty()) {
    if (slots_ % kChunk == 0) chunks_.push_back(std::make_unique<Lease[]>(kChunk));
    free_.push_back(slots_++);
  }
  Lease* lease = Slot(free_.back());
  lease->id = LeaseId{++uses_ << kSlotBits | free_.back()};
  free_.pop_back();
  lease->node = node;
  lease->queue = queue;
  lease->shape = queue->candidates;
  lease->ask_after = lease->patience = Time{};
  lease->place = static_cast<std::uint32_t>(queue->leases.size());
  queue->leases.push_back(lease);
  ++queue->active;
  if (by_node_.size() <= node) by_node_.resize(node + 1);
  by_node_[node].push_back(lease);
  return lease;
}

void LeaseTable::EraseLease(Lease* lease) {
  std::vector<Lease*>& of_queue = lease->queue->leases;
  of_queue[lease->place] = of_queue.back();
  of_queue[lease->place]->place = lease->place;
  of_queue.pop_back();
  SetBlocked(lease, false);
  --lease->queue->active;
  std::vector<Lease*>& on_node = by_node_[lease->node];
  on_node.erase(std::find(on_node.begin(), on_node.end(), lease));
  free_.push_back(SlotOf(lease->id));
  lease->special.reset();
  lease->id = LeaseId::kNone;
}

void LeaseTable::SetBlocked(Lease* lease, bool blocked) {
  if (lease->blocked == blocked) return;
  lease->blocked = blocked;
  lease->queue->active += blocked ? -1 : 1;
  blocked_ += blocked ? 1 : -1;
}

const std::vector<Lease*>& LeaseTable::LeasesOn(std::uint32_t node) const {
  static const std::vector<Lease*> kNone;
  return node < by_node_.size() ? by_node_[node] : kNone;
}

}  // namespace ray_engine
