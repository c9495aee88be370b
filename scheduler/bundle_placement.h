// BundlePlacement: on which nodes the bundles of a placement group go, all or none, and which units they take there.
//
// A group with a domain label goes to nodes that have one value of that label in common. Bundles that are placed
// already say which; else it is the first value, in order of the nodes, that has room.
//
// Pure function of the nodes' free resources and labels.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/wire/messages.h"
#include "scheduler/cluster_view.h"

namespace ray_engine {

struct BundlePlace {
  std::uint32_t node = kNoNode;
  Units units;  // of the node's own stock
};

// A place for each bundle, or nothing if they do not fit now. `placed[i]` is a node that bundle i has already, which it
// keeps (without units in the answer); kNoNode: none. `ever`: as if nothing else ran.
std::optional<std::vector<BundlePlace>> PlaceBundles(const ClusterView& cluster, const GroupSpec& spec,
                                                     const std::vector<std::uint32_t>& placed, bool ever = false);

}  // namespace ray_engine
