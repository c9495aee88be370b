// ClusterView: what the head knows about nodes and their resources.
//
// Owns one entry per node that ever joined, by node index; a lost node stays, marked as such, for people who ask.
// `available` of a node is its total minus all that leases hold there; it goes negative when a blocked task takes its
// CPU back. Beside the amounts, a node's UnitBooks say which units of its accelerators are free.
//
// Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "engine/base/ids.h"
#include "engine/base/resources.h"
#include "engine/wire/messages.h"
#include "scheduler/unit_books.h"

namespace ray_engine {

class ClusterView {
 public:
  // REQUIRES: the node's index was never used before.
  void Add(const NodeInfo& node);
  void Remove(std::uint32_t index, const std::string& reason);

  void Take(std::uint32_t index, const ResourceSet& amount);
  void Give(std::uint32_t index, const ResourceSet& amount);
  // The node has more of these from now on, or less.
  void Extend(std::uint32_t index, const ResourceSet& amount);
  void Shrink(std::uint32_t index, const ResourceSet& amount);

  void TakeUnits(std::uint32_t index, const Units& units);
  void GiveUnits(std::uint32_t index, const Units& units);
  void OpenBundle(std::uint32_t index, const StockName& bundle, const Units& units);
  void CloseBundle(std::uint32_t index, const StockName& bundle);
  // Of a lost node: empty.
  const UnitBooks& books(std::uint32_t index) const { return books_[index]; }

  // The living node of this index or id; null if there is none.
  const NodeInfo* Find(std::uint32_t index) const;
  const NodeInfo* Find(const NodeId& id) const;

  // All nodes by index, lost ones included (alive = false). An index that never joined has alive = false and a nil id.
  const std::vector<NodeInfo>& nodes() const { return nodes_; }
  std::size_t alive() const { return by_id_.size(); }
  // As if nothing ran on them.
  ClusterView Idle() const;
  // Of all living nodes.
  absl::btree_set<ProcessId> Engines() const;

 private:
  std::vector<NodeInfo> nodes_;
  std::vector<UnitBooks> books_;                      // by node index
  absl::flat_hash_map<NodeId, std::uint32_t> by_id_;  // living nodes
};

// "node 3 (hostname)"
std::string NodeLabel(const NodeInfo& node);

}  // namespace ray_engine
