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
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "engine/base/resources.h"
#include "engine/wire/messages.h"
#include "scheduler/placement_policy.h"

namespace ray_engine {

struct Group {
  GroupSpec spec;
  ProcessId maker;  // is told of its states
  GroupState state = GroupState::kPending;
  std::vector<std::uint32_t> nodes;  // of each bundle; kNoNode while it has none
  std::vector<Candidates*> shapes;   // of each bundle, while the group waits
  std::uint64_t age = 0;             // older ones have less
};

class GroupTable {
 public:
  static constexpr std::size_t kMaxRemoved = 10000;

  // Null if another living group of the name space has that name.
  Group* Add(const GroupSpec& spec, ProcessId maker);
  Group* Find(const PlacementGroupId& id);
  Group* FindByName(const std::string& name_space, const std::string& name);
  // Removed groups stay known by id, without name and places; the oldest are forgotten beyond kMaxRemoved. REQUIRES: it
  // is in no line.
  void Bury(Group* group);

  // Groups alike that are still to be placed wait in one line: where the oldest finds no place, no other does. One that
  // has some of its places is like no other. REQUIRES: `shapes` are there.
  void JoinLine(Group* group);
  void LeaveLine(Group* group);
  // The oldest of each line.
  std::vector<Group*> Fronts() const;
  // The one behind it in its line; null: none.
  Group* Behind(const Group* group) const;

  // By age. Removing one invalidates an iterator to it.
  std::list<Group>& living() { return living_; }
  const std::list<Group>& living() const { return living_; }
  const std::list<Group>& removed() const { return removed_; }

 private:
  using Kind = std::tuple<std::vector<Candidates*>, GroupSpec::Strategy, std::string, const Group*>;
  using Line = absl::btree_map<std::uint64_t, Group*>;  // by age
  static Kind KindOf(const Group& group);

  std::list<Group> living_, removed_;
  absl::flat_hash_map<PlacementGroupId, std::list<Group>::iterator> by_id_;
  absl::flat_hash_map<std::pair<std::string, std::string>, Group*> by_name_;  // name space, name
  absl::flat_hash_map<Kind, Line> lines_;
  std::uint64_t last_age_ = 0;
};

// What one bundle adds to the resources of its node.
ResourceSet BundleResources(const GroupSpec& spec, std::uint32_t bundle);
// Of resources of a group too: a blocked task gives these back.
bool IsCpu(std::string_view name);

}  // namespace ray_engine
