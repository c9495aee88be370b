#include "scheduler/group_table.h"

#include <fmt/format.h>

#include "scheduler/bundle_placement.h"

namespace ray_engine {
namespace {

constexpr double kPlaces = 1000;

}  // namespace

Group* GroupTable::Add(const GroupSpec& spec) {
  if (!spec.name.empty() && FindByName(spec.name_space, spec.name) != nullptr) return nullptr;
  Group& group = groups_.emplace_back();
  group.spec = spec;
  group.nodes.assign(spec.bundles.size(), kNoNode);
  group.age = groups_.size();
  by_id_[spec.id] = &group;
  waiting_[group.age] = &group;
  return &group;
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

void GroupTable::MarkPlaced(Group* group) {
  group->state = GroupState::kCreated;
  waiting_.erase(group->age);
}

void GroupTable::MarkLost(Group* group, std::uint32_t bundle) {
  group->state = GroupState::kRescheduling;
  group->nodes[bundle] = kNoNode;
  waiting_[group->age] = group;
}

void GroupTable::MarkRemoved(Group* group) {
  group->state = GroupState::kRemoved;
  waiting_.erase(group->age);
  group->nodes.assign(group->nodes.size(), kNoNode);
}

std::vector<Group*> GroupTable::Waiting() const {
  std::vector<Group*> waiting;
  for (const auto& [age, group] : waiting_) waiting.push_back(group);
  return waiting;
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
