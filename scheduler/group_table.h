// GroupTable: the placement groups of the session and where their bundles are.
//
// A bundle on a node is a set of resources of that node's own: for bundle 2 of group G with {CPU: 1} the node has
// CPU_group_2_G and CPU_group_G of 1 more, and CPU of 1 less; and bundle_group_2_G and bundle_group_G of 1000 each, for
// what needs no resource but a place. Tasks of the group ask for those, so the rest of the scheduler knows no groups,
// but for the units of accelerators that a bundle has (unit_books.h).
//
// Plain bookkeeping: it decides nothing. Owns the groups. Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "engine/base/resources.h"
#include "engine/wire/messages.h"

namespace ray_engine {

struct Group {
  GroupSpec spec;
  GroupState state = GroupState::kPending;
  std::vector<std::uint32_t> nodes;  // of each bundle; kNoNode while it has none
  std::uint64_t age = 0;             // older ones have less
};

class GroupTable {
 public:
  // Null if another living group of the name space has that name.
  Group* Add(const GroupSpec& spec);
  Group* Find(const PlacementGroupId& id);
  Group* FindByName(const std::string& name_space, const std::string& name);
  void MarkPlaced(Group* group);
  // A bundle of it has lost its node.
  void MarkLost(Group* group, std::uint32_t bundle);
  // Removed groups stay known by id, without a name.
  void MarkRemoved(Group* group);
  // By age: those that are still to be placed, in part or as a whole.
  std::vector<Group*> Waiting() const;
  // All, by age.
  std::list<Group>& groups() { return groups_; }
  const std::list<Group>& groups() const { return groups_; }

 private:
  std::list<Group> groups_;
  absl::flat_hash_map<PlacementGroupId, Group*> by_id_;
  absl::btree_map<std::uint64_t, Group*> waiting_;  // by age; apart, as it is asked for with every grant
};

// What one bundle adds to the resources of its node.
ResourceSet BundleResources(const GroupSpec& spec, std::uint32_t bundle);
// Of resources of a group too: a blocked task gives these back.
bool IsCpu(const std::string& name);

}  // namespace ray_engine
