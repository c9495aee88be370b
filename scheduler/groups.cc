// The part of Scheduler that keeps placement groups.

#include <fmt/format.h>

#include <algorithm>

#include "absl/container/btree_set.h"
#include "scheduler/scheduler.h"

namespace ray_engine {

bool Scheduler::OnGroupCreate(const GroupSpec& spec, ProcessId from, Time now, Actions* actions) {
  Group* group = groups_.Add(spec, from);
  if (group == nullptr) return false;
  BeginWaiting(group);
  GrantAll(now, actions);
  return true;
}

Scheduler::Actions Scheduler::OnGroupRemove(const PlacementGroupId& id, Time now) {
  Actions actions;
  Group* group = groups_.Find(id);
  if (group == nullptr || group->state == GroupState::kRemoved) return actions;
  RemoveGroup(group, &actions);
  GrantAll(now, &actions);
  return actions;
}

Scheduler::Actions Scheduler::OnJobEnded(const JobId& job, Time now) {
  Actions actions;
  // What an actor has made ends with the actor: a detached one goes on.
  RemoveGroupsIf([&](const GroupSpec& spec) { return spec.job == job && spec.creator.IsNil(); }, &actions);
  GrantAll(now, &actions);
  return actions;
}

template <class Condition>
void Scheduler::RemoveGroupsIf(Condition condition, Actions* actions) {
  std::vector<Group*> ending;
  for (Group& group : groups_.living()) {
    if (!group.spec.detached && condition(group.spec)) ending.push_back(&group);
  }
  for (Group* group : ending) RemoveGroup(group, actions);
}

void Scheduler::RemoveGroupsOf(ProcessId creator, Actions* actions) {
  RemoveGroupsIf([&](const GroupSpec& spec) { return spec.creator == creator; }, actions);
}

void Scheduler::BeginWaiting(Group* group) {
  for (const Bundle& bundle : group->spec.bundles) group->shapes.push_back(policy_.Acquire(ShapeOf(bundle)));
  groups_.JoinLine(group);
}

void Scheduler::EndWaiting(Group* group) {
  if (group->shapes.empty()) return;
  groups_.LeaveLine(group);
  for (Candidates* shape : group->shapes) policy_.Release(shape);
  group->shapes.clear();
}

// Groups are served by age, so that a large one is not overtaken for ever by small ones of the same kind.
void Scheduler::PlaceGroups(Actions* actions) {
  std::vector<Group*> heap = groups_.Fronts();
  const auto is_younger = [](const Group* a, const Group* b) { return a->age > b->age; };
  std::make_heap(heap.begin(), heap.end(), is_younger);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), is_younger);
    Group* group = heap.back();
    heap.pop_back();
    Group* behind = groups_.Behind(group);
    if (!PlaceGroup(group)) continue;
    SetState(group, GroupState::kCreated, actions);
    if (behind == nullptr) continue;
    heap.push_back(behind);
    std::push_heap(heap.begin(), heap.end(), is_younger);
  }
}

bool Scheduler::PlaceGroup(Group* group) {
  const auto places = PlaceBundles(cluster_, group->spec, group->shapes, group->nodes);
  if (!places) return false;
  EndWaiting(group);
  for (std::uint32_t bundle = 0; bundle < places->size(); ++bundle) {
    if (group->nodes[bundle] == kNoNode) SetBundle(group, bundle, (*places)[bundle]);
  }
  return true;
}

void Scheduler::SetState(Group* group, GroupState state, Actions* actions) {
  group->state = state;
  actions->push_back(Send{group->maker, GroupUpdate{group->spec.id, state}});
}

// Moves a bundle's resources from what a node has to what the group has there.
void Scheduler::SetBundle(Group* group, std::uint32_t bundle, const BundlePlace& place) {
  group->nodes[bundle] = place.node;
  cluster_.Take(place.node, group->spec.bundles[bundle].resources);
  cluster_.OpenBundle(place.node, {group->spec.id.Hex(), bundle}, place.units);
  cluster_.Extend(place.node, BundleResources(group->spec, bundle));
  policy_.OnChangedAnew(place.node);
}

void Scheduler::RemoveGroup(Group* group, Actions* actions) {
  EndWaiting(group);
  EndLeasesOf(*group, actions);
  for (std::uint32_t bundle = 0; bundle < group->nodes.size(); ++bundle) {
    const std::uint32_t node = group->nodes[bundle];
    if (node == kNoNode) continue;
    cluster_.Shrink(node, BundleResources(group->spec, bundle));
    cluster_.CloseBundle(node, {group->spec.id.Hex(), bundle});
    cluster_.Give(node, group->spec.bundles[bundle].resources);
    policy_.OnChangedAnew(node);
  }
  const PlacementGroupId id = group->spec.id;
  SetState(group, GroupState::kRemoved, actions);
  groups_.Bury(group);
  FailQueuesOf(id, actions);
}

// Their workers are on their way out, and hold nothing any more: what they held goes with the group.
void Scheduler::EndLeasesOf(const Group& group, Actions* actions) {
  for (const std::uint32_t node : absl::btree_set<std::uint32_t>(group.nodes.begin(), group.nodes.end())) {
    if (node == kNoNode) continue;
    for (Lease* lease : leases_.LeasesOn(node)) {
      if (lease->queue->lease_class->group != group.spec.id) continue;
      SetHeld(lease, ResourceSet());
      const ProcessId client = lease->queue->client;
      if (client != kHead) actions->push_back(Send{client, LeaseReclaim{lease->id}});  // nothing more is pushed to them
      actions->push_back(Send{ProcessId{node, 0}, KillWorker{lease->id, "its placement group was removed"}});
    }
  }
}

void Scheduler::FailQueuesOf(const PlacementGroupId& id, Actions* actions) {
  std::vector<DemandQueue*> waiting;
  for (const auto& [turn, line] : lines_.by_turn()) {
    for (DemandQueue& queue : line->queues) {
      if (queue.lease_class->group == id) waiting.push_back(&queue);
    }
  }
  for (DemandQueue* queue : waiting) Fail(queue, kGroupRemovedText, actions);
}

bool Scheduler::IsRemoved(const PlacementGroupId& id) {
  if (id.IsNil()) return false;
  const Group* group = groups_.Find(id);
  return group == nullptr || group->state == GroupState::kRemoved;
}

void Scheduler::LoseBundlesOn(std::uint32_t node, Actions* actions) {
  for (Group& group : groups_.living()) {
    if (std::find(group.nodes.begin(), group.nodes.end(), node) == group.nodes.end()) continue;
    EndWaiting(&group);
    std::replace(group.nodes.begin(), group.nodes.end(), node, kNoNode);
    SetState(&group, GroupState::kRescheduling, actions);
    BeginWaiting(&group);
  }
}

std::vector<GroupInfo> Scheduler::Groups(const GroupQuery& query) {
  std::vector<GroupInfo> found;
  if (!query.id.IsNil()) {
    if (const Group* group = groups_.Find(query.id)) found.push_back(Describe(*group));
  } else if (!query.name.empty()) {
    if (const Group* group = groups_.FindByName(query.name_space, query.name)) found.push_back(Describe(*group));
  } else {
    for (const Group& group : groups_.living()) found.push_back(Describe(group));
    for (const Group& group : groups_.removed()) found.push_back(Describe(group));
  }
  return found;
}

GroupInfo Scheduler::Describe(const Group& group) const {
  GroupInfo info{group.spec, group.state, {}};
  for (const std::uint32_t node : group.nodes) {
    const NodeInfo* place = node == kNoNode ? nullptr : cluster_.Find(node);
    info.nodes.push_back(place == nullptr ? NodeId() : place->id);
  }
  return info;
}

}  // namespace ray_engine
