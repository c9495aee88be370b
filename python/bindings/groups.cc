// Placement groups: create, remove, look up. All else about them is Python (ray_engine/util/placement_group.py).

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/bindings/module.h"
#include "python/bindings/session.h"
#include "python/bindings/waiting.h"

namespace ray_engine::python {
namespace {

using Bundles = std::vector<std::pair<nb::dict, nb::dict>>;  // resources, label selector

PlacementGroupId GroupId(nb::bytes id) { return PlacementGroupId::FromBinary({id.c_str(), id.size()}); }

void CreateGroup(nb::bytes id, const std::string& name, const std::string& name_space, bool detached, int strategy,
                 const std::string& domain_label, const Bundles& bundles, bool bound_to_process) {
  GroupSpec spec;
  spec.id = GroupId(id);
  spec.job = TheRuntime().job();
  if (bound_to_process) spec.creator = TheRuntime().self();
  spec.name = name;
  spec.name_space = name_space;
  spec.detached = detached;
  spec.strategy = static_cast<GroupSpec::Strategy>(strategy);
  spec.domain_label = domain_label;
  for (const auto& [resources, selector] : bundles) {
    spec.bundles.push_back({ResourcesFrom(resources), TextsFrom(selector)});
  }
  TheRuntime().FollowGroup(spec.id);
  if (name.empty()) return TheRuntime().Post(kHead, GroupCreate{0, spec});  // cannot fail
  const GroupCreated created = CallHead<GroupCreated>(GroupCreate{0, spec});
  if (created.error.empty()) return;
  TheRuntime().ForgetGroup(spec.id);
  RaiseSystemError("RaySystemError", created.error);
}

// Whether the group has its places within the time; None if that is not known here: another process has made it, or it
// is removed.
std::optional<bool> WaitForGroup(nb::bytes id, double timeout) {
  Runtime& runtime = TheRuntime();
  const PlacementGroupId group = GroupId(id);
  const auto known = [&] { return runtime.StateOfGroup(group).has_value(); };
  if (!known()) return std::nullopt;
  const std::int64_t deadline = Deadline(nb::float_(timeout));
  const WaitResult result = HandlingSignals([&] { return runtime.WaitForGroup(group, deadline); });
  if (result == WaitResult::kDisconnected) RaiseEnded();
  return known() ? std::optional(result == WaitResult::kReady) : std::nullopt;
}

nb::dict Describe(const GroupInfo& group) {
  nb::list bundles, nodes;
  for (const Bundle& bundle : group.spec.bundles) bundles.append(ToDict(bundle.resources));
  for (const NodeId& node : group.nodes) nodes.append(node.IsNil() ? std::string() : node.Hex());
  nb::dict info;
  info["id"] = nb::bytes(group.spec.id.Binary().data(), PlacementGroupId::kSize);
  info["name"] = group.spec.name;
  info["strategy"] = static_cast<int>(group.spec.strategy);
  info["domain_label"] = group.spec.domain_label;
  info["detached"] = group.spec.detached;
  info["state"] = static_cast<int>(group.state);
  info["bundles"] = bundles;
  info["nodes"] = nodes;
  return info;
}

nb::list QueryGroups(nb::bytes id, const std::string& name, const std::string& name_space) {
  GroupQuery query;
  if (id.size() == PlacementGroupId::kSize) query.id = GroupId(id);
  query.name = name;
  query.name_space = name_space;
  nb::list found;
  for (const GroupInfo& group : CallHead<GroupReply>(query).groups) found.append(Describe(group));
  return found;
}

}  // namespace

void BindGroups(nb::module_& module) {
  module.def("create_group", &CreateGroup, nb::arg("id"), nb::arg("name"), nb::arg("namespace"), nb::arg("detached"),
             nb::arg("strategy"), nb::arg("domain_label"), nb::arg("bundles"), nb::arg("bound_to_process"));
  module.def("remove_group", [](nb::bytes id) { TheRuntime().RemoveGroup(GroupId(id)); });
  module.def("wait_for_group", &WaitForGroup, nb::arg("id"), nb::arg("timeout"));
  module.def("groups", &QueryGroups, nb::arg("id") = nb::bytes("", 0), nb::arg("name") = "", nb::arg("namespace") = "");
}

}  // namespace ray_engine::python
