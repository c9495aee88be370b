// BundlePlacement: on which nodes the bundles of a placement group go, all or none, and which units they take there.
//
// Nodes are looked at in the order that the policy prefers (placement_policy.h), and only those with room; so a
// decision costs as many of them as it takes to find the places, not as many as there are.
//
// A group with a domain label goes to nodes that have one value of that label in common. Bundles that are placed
// already say which; else it is the first value, in order of the nodes, that has room.
//
// Pure functions of the nodes' free resources and labels.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/wire/messages.h"
#include "scheduler/cluster_view.h"
#include "scheduler/placement_policy.h"

namespace ray_engine {

struct BundlePlace {
  std::uint32_t node = kNoNode;
  Units units;  // of the node's own stock
};

PlacementShape ShapeOf(const Bundle& bundle);

// A place for each bundle, or nothing if they do not fit now. `placed[i]` is a node that bundle i has already, which it
// keeps (without units in the answer); kNoNode: none, and then `shapes[i]` has the candidates for it.
std::optional<std::vector<BundlePlace>> PlaceBundles(const ClusterView& cluster, const GroupSpec& spec,
                                                     const std::vector<Candidates*>& shapes,
                                                     const std::vector<std::uint32_t>& placed);
// Would they fit if nothing else ran? Looks at all nodes.
bool CouldPlaceBundles(const ClusterView& cluster, const GroupSpec& spec, const std::vector<std::uint32_t>& placed);

}  // namespace ray_engine
