#include "scheduler/bundle_placement.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "scheduler/labels.h"

namespace ray_engine {
namespace {

using Nodes = std::vector<std::uint32_t>;
using Places = std::vector<BundlePlace>;

// What is left of the nodes while bundles are being placed.
class Plan {
 public:
  Plan(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed, bool ever)
      : spec_(spec), result_(placed.size()), bundles_on_(cluster.nodes().size()) {
    for (const NodeInfo& node : cluster.nodes()) {
      free_.push_back(ever ? node.total : node.available);
      labels_.push_back(&node.labels);
      if (node.alive) alive_.push_back(node.index);
    }
    for (std::uint32_t bundle = 0; bundle < result_.size(); ++bundle) {
      asks_.push_back(UnitAsk::Of(spec.bundles[bundle].resources));
      result_[bundle].node = placed[bundle];
      if (placed[bundle] == kNoNode) {
        missing_.push_back(bundle);
      } else {
        ++bundles_on_[placed[bundle]];
      }
    }
    if (std::any_of(asks_.begin(), asks_.end(), [](const UnitAsk& ask) { return !ask.Empty(); })) {
      for (const NodeInfo& node : cluster.nodes())
        books_.push_back(ever ? UnitBooks(node.total) : cluster.books(node.index));
    }
    // Large bundles first: what is hard to place goes while there is room.
    std::stable_sort(missing_.begin(), missing_.end(), [this](auto a, auto b) { return Size(a) > Size(b); });
  }

  std::optional<Places> Make() {
    const bool done = spec_.strategy == GroupSpec::kStrictPack     ? OnOneNode()
                      : spec_.strategy == GroupSpec::kStrictSpread ? OnNodesOfTheirOwn()
                                                                   : OneByOne();
    return done ? std::optional(result_) : std::nullopt;
  }

 private:
  ResourceSet::Amount Size(std::uint32_t bundle) const {
    const auto& entries = spec_.bundles[bundle].resources.entries();
    return std::accumulate(entries.begin(), entries.end(), ResourceSet::Amount{0},
                           [](auto sum, const auto& entry) { return sum + entry.second; });
  }
  bool Fits(std::uint32_t bundle, std::uint32_t node) const {
    return free_[node].Covers(spec_.bundles[bundle].resources) &&
           MatchesLabels(spec_.bundles[bundle].selector, *labels_[node]) &&
           (asks_[bundle].Empty() || books_[node].Fits(asks_[bundle]));
  }
  void Put(std::uint32_t bundle, std::uint32_t node) {
    result_[bundle].node = node;
    ++bundles_on_[node];
    free_[node].Subtract(spec_.bundles[bundle].resources);
    if (asks_[bundle].Empty()) return;
    result_[bundle].units = *books_[node].Choose(asks_[bundle]);
    books_[node].Take(result_[bundle].units);
  }
  // Each alone would fit; do their units together?
  bool UnitsFitTogether(std::uint32_t node) const {
    if (books_.empty()) return true;
    UnitBooks books = books_[node];
    for (const std::uint32_t bundle : missing_) {
      const std::optional<Units> units = books.Choose(asks_[bundle]);
      if (!units) return false;
      books.Take(*units);
    }
    return true;
  }

  bool OnOneNode() {
    ResourceSet all;
    for (const std::uint32_t bundle : missing_) all.Add(spec_.bundles[bundle].resources);
    const auto takes_all = [&](std::uint32_t node) {
      return free_[node].Covers(all) &&
             std::all_of(missing_.begin(), missing_.end(), [&](auto bundle) { return Fits(bundle, node); }) &&
             UnitsFitTogether(node);
    };
    const auto node = std::find_if(alive_.begin(), alive_.end(), takes_all);
    if (node == alive_.end()) return missing_.empty();
    for (const std::uint32_t bundle : missing_) Put(bundle, *node);
    return true;
  }

  // A matching of bundles and nodes, by augmenting paths.
  bool OnNodesOfTheirOwn() {
    std::vector<std::uint32_t> bundle_of(free_.size(), kNoNode);
    for (const std::uint32_t bundle : missing_) {
      std::vector<bool> seen(free_.size());
      const std::function<bool(std::uint32_t)> assign = [&](std::uint32_t one) {
        for (const std::uint32_t node : alive_) {
          if (seen[node] || bundles_on_[node] > 0 || !Fits(one, node)) continue;
          seen[node] = true;
          if (bundle_of[node] != kNoNode && !assign(bundle_of[node])) continue;
          bundle_of[node] = one;
          return true;
        }
        return false;
      };
      if (!assign(bundle)) return false;
    }
    for (const std::uint32_t node : alive_) {
      if (bundle_of[node] != kNoNode) Put(bundle_of[node], node);
    }
    return true;
  }

  // Each on the best node left: for PACK one that has bundles of this group, for SPREAD one that has few.
  bool OneByOne() {
    if (spec_.strategy == GroupSpec::kPack && OnOneNode()) return true;
    const int sign = spec_.strategy == GroupSpec::kPack ? -1 : 1;
    for (const std::uint32_t bundle : missing_) {
      std::uint32_t best = kNoNode;
      for (const std::uint32_t node : alive_) {
        if (!Fits(bundle, node)) continue;
        if (best == kNoNode || sign * bundles_on_[node] < sign * bundles_on_[best]) best = node;
      }
      if (best == kNoNode) return false;
      Put(bundle, best);
    }
    return true;
  }

  const GroupSpec& spec_;
  std::vector<ResourceSet> free_;
  std::vector<UnitBooks> books_;  // none if no bundle needs units
  std::vector<UnitAsk> asks_;     // by bundle
  std::vector<const Labels*> labels_;
  Nodes alive_, missing_;
  Places result_;
  std::vector<int> bundles_on_;
};

}  // namespace

std::optional<Places> PlaceBundles(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed, bool ever) {
  return Plan(cluster, spec, placed, ever).Make();
}

}  // namespace ray_engine
