#include "scheduler/group_table.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace ray_engine {
namespace {

constexpr double kPlaces = 1000;

}  // namespace

Group* GroupTable::Add(const GroupSpec& spec, ProcessId maker) {
  if (!spec.name.empty() && FindByName(spec.name_space, spec.name) != nullptr) return nullptr;
  const auto group = living_.emplace(living_.end());
  group->spec = spec;
  group->maker = maker;
  group->nodes.assign(spec.bundles.size(), kNoNode);
  group->age = ++last_age_;
  by_id_[spec.id] = group;
  if (!spec.name.empty()) by_name_[{spec.name_space, spec.name}] = &*group;
  return &*group;
}

Group* GroupTable::Find(const PlacementGroupId& id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

Group* GroupTable::FindByName(const std::string& name_space, const std::string& name) {
  const auto found = by_name_.find(std::pair(name_space, name));
  return found == by_name_.end() ? nullptr : found->second;
}

void GroupTable::Bury(Group* group) {
  group->nodes.assign(group->nodes.size(), kNoNode);
  if (!group->spec.name.empty()) by_name_.erase({group->spec.name_space, group->spec.name});
  removed_.splice(removed_.end(), living_, by_id_.at(group->spec.id));
  if (removed_.size() <= kMaxRemoved) return;
  by_id_.erase(removed_.front().spec.id);
  removed_.pop_front();
}

GroupTable::Kind GroupTable::KindOf(const Group& group) {
  const auto has_place = [](std::uint32_t node) { return node != kNoNode; };
  const bool in_part = std::any_of(group.nodes.begin(), group.nodes.end(), has_place);
  return {group.shapes, group.spec.strategy, group.spec.domain_label, in_part ? &group : nullptr};
}

void GroupTable::JoinLine(Group* group) { lines_[KindOf(*group)][group->age] = group; }

void GroupTable::LeaveLine(Group* group) {
  const auto line = lines_.find(KindOf(*group));
  line->second.erase(group->age);
  if (line->second.empty()) lines_.erase(line);
}

std::vector<Group*> GroupTable::Fronts() const {
  std::vector<Group*> fronts;
  for (const auto& [kind, line] : lines_) fronts.push_back(line.begin()->second);
  return fronts;
}

Group* GroupTable::Behind(const Group* group) const {
  const Line& line = lines_.at(KindOf(*group));
  const auto behind = line.upper_bound(group->age);
  return behind == line.end() ? nullptr : behind->second;
}

ResourceSet BundleResources(const GroupSpec& spec, std::uint32_t bundle) {
  ResourceSet set;
  const std::string any = "_group_" + spec.id.Hex();
  const std::string certain = absl::StrCat("_group_", bundle, "_", spec.id.Hex());
  const auto add = [&](std::string_view name, ResourceSet::Amount amount) {
    const std::string resource(name);
    set.Set(resource + certain, amount);
    set.Set(resource + any, amount);
  };
  spec.bundles[bundle].resources.ForEach(add);
  add("bundle", ResourceSet::FromDouble(kPlaces));
  return set;
}

bool IsCpu(std::string_view name) { return name == "CPU" || name.rfind("CPU_group_", 0) == 0; }

}  // namespace ray_engine
