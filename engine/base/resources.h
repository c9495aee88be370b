// ResourceSet: amounts of named resources (CPU, GPU, memory, object_store_memory, custom ones).
//
// Amounts are fixed-point integers in units of 1/10,000, so that sums and differences of fractions are exact. A
// resource that is absent has amount 0; amounts may go negative where a blocked task takes its CPU back.
//
// What nearly every node has and every request asks for has a fixed place, found without comparing names; others are
// kept sorted by name. Sets are small (a handful of entries).
//
// Thread-compatible value type.

#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ray_engine {

class ResourceSet {
 public:
  using Amount = std::int64_t;
  static constexpr Amount kUnit = 10000;
  static constexpr double kLargest = 1e14;  // of one thing; leaves room for sums
  using Entry = std::pair<std::string, Amount>;

  static Amount FromDouble(double value) { return std::llround(value * kUnit); }
  static double ToDouble(Amount amount) { return static_cast<double>(amount) / kUnit; }

  // Resources with a place of their own, sorted by name.
  enum Common : std::size_t { kCpu, kGpu, kMemory, kStoreMemory, kCommonCount };

  Amount Get(Common resource) const { return common_[resource]; }
  Amount Get(std::string_view name) const;
  void Set(std::string_view name, Amount amount);
  void Add(const ResourceSet& other);
  void Subtract(const ResourceSet& other);

  // True if every amount asked for is available here.
  bool Covers(const ResourceSet& asked) const {
    for (std::size_t i = 0; i < kCommonCount; ++i) {
      if (asked.common_[i] != 0 && common_[i] < asked.common_[i]) return false;
    }
    return asked.others_.empty() || CoversOthers(asked);
  }
  // What is missing here of what is asked for.
  ResourceSet Lacking(const ResourceSet& asked) const;
  // True if both have some of the same resource.
  bool Overlaps(const ResourceSet& other) const;
  bool Empty() const { return others_.empty() && common_ == CommonAmounts(); }
  // What is there, sorted by name: their number, visit(name, amount) of each, and all of them.
  std::size_t size() const;
  template <class Visit>
  void ForEach(Visit visit) const;
  std::vector<Entry> entries() const;

  std::string ToString() const;  // {CPU: 1, custom: 0.5, memory: 2.0 GiB}

  friend bool operator==(const ResourceSet& a, const ResourceSet& b) {
    return a.common_ == b.common_ && a.others_ == b.others_;
  }
  template <class H>
  friend H AbslHashValue(H h, const ResourceSet& set) {
    return H::combine(std::move(h), set.common_, set.others_);
  }

 private:
  using CommonAmounts = std::array<Amount, kCommonCount>;
  static constexpr std::array<std::string_view, kCommonCount> kNames{"CPU", "GPU", "memory", "object_store_memory"};

  // kCommonCount if it is none.
  static std::size_t PlaceOf(std::string_view name);
  bool CoversOthers(const ResourceSet& asked) const;
  void Change(const std::string& name, Amount by);

  CommonAmounts common_{};
  std::vector<Entry> others_;  // amounts that are not 0, sorted by name
};

template <class Visit>
void ResourceSet::ForEach(Visit visit) const {
  auto other = others_.begin();
  for (std::size_t i = 0; i < kCommonCount; ++i) {
    if (common_[i] == 0) continue;
    for (; other != others_.end() && other->first < kNames[i]; ++other) visit(other->first, other->second);
    visit(kNames[i], common_[i]);
  }
  for (; other != others_.end(); ++other) visit(other->first, other->second);
}

// An amount for people: "0.5", and "2.0 GiB" for what is counted in bytes.
std::string AmountText(std::string_view resource, ResourceSet::Amount amount);
// "2.0 GiB", "1.5 MiB", "700 bytes".
std::string BytesText(double bytes);

}  // namespace ray_engine
