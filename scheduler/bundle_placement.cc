#include "scheduler/bundle_placement.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "scheduler/labels.h"

namespace ray_engine {
namespace {

using Nodes = std::vector<std::uint32_t>;
using Places = std::vector<BundlePlace>;

// What is left of the nodes while bundles are being placed on `candidates`.
class Plan {
 public:
  Plan(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed, Nodes candidates, bool ever)
      : spec_(spec), candidates_(std::move(candidates)), result_(placed.size()), bundles_on_(cluster.nodes().size()) {
    for (const NodeInfo& node : cluster.nodes()) {
      free_.push_back(ever ? node.total : node.available);
      labels_.push_back(&node.labels);
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
    const auto node = std::find_if(candidates_.begin(), candidates_.end(), takes_all);
    if (node == candidates_.end()) return missing_.empty();
    for (const std::uint32_t bundle : missing_) Put(bundle, *node);
    return true;
  }

  // A matching of bundles and nodes, by augmenting paths.
  bool OnNodesOfTheirOwn() {
    std::vector<std::uint32_t> bundle_of(free_.size(), kNoNode);
    for (const std::uint32_t bundle : missing_) {
      std::vector<bool> seen(free_.size());
      const std::function<bool(std::uint32_t)> assign = [&](std::uint32_t one) {
        for (const std::uint32_t node : candidates_) {
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
    for (const std::uint32_t node : candidates_) {
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
      for (const std::uint32_t node : candidates_) {
        if (!Fits(bundle, node)) continue;
        if (best == kNoNode || sign * bundles_on_[node] < sign * bundles_on_[best]) best = node;
      }
      if (best == kNoNode) return false;
      Put(bundle, best);
    }
    return true;
  }

  const GroupSpec& spec_;
  const Nodes candidates_;
  std::vector<ResourceSet> free_;
  std::vector<UnitBooks> books_;  // none if no bundle needs units
  std::vector<UnitAsk> asks_;     // by bundle
  std::vector<const Labels*> labels_;
  Nodes missing_;
  Places result_;
  std::vector<int> bundles_on_;
};

Nodes Alive(const ClusterView& cluster) {
  Nodes alive;
  for (const NodeInfo& node : cluster.nodes()) {
    if (node.alive) alive.push_back(node.index);
  }
  return alive;
}

// The sets of nodes one of which takes all of the group: with a domain label those that share a value of it.
std::vector<Nodes> Domains(const ClusterView& cluster, const std::string& label) {
  if (label.empty()) return {Alive(cluster)};
  std::vector<Nodes> domains;
  std::map<std::string, std::size_t> index_of;  // value -> its domain
  for (const std::uint32_t node : Alive(cluster)) {
    const std::string* value = FindLabel(cluster.Find(node)->labels, label);
    if (value == nullptr) continue;
    const auto [found, is_new] = index_of.try_emplace(*value, domains.size());
    if (is_new) domains.emplace_back();
    domains[found->second].push_back(node);
  }
  return domains;
}

bool Holds(const Nodes& domain, const Nodes& placed) {
  return std::all_of(placed.begin(), placed.end(), [&domain](std::uint32_t node) {
    return node == kNoNode || std::find(domain.begin(), domain.end(), node) != domain.end();
  });
}

}  // namespace

std::optional<Places> PlaceBundles(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed, bool ever) {
  for (Nodes& domain : Domains(cluster, spec.domain_label)) {
    if (!Holds(domain, placed)) continue;
    if (auto places = Plan(cluster, spec, placed, std::move(domain), ever).Make()) return places;
  }
  return std::nullopt;
}

}  // namespace ray_engine
