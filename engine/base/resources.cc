#include "engine/base/resources.h"

#include <fmt/format.h>

#include <algorithm>

namespace ray_engine {
namespace {

// The entry of that name, or the place for it. Few names are compared one by one: most differ in length already.
template <class Entries>
auto Find(Entries& entries, std::string_view name) {
  constexpr std::size_t kFew = 8;
  if (entries.size() <= kFew) {
    for (auto it = entries.begin(); it != entries.end(); ++it) {
      if (it->first == name) return it;
    }
  }
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const ResourceSet::Entry& entry, std::string_view key) { return entry.first < key; });
}

}  // namespace

std::size_t ResourceSet::PlaceOf(std::string_view name) {
  return static_cast<std::size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
}

ResourceSet::Amount ResourceSet::Get(std::string_view name) const {
  const std::size_t place = PlaceOf(name);
  if (place < kCommonCount) return common_[place];
  const auto it = Find(others_, name);
  return it != others_.end() && it->first == name ? it->second : 0;
}

void ResourceSet::Set(std::string_view name, Amount amount) {
  const std::size_t place = PlaceOf(name);
  if (place < kCommonCount) {
    common_[place] = amount;
    return;
  }
  const auto it = Find(others_, name);
  const bool present = it != others_.end() && it->first == name;
  if (amount == 0) {
    if (present) others_.erase(it);
  } else if (present) {
    it->second = amount;
  } else {
    others_.insert(it, {std::string(name), amount});
  }
}

void ResourceSet::Change(const std::string& name, Amount by) {
  const auto it = Find(others_, name);
  if (it == others_.end() || it->first != name) {
    others_.insert(it, {name, by});
  } else if ((it->second += by) == 0) {
    others_.erase(it);
  }
}

void ResourceSet::Add(const ResourceSet& other) {
  for (std::size_t i = 0; i < kCommonCount; ++i) common_[i] += other.common_[i];
  for (const auto& [name, amount] : other.others_) Change(name, amount);
}

void ResourceSet::Subtract(const ResourceSet& other) {
  for (std::size_t i = 0; i < kCommonCount; ++i) common_[i] -= other.common_[i];
  for (const auto& [name, amount] : other.others_) Change(name, -amount);
}

bool ResourceSet::CoversOthers(const ResourceSet& asked) const {
  return std::all_of(asked.others_.begin(), asked.others_.end(),
                     [&](const Entry& entry) { return Get(entry.first) >= entry.second; });
}

ResourceSet ResourceSet::Lacking(const ResourceSet& asked) const {
  ResourceSet lacking;
  asked.ForEach([&](std::string_view name, Amount amount) {
    if (Get(name) < amount) lacking.Set(name, amount - Get(name));
  });
  return lacking;
}

bool ResourceSet::Overlaps(const ResourceSet& other) const {
  for (std::size_t i = 0; i < kCommonCount; ++i) {
    if (common_[i] > 0 && other.common_[i] > 0) return true;
  }
  return std::any_of(others_.begin(), others_.end(),
                     [&](const Entry& entry) { return entry.second > 0 && other.Get(entry.first) > 0; });
}

std::size_t ResourceSet::size() const {
  const auto present = [](Amount amount) { return amount != 0; };
  return others_.size() + static_cast<std::size_t>(std::count_if(common_.begin(), common_.end(), present));
}

std::vector<ResourceSet::Entry> ResourceSet::entries() const {
  std::vector<Entry> all;
  ForEach([&all](std::string_view name, Amount amount) { all.emplace_back(name, amount); });
  return all;
}

std::string ResourceSet::ToString() const {
  std::string text = "{";
  ForEach([&text](std::string_view name, Amount amount) {
    text += fmt::format("{}{}: {}", text.size() > 1 ? ", " : "", name, AmountText(name, amount));
  });
  return text + "}";
}

std::string AmountText(std::string_view resource, ResourceSet::Amount amount) {
  const double number = ResourceSet::ToDouble(amount);
  return resource == "memory" || resource == "object_store_memory" ? BytesText(number) : fmt::format("{}", number);
}

std::string BytesText(double bytes) {
  if (std::abs(bytes) >= 1 << 30) return fmt::format("{:.1f} GiB", bytes / (1 << 30));
  if (std::abs(bytes) >= 1 << 20) return fmt::format("{:.1f} MiB", bytes / (1 << 20));
  return fmt::format("{:.0f} bytes", bytes);
}

}  // namespace ray_engine
