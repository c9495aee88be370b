// PlacementPolicy: on which node a request goes.
//
// Requests of one PlacementShape are alike to the policy. Each shape has its Candidates: the nodes that could serve it
// now, kept in the order of preference, so that a decision costs O(log nodes) and "nowhere" costs O(1).
//
// Default order (hybrid): the node where the arguments are as long as it has room, the client's own node while less
// than half used, then packing nodes below half in index order, then the least used; requests without GPU leave GPU
// nodes for last. SPREAD: round robin by index. Node affinity: that node only; if soft and that node is gone or too
// small, as by default.
//
// Nodes change more often than anybody asks about one shape: changes are noted, and Candidates catch up when asked.
//
// Owns the shapes, counted by Acquire, Share and Release. Loop-bound (head loop).

#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "scheduler/cluster_view.h"
#include "scheduler/labels.h"

namespace ray_engine {

struct PlacementShape {
  ResourceSet resources;
  LeaseClass::Strategy strategy = LeaseClass::kDefault;
  NodeId affinity;
  bool soft = false;
  LabelSelector selector, soft_selector;
  std::vector<LabelSelector> fallbacks;  // instead of `selector`, in turn; at most kMaxFallbacks are looked at
  static constexpr std::size_t kMaxFallbacks = 62;

  // 0 if the labels are those of `selector`, n for the n-th fallback; none if the node does not serve.
  std::optional<std::size_t> RankOf(const Labels& labels) const;
  auto Tie() const { return std::tie(resources, strategy, affinity, soft, selector, soft_selector, fallbacks); }
  friend bool operator==(const PlacementShape& a, const PlacementShape& b) { return a.Tie() == b.Tie(); }
  template <class H>
  friend H AbslHashValue(H h, const PlacementShape& shape) {
    return H::combine(std::move(h), shape.Tie());
  }
};

PlacementShape ShapeOf(const LeaseClass& lease_class);

struct NodeLoad {
  static constexpr std::uint32_t kScale = 10000;
  // The share, from 0 to kScale and beyond, of the resource most in use, of those that every node has.
  std::uint32_t used = 0;
};

// The nodes of a cluster by number, as far as shapes need them: which have changed, and how much of each is in use.
class NodeChanges {
 public:
  struct Change {
    std::uint32_t node = 0;
    bool anew = false;  // it joined, is lost, or has other totals
  };

  explicit NodeChanges(const ClusterView* cluster) : cluster_(*cluster) {}

  void Note(Change change);
  // In order, since the last Clear; the same node can be there several times.
  const std::vector<Change>& noted() const { return noted_; }
  // Reading so many changes costs more than looking at every node.
  bool Full() const { return noted_.size() >= std::max<std::size_t>(kAtLeast, cluster_.nodes().size()); }
  void Clear() { noted_.clear(); }

  const ClusterView& cluster() const { return cluster_; }
  const NodeLoad& LoadOf(std::uint32_t node) const;

 private:
  static constexpr std::size_t kAtLeast = 1024;
  static constexpr std::uint32_t kUnknown = 0xffffffff;

  const ClusterView& cluster_;
  std::vector<Change> noted_;
  mutable std::vector<NodeLoad> loads_;  // by node; kUnknown since it changed
};

class Candidates {
 public:
  Candidates(PlacementShape shape, const NodeChanges* changes);

  const PlacementShape& shape() const { return shape_; }
  const UnitAsk& units() const { return units_; }
  // Nodes whose total would do / that have room now.
  std::size_t feasible() const { return CatchUp(), feasible_; }
  std::size_t ready() const { return CatchUp(), ready_.size(); }
  bool IsFeasible(std::uint32_t node) const { return CatchUp(), ScoreOf(node) != kInfeasible; }
  bool IsReady(std::uint32_t node) const { return CatchUp(), ScoreOf(node) < kFull; }

  struct Wishes {
    std::uint32_t data = kNoNode;           // holds the arguments
    std::uint32_t home = kNoNode;           // of the client
    std::optional<std::uint32_t> excluded;  // never comes
  };
  // The next node with room, if any; the wished ones where the policy allows.
  std::optional<std::uint32_t> Pick(const Wishes& wishes);

  // The first node with room that is accepted, in order of preference.
  std::optional<std::uint32_t> FindReady(absl::FunctionRef<bool(std::uint32_t)> accept) const;
  // The first feasible node at or after index `from`, round the end; none if nothing is feasible.
  std::optional<std::uint32_t> NextFeasible(std::uint32_t from) const;

  // Nodes that can never serve the shape, or cannot now, and why: at most `limit` lines of "node 0 (host): CPU ...".
  std::string Refusals(const ClusterView& cluster, std::size_t limit = 8) const;

 private:
  friend class PlacementPolicy;
  using Score = std::uint32_t;  // smaller is better
  static constexpr Score kInfeasible = ~Score{0};
  static constexpr Score kFull = kInfeasible - 1;
  using Key = std::uint64_t;  // score above, node index below
  static Key KeyOf(Score score, std::uint32_t node) { return Key{score} << 32 | node; }
  struct Standing {            // of a node
    Score base = kInfeasible;  // as its labels and totals have it
    Score score = kInfeasible;
  };

  void CatchUp() const {
    if (is_stale_ || seen_ < changes_.noted().size()) ReadChanges();
  }
  void ReadChanges() const;
  void Refresh(NodeChanges::Change change) const;
  void Rebuild() const;
  // The changes are about to be cleared: has read them, or will look at every node when it is asked next.
  void OnClear();
  bool FollowsNode(const NodeId& node) const { return shape_.soft && shape_.affinity == node; }
  // The first of ready_ at or after `from`, round the end, without `excluded`.
  std::optional<Key> FirstReady(Key from, std::optional<std::uint32_t> excluded) const;
  Score ComputeBase(std::uint32_t node) const;
  Score ComputeScore(std::uint32_t node, Score base) const;
  bool Admits(const ClusterView& cluster, const NodeInfo& node) const;
  std::string Refusal(const ClusterView& cluster, const NodeInfo& node) const;
  Score ScoreOf(std::uint32_t node) const { return node < nodes_.size() ? nodes_[node].score : kInfeasible; }

  PlacementShape shape_;
  UnitAsk units_;
  bool wants_gpu_;
  const NodeChanges& changes_;
  // What is known of the nodes, up to the changes seen.
  mutable std::size_t seen_ = 0;
  mutable bool is_stale_ = true;         // all nodes have to be looked at
  mutable std::vector<Standing> nodes_;  // by index
  mutable absl::btree_set<Key> ready_;   // the keys of nodes with room
  mutable std::size_t feasible_ = 0;
  std::uint32_t spread_next_ = 0;
  std::size_t users_ = 0;
};

class PlacementPolicy {
 public:
  explicit PlacementPolicy(const ClusterView* cluster) : changes_(cluster) {}

  Candidates* Acquire(const PlacementShape& shape);
  static void Share(Candidates* candidates) { ++candidates->users_; }
  void Release(Candidates* candidates) {
    if (--candidates->users_ == 0) KeepIdle(candidates);
  }

  // What is available on the node changed.
  void OnChanged(std::uint32_t node) { Note({node, false}); }
  // The node's being there, or its totals.
  void OnChangedAnew(std::uint32_t node);

  // Empty, or what is wrong.
  std::string CheckInvariants() const;

 private:
  static constexpr std::size_t kMaxIdleShapes = 32;
  void Note(NodeChanges::Change change);
  void KeepIdle(Candidates* candidates);
  void ForgetOldestIdle();

  NodeChanges changes_;
  absl::flat_hash_map<PlacementShape, std::unique_ptr<Candidates>> shapes_;
  std::list<Candidates*> idle_;  // without users, oldest first: kept, as the same shape tends to come back
};

}  // namespace ray_engine
