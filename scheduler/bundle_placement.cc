#include "scheduler/bundle_placement.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "scheduler/labels.h"

namespace ray_engine {
namespace {

using Nodes = std::vector<std::uint32_t>;
using Places = std::vector<BundlePlace>;

// One try to place the bundles that have no place, inside one domain if the group has such a label.
class Plan {
 public:
  Plan(const ClusterView& cluster, const GroupSpec& spec, const std::vector<Candidates*>& shapes, const Nodes& placed,
       std::string domain)
      : cluster_(cluster), spec_(spec), shapes_(shapes), domain_(std::move(domain)), result_(placed.size()) {
    for (std::uint32_t bundle = 0; bundle < placed.size(); ++bundle) {
      result_[bundle].node = placed[bundle];
      if (placed[bundle] == kNoNode) {
        missing_.push_back(bundle);
      } else {
        ++bundles_on_[placed[bundle]];
      }
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
  // What is left of a node that has been given bundles.
  struct Room {
    ResourceSet free;
    UnitBooks books;
  };

  ResourceSet::Amount Size(std::uint32_t bundle) const {
    ResourceSet::Amount sum = 0;
    spec_.bundles[bundle].resources.ForEach([&sum](std::string_view, ResourceSet::Amount amount) { sum += amount; });
    return sum;
  }
  bool InDomain(std::uint32_t node) const {
    if (spec_.domain_label.empty()) return true;
    const std::string* value = FindLabel(cluster_.nodes()[node].labels, spec_.domain_label);
    return value != nullptr && *value == domain_;
  }
  bool IsUsed(std::uint32_t node) const { return bundles_on_.contains(node); }
  bool Fits(std::uint32_t bundle, std::uint32_t node) const {
    const auto room = rooms_.find(node);
    if (room == rooms_.end()) return shapes_[bundle]->IsReady(node);
    return room->second.free.Covers(spec_.bundles[bundle].resources) &&
           MatchesLabels(spec_.bundles[bundle].selector, cluster_.nodes()[node].labels) &&
           room->second.books.Fits(shapes_[bundle]->units());
  }
  void Put(std::uint32_t bundle, std::uint32_t node) {
    const auto [found, is_new] = rooms_.try_emplace(node);
    Room& room = found->second;
    if (is_new) room = {cluster_.nodes()[node].available, cluster_.books(node)};
    result_[bundle] = {node, *room.books.Choose(shapes_[bundle]->units())};
    room.free.Subtract(spec_.bundles[bundle].resources);
    if (!result_[bundle].units.Empty()) room.books.Take(result_[bundle].units);
    ++bundles_on_[node];
  }
  // Each alone would fit; do their units together?
  bool UnitsFitTogether(std::uint32_t node) const {
    const auto needs_units = [this](std::uint32_t bundle) { return !shapes_[bundle]->units().Empty(); };
    if (std::none_of(missing_.begin(), missing_.end(), needs_units)) return true;
    UnitBooks books = cluster_.books(node);
    for (const std::uint32_t bundle : missing_) {
      const std::optional<Units> units = books.Choose(shapes_[bundle]->units());
      if (!units) return false;
      books.Take(*units);
    }
    return true;
  }

  // REQUIRES: nothing has been put yet.
  bool OnOneNode() {
    if (missing_.empty()) return true;
    ResourceSet all;
    for (const std::uint32_t bundle : missing_) all.Add(spec_.bundles[bundle].resources);
    const auto node = shapes_[missing_.front()]->FindReady([&](std::uint32_t one) {
      return InDomain(one) && cluster_.nodes()[one].available.Covers(all) &&
             std::all_of(missing_.begin(), missing_.end(), [&](auto bundle) { return Fits(bundle, one); }) &&
             UnitsFitTogether(one);
    });
    if (!node) return false;
    for (const std::uint32_t bundle : missing_) Put(bundle, *node);
    return true;
  }

  // A matching of bundles and nodes, by augmenting paths.
  bool OnNodesOfTheirOwn() {
    absl::btree_map<std::uint32_t, std::uint32_t> bundle_of;  // by node
    for (const std::uint32_t bundle : missing_) {
      absl::flat_hash_set<std::uint32_t> seen;
      const std::function<bool(std::uint32_t)> assign = [&](std::uint32_t one) {
        const auto node = shapes_[one]->FindReady([&](std::uint32_t candidate) {
          if (IsUsed(candidate) || !InDomain(candidate) || !seen.insert(candidate).second) return false;
          const auto taken = bundle_of.find(candidate);
          return taken == bundle_of.end() || assign(taken->second);
        });
        if (node) bundle_of[*node] = one;
        return node.has_value();
      };
      if (!assign(bundle)) return false;
    }
    for (const auto& [node, bundle] : bundle_of) Put(bundle, node);
    return true;
  }

  // Each on the best node left: for PACK one that has bundles of this group, for SPREAD one that has none, or few.
  bool OneByOne() {
    const bool pack = spec_.strategy == GroupSpec::kPack;
    if (pack && OnOneNode()) return true;
    for (const std::uint32_t bundle : missing_) {
      std::optional<std::uint32_t> node = pack ? AmongUsed(bundle) : std::nullopt;
      if (!node) {
        node = shapes_[bundle]->FindReady([this](std::uint32_t one) { return !IsUsed(one) && InDomain(one); });
      }
      if (!node && !pack) node = AmongUsed(bundle);
      if (!node) return false;
      Put(bundle, *node);
    }
    return true;
  }

  std::optional<std::uint32_t> AmongUsed(std::uint32_t bundle) const {
    const int sign = spec_.strategy == GroupSpec::kPack ? -1 : 1;
    std::optional<std::uint32_t> best;
    for (const auto& [node, count] : bundles_on_) {
      if (Fits(bundle, node) && (!best || sign * count < sign * bundles_on_.at(*best))) best = node;
    }
    return best;
  }

  const ClusterView& cluster_;
  const GroupSpec& spec_;
  const std::vector<Candidates*>& shapes_;
  const std::string domain_;
  Nodes missing_;
  absl::flat_hash_map<std::uint32_t, Room> rooms_;  // of nodes that have been given bundles
  absl::btree_map<std::uint32_t, int> bundles_on_;  // by node: bundles of this group
  Places result_;
};

// The values of the group's domain label, one of which takes all of it; an empty one if it has no such label.
std::vector<std::string> Domains(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed) {
  if (spec.domain_label.empty()) return {""};
  std::vector<std::string> domains;
  for (const std::uint32_t node : placed) {
    if (node != kNoNode) return {*FindLabel(cluster.nodes()[node].labels, spec.domain_label)};
  }
  absl::flat_hash_set<std::string> seen;
  for (const NodeInfo& node : cluster.nodes()) {
    const std::string* value = node.alive ? FindLabel(node.labels, spec.domain_label) : nullptr;
    if (value != nullptr && seen.insert(*value).second) domains.push_back(*value);
  }
  return domains;
}

}  // namespace

PlacementShape ShapeOf(const Bundle& bundle) {
  PlacementShape shape;
  shape.resources = bundle.resources;
  shape.selector = bundle.selector;
  return shape;
}

std::optional<Places> PlaceBundles(const ClusterView& cluster, const GroupSpec& spec,
                                   const std::vector<Candidates*>& shapes, const Nodes& placed) {
  for (std::uint32_t bundle = 0; bundle < placed.size(); ++bundle) {
    if (placed[bundle] == kNoNode && shapes[bundle]->ready() == 0) return std::nullopt;
  }
  for (std::string& domain : Domains(cluster, spec, placed)) {
    if (auto places = Plan(cluster, spec, shapes, placed, std::move(domain)).Make()) return places;
  }
  return std::nullopt;
}

bool CouldPlaceBundles(const ClusterView& cluster, const GroupSpec& spec, const Nodes& placed) {
  const ClusterView idle = cluster.Idle();
  PlacementPolicy policy(&idle);
  std::vector<Candidates*> shapes;
  for (const Bundle& bundle : spec.bundles) shapes.push_back(policy.Acquire(ShapeOf(bundle)));
  return PlaceBundles(idle, spec, shapes, placed).has_value();
}

}  // namespace ray_engine
