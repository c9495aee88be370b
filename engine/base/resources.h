// ResourceSet: amounts of named resources (CPU, GPU, memory, object_store_memory, custom ones).
//
// Amounts are fixed-point integers in units of 1/10,000, so that sums and differences of fractions are exact. A
// resource that is absent has amount 0; amounts may go negative where a blocked task takes its CPU back.
//
// Thread-compatible value type. Sets are small (a handful of entries), kept sorted by name.

#pragma once

#include <cmath>
#include <cstdint>
#include <string>
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

  Amount Get(const std::string& name) const;
  void Set(const std::string& name, Amount amount);  // 0 removes the entry
  void Add(const ResourceSet& other);
  void Subtract(const ResourceSet& other);

  // True if every amount asked for is available here.
  bool Covers(const ResourceSet& asked) const;
  bool Empty() const { return entries_.empty(); }
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& mutable_entries() { return entries_; }

  std::string ToString() const;  // {CPU: 1, custom: 0.5, memory: 2.0 GiB}

  friend bool operator==(const ResourceSet& a, const ResourceSet& b) { return a.entries_ == b.entries_; }
  template <class H>
  friend H AbslHashValue(H h, const ResourceSet& set) {
    return H::combine(std::move(h), set.entries_);
  }

 private:
  void Change(const std::string& name, Amount by);

  std::vector<Entry> entries_;
};

// An amount for people: "0.5", and "2.0 GiB" for what is counted in bytes.
std::string AmountText(const std::string& resource, ResourceSet::Amount amount);
// "2.0 GiB", "1.5 MiB", "700 bytes".
std::string BytesText(double bytes);

}  // namespace ray_engine
