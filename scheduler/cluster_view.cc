#include "scheduler/cluster_view.h"

#include <fmt/format.h>

namespace ray_engine {

void ClusterView::Add(const NodeInfo& node) {
  while (nodes_.size() <= node.index) {
    NodeInfo& gap = nodes_.emplace_back();
    gap.index = static_cast<std::uint32_t>(nodes_.size() - 1);
    gap.alive = false;
  }
  books_.resize(nodes_.size());
  books_[node.index] = UnitBooks(node.total);
  NodeInfo& entry = nodes_[node.index];
  entry = node;
  entry.alive = true;
  entry.available = node.total;
  by_id_[node.id] = node.index;
}

void ClusterView::Remove(std::uint32_t index, const std::string& reason) {
  if (Find(index) == nullptr) return;
  NodeInfo& node = nodes_[index];
  node.alive = false;
  node.death_reason = reason;
  node.available = ResourceSet();
  books_[index] = UnitBooks();
  by_id_.erase(node.id);
}

void ClusterView::Take(std::uint32_t index, const ResourceSet& amount) {
  if (Find(index) != nullptr) nodes_[index].available.Subtract(amount);
}

void ClusterView::Give(std::uint32_t index, const ResourceSet& amount) {
  if (Find(index) != nullptr) nodes_[index].available.Add(amount);
}

void ClusterView::TakeUnits(std::uint32_t index, const Units& units) {
  if (!units.Empty() && Find(index) != nullptr) books_[index].Take(units);
}

void ClusterView::GiveUnits(std::uint32_t index, const Units& units) {
  if (!units.Empty() && Find(index) != nullptr) books_[index].Give(units);
}

void ClusterView::OpenBundle(std::uint32_t index, const StockName& bundle, const Units& units) {
  if (Find(index) != nullptr) books_[index].OpenBundle(bundle, units);
}

void ClusterView::CloseBundle(std::uint32_t index, const StockName& bundle) {
  if (Find(index) != nullptr) books_[index].CloseBundle(bundle);
}

void ClusterView::Extend(std::uint32_t index, const ResourceSet& amount) {
  if (Find(index) == nullptr) return;
  nodes_[index].total.Add(amount);
  nodes_[index].available.Add(amount);
}

void ClusterView::Shrink(std::uint32_t index, const ResourceSet& amount) {
  if (Find(index) == nullptr) return;
  nodes_[index].total.Subtract(amount);
  nodes_[index].available.Subtract(amount);
}

ClusterView ClusterView::Idle() const {
  ClusterView idle;
  for (const NodeInfo& node : nodes_) {
    if (node.alive) idle.Add(node);
  }
  return idle;
}

const NodeInfo* ClusterView::Find(std::uint32_t index) const {
  return index < nodes_.size() && nodes_[index].alive ? &nodes_[index] : nullptr;
}

const NodeInfo* ClusterView::Find(const NodeId& id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &nodes_[it->second];
}

absl::btree_set<ProcessId> ClusterView::Engines() const {
  absl::btree_set<ProcessId> engines;
  for (const auto& [id, index] : by_id_) engines.insert(ProcessId{index, 0});
  return engines;
}

std::string NodeLabel(const NodeInfo& node) {
  return node.hostname.empty() ? fmt::format("node {}", node.index)
                               : fmt::format("node {} ({})", node.index, node.hostname);
}

}  // namespace ray_engine
