// OwnerLists: which items each owner has, in a list through the items themselves, so that what an owner had is found
// without looking at what others have. Costs an item two pointers.
//
// Item has `ProcessId owner`, which must not change while it is listed, and `OwnerLinks<Item> siblings`.
//
// Owns no items. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstddef>

#include "engine/base/ids.h"

namespace ray_engine {

template <class Item>
struct OwnerLinks {
  Item *before = nullptr, *after = nullptr;
};

template <class Item>
class OwnerLists {
 public:
  // An item without an owner is in no list. REQUIRES: it is in none yet.
  void Add(Item* item) {
    if (item->owner.IsNil()) return;
    Item*& first = first_[item->owner];
    item->siblings = {nullptr, first};
    if (first != nullptr) first->siblings.before = item;
    first = item;
  }
  // REQUIRES: Add() was called.
  void Remove(Item* item) {
    if (item->owner.IsNil()) return;
    const auto [before, after] = item->siblings;
    if (after != nullptr) after->siblings.before = before;
    if (before != nullptr) {
      before->siblings.after = after;
    } else if (after != nullptr) {
      first_[item->owner] = after;
    } else {
      first_.erase(item->owner);
    }
  }
  // Calls visit(const Item&); nothing may be removed meanwhile.
  template <class Visit>
  void ForEach(ProcessId owner, Visit visit) const {
    const auto first = first_.find(owner);
    if (first == first_.end()) return;
    for (const Item* item = first->second; item != nullptr; item = item->siblings.after) visit(*item);
  }
  std::size_t owners() const { return first_.size(); }
  // How many items are listed; for checks.
  std::size_t Count() const {
    std::size_t count = 0;
    for (const auto& [owner, first] : first_) ForEach(owner, [&count](const Item&) { ++count; });
    return count;
  }

 private:
  absl::flat_hash_map<ProcessId, Item*> first_;
};

}  // namespace ray_engine
