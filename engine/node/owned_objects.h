// OwnedObjects: whose objects this node's store holds, so that they can be freed when their owner is gone.
//
// Pure bookkeeping. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <utility>
#include <vector>

#include "engine/base/ids.h"

namespace ray_engine {

class OwnedObjects {
 public:
  // True if it is the first object of this owner here.
  bool Add(const ObjectId& object, ProcessId owner) {
    if (!owner_of_.emplace(object, owner).second) return false;
    auto& objects = by_owner_[owner];
    objects.insert(object);
    return objects.size() == 1;
  }
  void Remove(const ObjectId& object) {
    const auto owner = owner_of_.find(object);
    if (owner == owner_of_.end()) return;
    const auto objects = by_owner_.find(owner->second);
    objects->second.erase(object);
    if (objects->second.empty()) by_owner_.erase(objects);
    owner_of_.erase(owner);
  }
  // The objects of an owner that is gone; they are forgotten.
  std::vector<ObjectId> Take(ProcessId owner) {
    const auto found = by_owner_.find(owner);
    if (found == by_owner_.end()) return {};
    const std::vector<ObjectId> objects(found->second.begin(), found->second.end());
    for (const ObjectId& object : objects) owner_of_.erase(object);
    by_owner_.erase(found);
    return objects;
  }

 private:
  absl::flat_hash_map<ObjectId, ProcessId> owner_of_;
  absl::flat_hash_map<ProcessId, absl::flat_hash_set<ObjectId>> by_owner_;
};

}  // namespace ray_engine
