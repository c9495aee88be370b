#include "scheduler/group_table.h"

#include <fmt/format.h>

#include "scheduler/bundle_placement.h"

namespace ray_engine {
namespace {

constexpr double kPlaces = 1000;

}  // namespace

Group* GroupTable::Add(const GroupSpec& spec) {
  if (!spec.name.empty() && FindByName(spec.name_space, spec.name) != nullptr) return nullptr;
  groups_.push_back({spec, GroupState::kPending, std::vector<std::uint32_t>(spec.bundles.size(), kNoNode)});
  by_id_[spec.id] = &groups_.back();
  return &groups_.back();
}

Group* GroupTable::Find(const PlacementGroupId& id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Group* GroupTable::FindByName(const std::string& name_space, const std::string& name) {
  for (Group& group : groups_) {
    if (group.state != GroupState::kRemoved && group.spec.name == name && group.spec.name_space == name_space) {
      return &group;
    }
  }
  return nullptr;
}

void GroupTable::MarkRemoved(Group* group) {
  group->state = GroupState::kRemoved;
  group->nodes.assign(group->nodes.size(), kNoNode);
}

std::vector<Group*> GroupTable::Waiting() {
  std::vector<Group*> waiting;
  for (Group& group : groups_) {
    if (group.state == GroupState::kPending || group.state == GroupState::kRescheduling) waiting.push_back(&group);
  }
  return waiting;
}

std::vector<Group*> GroupTable::All() {
  std::vector<Group*> all;
  for (Group& group : groups_) all.push_back(&group);
  return all;
}

ResourceSet BundleResources(const GroupSpec& spec, std::uint32_t bundle) {
  ResourceSet set;
  const std::string group = spec.id.Hex();
  const auto add = [&](const std::string& name, ResourceSet::Amount amount) {
    set.Set(fmt::format("{}_group_{}_{}", name, bundle, group), amount);
    set.Set(fmt::format("{}_group_{}", name, group), amount);
  };
  for (const auto& [name, amount] : spec.bundles[bundle].resources.entries()) add(name, amount);
  add("bundle", ResourceSet::FromDouble(kPlaces));
  return set;
}

bool IsCpu(const std::string& name) { return name == "CPU" || name.rfind("CPU_group_", 0) == 0; }

}  // namespace ray_engine
