// The runtime's part for placement groups: what the head says about those that this process has made.

#include "engine/base/clock.h"
#include "engine/core/runtime.h"

namespace ray_engine {

void Runtime::FollowGroup(const PlacementGroupId& id) {
  const std::lock_guard lock(mutex_);
  groups_[id] = GroupState::kPending;
}

void Runtime::ForgetGroup(const PlacementGroupId& id) {
  const std::lock_guard lock(mutex_);
  groups_.erase(id);
}

void Runtime::RemoveGroup(const PlacementGroupId& id) {
  const std::lock_guard lock(mutex_);
  groups_.erase(id);
  peers_->Send(kHead, GroupRemove{id});
  submitter_->OnGroupRemoved(id);
}

void Runtime::OnGroupUpdate(const GroupUpdate& update) {
  const auto group = groups_.find(update.id);
  if (group == groups_.end()) return;
  group->second = update.state;
  if (update.state == GroupState::kRemoved) groups_.erase(group);
  if (waiters_ > 0) waiters_cv_.notify_all();
}

std::optional<GroupState> Runtime::StateOfGroup(const PlacementGroupId& id) {
  const std::lock_guard lock(mutex_);
  const auto group = groups_.find(id);
  return group == groups_.end() ? std::nullopt : std::optional(group->second);
}

WaitResult Runtime::WaitForGroup(const PlacementGroupId& id, std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  const auto is_settled = [&] {
    const auto group = groups_.find(id);
    return group == groups_.end() || group->second == GroupState::kCreated;
  };
  return WaitFor(lock, is_settled, deadline_ns, kPatienceNs);
}

}  // namespace ray_engine
