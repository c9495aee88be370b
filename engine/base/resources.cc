#include "engine/base/resources.h"

#include <fmt/format.h>

#include <algorithm>

namespace ray_engine {
namespace {

// The entry of that name, or the place for it. Few names are compared one by one: most differ in length already.
template <class Entries>
auto Find(Entries& entries, const std::string& name) {
  constexpr std::size_t kFew = 8;
  if (entries.size() <= kFew) {
    for (auto it = entries.begin(); it != entries.end(); ++it) {
      if (it->first == name) return it;
    }
  }
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const ResourceSet::Entry& entry, const std::string& key) { return entry.first < key; });
}

}  // namespace

ResourceSet::Amount ResourceSet::Get(const std::string& name) const {
  const auto it = Find(entries_, name);
  return it != entries_.end() && it->first == name ? it->second : 0;
}

void ResourceSet::Set(const std::string& name, Amount amount) {
  const auto it = Find(entries_, name);
  const bool present = it != entries_.end() && it->first == name;
  if (amount == 0) {
    if (present) entries_.erase(it);
  } else if (present) {
    it->second = amount;
  } else {
    entries_.insert(it, {name, amount});
  }
}

void ResourceSet::Change(const std::string& name, Amount by) {
  const auto it = Find(entries_, name);
  if (it == entries_.end() || it->first != name) {
    if (by != 0) entries_.insert(it, {name, by});
  } else if ((it->second += by) == 0) {
    entries_.erase(it);
  }
}

void ResourceSet::Add(const ResourceSet& other) {
  for (const auto& [name, amount] : other.entries_) Change(name, amount);
}

void ResourceSet::Subtract(const ResourceSet& other) {
  for (const auto& [name, amount] : other.entries_) Change(name, -amount);
}

bool ResourceSet::Covers(const ResourceSet& asked) const {
  return std::all_of(asked.entries_.begin(), asked.entries_.end(),
                     [&](const Entry& entry) { return Get(entry.first) >= entry.second; });
}

std::string ResourceSet::ToString() const {
  std::string text = "{";
  for (const auto& [name, amount] : entries_) {
    text += fmt::format("{}{}: {}", text.size() > 1 ? ", " : "", name, AmountText(name, amount));
  }
  return text + "}";
}

std::string AmountText(const std::string& resource, ResourceSet::Amount amount) {
  const double number = ResourceSet::ToDouble(amount);
  return resource == "memory" || resource == "object_store_memory" ? BytesText(number) : fmt::format("{}", number);
}

std::string BytesText(double bytes) {
  if (std::abs(bytes) >= 1 << 30) return fmt::format("{:.1f} GiB", bytes / (1 << 30));
  if (std::abs(bytes) >= 1 << 20) return fmt::format("{:.1f} MiB", bytes / (1 << 20));
  return fmt::format("{:.0f} bytes", bytes);
}

}  // namespace ray_engine
