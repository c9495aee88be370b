#include "scheduler/placement_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint64_t kPackBelow = NodeLoad::kScale / 2;
// Penalties, each larger than all before it together; a score has 32 bits.
constexpr std::uint64_t kGpuPenalty = std::uint64_t{1} << 24;
constexpr std::uint64_t kUnwishedPenalty = std::uint64_t{1} << 25;  // without the labels that were wished for
constexpr std::uint64_t kRankPenalty = std::uint64_t{1} << 26;      // per fallback

NodeLoad ComputeLoad(const NodeInfo& node) {
  double used = 0;
  for (const auto resource : {ResourceSet::kCpu, ResourceSet::kMemory, ResourceSet::kStoreMemory}) {
    const double total = static_cast<double>(node.total.Get(resource));
    if (total > 0) used = std::max(used, 1 - static_cast<double>(node.available.Get(resource)) / total);
  }
  return {static_cast<std::uint32_t>(std::min(used, 1000.0) * NodeLoad::kScale)};
}

std::uint64_t LabelsOf(std::uint32_t score) { return score / kUnwishedPenalty; }  // how well they are met
std::uint32_t NodeOfKey(std::uint64_t key) { return static_cast<std::uint32_t>(key); }

// Enough is free in all, but not in the right pieces.
std::string UnitShortage(const UnitAsk& asked) {
  std::string text;
  for (const auto& [resource, amount] : asked.amounts) {
    text += fmt::format(
        "{}{} {} needed {}", text.empty() ? "" : "; ", resource, AmountText(resource, amount),
        amount < ResourceSet::kUnit ? "of one unit, and none has so much free" : "in whole units, and fewer are free");
  }
  return text;
}

// "CPU 1 free of 4, 2 needed" for each resource of which `node` has too little.
std::string Shortage(const ResourceSet& asked, const NodeInfo& node, bool ever) {
  std::string text;
  for (const auto& [name, amount] : asked.entries()) {
    const auto total = node.total.Get(name), available = node.available.Get(name);
    if ((ever ? total : available) >= amount) continue;
    text += fmt::format("{}{} ", text.empty() ? "" : "; ", name);
    if (!ever) text += fmt::format("{} free of ", AmountText(name, available));
    text += fmt::format("{}, {} needed", AmountText(name, total), AmountText(name, amount));
  }
  return text;
}

}  // namespace

PlacementShape ShapeOf(const LeaseClass& lease_class) {
  PlacementShape shape;
  shape.resources = lease_class.resources;
  shape.strategy = lease_class.strategy;
  if (shape.strategy == LeaseClass::kNodeAffinity) {
    shape.affinity = lease_class.affinity;
    shape.soft = lease_class.soft;
  }
  shape.selector = lease_class.selector;
  shape.soft_selector = lease_class.soft_selector;
  shape.fallbacks = lease_class.fallbacks;
  return shape;
}

std::optional<std::size_t> PlacementShape::RankOf(const Labels& labels) const {
  if (MatchesLabels(selector, labels)) return 0;
  for (std::size_t i = 0; i < std::min(fallbacks.size(), kMaxFallbacks); ++i) {
    if (MatchesLabels(fallbacks[i], labels)) return i + 1;
  }
  return std::nullopt;
}

// ---- NodeChanges ---------------------------------------------------------------------------------------------------

void NodeChanges::Note(Change change) {
  if (change.node < loads_.size()) loads_[change.node].used = kUnknown;
  noted_.push_back(change);
}

const NodeLoad& NodeChanges::LoadOf(std::uint32_t node) const {
  if (loads_.size() <= node) loads_.resize(cluster_.nodes().size(), {kUnknown});
  NodeLoad& load = loads_[node];
  if (load.used == kUnknown) load = ComputeLoad(cluster_.nodes()[node]);
  return load;
}

// ---- Candidates ----------------------------------------------------------------------------------------------------

Candidates::Candidates(PlacementShape shape, const NodeChanges* changes)
    : shape_(std::move(shape)),
      units_(UnitAsk::Of(shape_.resources)),
      wants_gpu_(shape_.resources.Get(ResourceSet::kGpu) > 0),
      changes_(*changes) {}

std::optional<std::uint32_t> Candidates::Pick(const Wishes& wishes) {
  CatchUp();
  if (ready_.empty()) return std::nullopt;
  const bool spread = shape_.strategy == LeaseClass::kSpread;
  const std::optional<Key> best = FirstReady(spread ? spread_next_ : 0, wishes.excluded);
  if (!best) return std::nullopt;
  if (spread) {
    spread_next_ = NodeOfKey(*best) + 1;
    return NodeOfKey(*best);
  }
  const auto best_score = static_cast<Score>(*best >> 32);
  const auto may_be = [&](std::uint32_t node) { return ScoreOf(node) < kFull && node != wishes.excluded; };
  if (may_be(wishes.data) && LabelsOf(ScoreOf(wishes.data)) <= LabelsOf(best_score)) return wishes.data;
  if (may_be(wishes.home) && ScoreOf(wishes.home) <= best_score) return wishes.home;
  return NodeOfKey(*best);
}

std::optional<Candidates::Key> Candidates::FirstReady(Key from, std::optional<std::uint32_t> excluded) const {
  auto it = from == 0 ? ready_.begin() : ready_.lower_bound(from);
  const std::size_t tries = std::min<std::size_t>(ready_.size(), 2);  // at most one is excluded
  for (std::size_t i = 0; i < tries; ++i, ++it) {
    if (it == ready_.end()) it = ready_.begin();
    if (NodeOfKey(*it) != excluded) return *it;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Candidates::FindReady(absl::FunctionRef<bool(std::uint32_t)> accept) const {
  CatchUp();
  const auto found = std::find_if(ready_.begin(), ready_.end(), [&accept](Key key) { return accept(NodeOfKey(key)); });
  return found == ready_.end() ? std::nullopt : std::optional(NodeOfKey(*found));
}

std::optional<std::uint32_t> Candidates::NextFeasible(std::uint32_t from) const {
  if (feasible() == 0) return std::nullopt;
  const auto feasible = [](const Standing& node) { return node.base != kInfeasible; };
  const auto start = nodes_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(from, nodes_.size()));
  auto found = std::find_if(start, nodes_.end(), feasible);
  if (found == nodes_.end()) found = std::find_if(nodes_.begin(), start, feasible);
  return static_cast<std::uint32_t>(found - nodes_.begin());
}

std::string Candidates::Refusals(const ClusterView& cluster, std::size_t limit) const {
  if (cluster.alive() == 0) return "there is no node yet";
  std::string text;
  std::size_t refused = 0;
  for (const NodeInfo& node : cluster.nodes()) {
    if (!node.alive || IsReady(node.index)) continue;
    if (++refused > limit) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "\n", NodeLabel(node), Refusal(cluster, node));
  }
  if (refused > limit) text += fmt::format("\n... and {} more nodes", refused - limit);
  return text;
}

std::string Candidates::Refusal(const ClusterView& cluster, const NodeInfo& node) const {
  if (!shape_.RankOf(node.labels)) {
    std::string text = "has not the labels " + SelectorText(shape_.selector);
    for (const LabelSelector& fallback : shape_.fallbacks) text += " or " + SelectorText(fallback);
    return text;
  }
  if (!Admits(cluster, node)) return "not the node asked for";
  if (!node.total.Covers(shape_.resources)) return Shortage(shape_.resources, node, true);
  if (node.available.Covers(shape_.resources)) return UnitShortage(units_);
  return Shortage(shape_.resources, node, false);
}

bool Candidates::Admits(const ClusterView& cluster, const NodeInfo& node) const {
  if (shape_.strategy != LeaseClass::kNodeAffinity || node.id == shape_.affinity) return true;
  if (!shape_.soft) return false;
  const NodeInfo* wished = cluster.Find(shape_.affinity);
  return wished == nullptr || !wished->total.Covers(shape_.resources);
}

Candidates::Score Candidates::ComputeBase(std::uint32_t index) const {
  const ClusterView& cluster = changes_.cluster();
  const NodeInfo* node = cluster.Find(index);
  if (node == nullptr || !Admits(cluster, *node)) return kInfeasible;
  const std::optional<std::size_t> rank = shape_.RankOf(node->labels);
  if (!rank || !node->total.Covers(shape_.resources)) return kInfeasible;
  if (!units_.Empty() && !cluster.books(index).CouldFit(units_)) return kInfeasible;
  if (shape_.strategy == LeaseClass::kSpread) return 0;
  std::uint64_t base = *rank * kRankPenalty;
  if (node->total.Get(ResourceSet::kGpu) > 0 && !wants_gpu_) base += kGpuPenalty;
  if (!MatchesLabels(shape_.soft_selector, node->labels)) base += kUnwishedPenalty;
  return static_cast<Score>(base);
}

Candidates::Score Candidates::ComputeScore(std::uint32_t index, Score base) const {
  if (base == kInfeasible) return kInfeasible;
  const ClusterView& cluster = changes_.cluster();
  if (!cluster.nodes()[index].available.Covers(shape_.resources)) return kFull;
  if (!units_.Empty() && !cluster.books(index).Fits(units_)) return kFull;
  if (shape_.strategy == LeaseClass::kSpread) return 0;
  const Score used = changes_.LoadOf(index).used;
  return base + (used < kPackBelow ? 0 : used);
}

void Candidates::Refresh(NodeChanges::Change change) const {
  if (nodes_.size() <= change.node) nodes_.resize(change.node + 1);
  Standing& node = nodes_[change.node];
  if (change.anew) {
    feasible_ -= (node.base != kInfeasible);
    node.base = ComputeBase(change.node);
    feasible_ += (node.base != kInfeasible);
  }
  const Score old = std::exchange(node.score, ComputeScore(change.node, node.base));
  if (old == node.score) return;
  if (old < kFull) ready_.erase(KeyOf(old, change.node));
  if (node.score < kFull) ready_.insert(KeyOf(node.score, change.node));
}

void Candidates::ReadChanges() const {
  const std::vector<NodeChanges::Change>& noted = changes_.noted();
  if (is_stale_) Rebuild();
  for (; seen_ < noted.size(); ++seen_) {
    const bool again = seen_ + 1 < noted.size() && noted[seen_ + 1].node == noted[seen_].node;
    if (!again || noted[seen_].anew) Refresh(noted[seen_]);
  }
}

void Candidates::Rebuild() const {
  is_stale_ = false;
  seen_ = changes_.noted().size();
  for (std::uint32_t node = 0; node < changes_.cluster().nodes().size(); ++node) Refresh({node, true});
}

void Candidates::OnClear() {
  if (seen_ == 0) is_stale_ = true;
  if (!is_stale_) ReadChanges();
  seen_ = 0;
}

// ---- PlacementPolicy -----------------------------------------------------------------------------------------------

Candidates* PlacementPolicy::Acquire(const PlacementShape& shape) {
  std::unique_ptr<Candidates>& entry = shapes_[shape];
  if (entry == nullptr) {
    entry = std::make_unique<Candidates>(shape, &changes_);
  } else if (entry->users_ == 0) {
    idle_.remove(entry.get());
  }
  ++entry->users_;
  return entry.get();
}

void PlacementPolicy::KeepIdle(Candidates* candidates) {
  idle_.push_back(candidates);
  if (idle_.size() > kMaxIdleShapes) ForgetOldestIdle();
}

void PlacementPolicy::ForgetOldestIdle() {
  const PlacementShape shape = idle_.front()->shape();
  idle_.pop_front();
  shapes_.erase(shape);
}

void PlacementPolicy::Note(NodeChanges::Change change) {
  changes_.Note(change);
  if (!changes_.Full()) return;
  for (auto& [shape, candidates] : shapes_) candidates->OnClear();
  changes_.Clear();
}

void PlacementPolicy::OnChangedAnew(std::uint32_t node) {
  Note({node, true});
  const NodeId& id = changes_.cluster().nodes()[node].id;
  for (auto& [shape, candidates] : shapes_) {
    if (candidates->FollowsNode(id)) candidates->is_stale_ = true;
  }
}

std::string PlacementPolicy::CheckInvariants() const {
  for (const auto& [shape, kept] : shapes_) {
    const Candidates candidates = *kept;  // so that looking does not make it catch up
    std::size_t ready = 0, feasible = 0;
    candidates.CatchUp();
    for (std::uint32_t node = 0; node < changes_.cluster().nodes().size(); ++node) {
      const Candidates::Score base = candidates.ComputeBase(node), score = candidates.ScoreOf(node);
      if (node >= candidates.nodes_.size()
              ? base != Candidates::kInfeasible
              : base != candidates.nodes_[node].base || score != candidates.ComputeScore(node, base))
        return fmt::format("candidates are stale for node {}", node);
      ready += candidates.ready_.count(Candidates::KeyOf(score, node));
      feasible += candidates.IsFeasible(node);
    }
    if (ready != candidates.ready() || feasible != candidates.feasible()) return "candidates are miscounted";
  }
  return "";
}

}  // namespace ray_engine
