// Allocator: hands out ranges of [0, size) and takes them back. It never touches the memory it manages.
//
// Best fit, neighbours are joined when freed. Everything below the high-water mark has been handed out before and is
// warm (its pages exist); ranges there are used first, of equal ones the one freed last, and the untouched rest only
// when nothing warm fits. Ranges start at multiples of 64 bytes, those of 1 MiB and more at page boundaries.
//
// Thread-compatible. O(log ranges).

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

namespace ray_engine {

struct AllocatorStats {
  std::uint64_t size = 0, used = 0;
  std::uint64_t warm_free = 0;     // free bytes below the high-water mark
  std::uint64_t free_ranges = 0;   // below the high-water mark
  std::uint64_t largest_free = 0;  // anywhere
  std::uint64_t high_water = 0;
  // 0: all that is free lies in one range; near 1: in many small ones.
  double Fragmentation() const;
};

class Allocator {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kLarge = 1 << 20;

  explicit Allocator(std::uint64_t size) : size_(size) {}

  // Offset of a range of at least `size` bytes, or nothing if no free range is long enough.
  std::optional<std::uint64_t> Allocate(std::uint64_t size);
  // Takes back a range, or a part of one. What has been handed out is for the caller to know: nothing is kept for it.
  // REQUIRES: all of it is handed out; `offset` and `size` are multiples of kAlignment.
  void Free(std::uint64_t offset, std::uint64_t size);

  // Bytes that Allocate(size) takes.
  static std::uint64_t Rounded(std::uint64_t size);
  std::uint64_t used() const { return used_; }
  std::uint64_t size() const { return size_; }
  AllocatorStats Stats() const;
  // What is wrong, if `taken` is what has been handed out, sizes by offset; empty if nothing is.
  std::string CheckInvariants(const std::map<std::uint64_t, std::uint64_t>& taken) const;

 private:
  struct Range {
    std::uint64_t size = 0, freed_at = 0;
  };
  using Ranges = std::map<std::uint64_t, Range>;  // by offset
  // Size, then most recently freed (stamps are negated), then offset.
  using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

  std::optional<std::uint64_t> TakeWarm(std::uint64_t size, std::uint64_t alignment);
  std::optional<std::uint64_t> TakeCold(std::uint64_t size, std::uint64_t alignment);
  std::uint64_t Carve(Ranges::iterator range, std::uint64_t start, std::uint64_t size);
  void Grow(Ranges::iterator range, std::uint64_t offset, std::uint64_t size);
  void AddFree(std::uint64_t offset, std::uint64_t size, std::uint64_t freed_at);
  void RemoveFree(Ranges::iterator range);
  std::string CheckFree() const;
  static Key KeyOf(const Ranges::value_type& range);

  std::uint64_t size_;
  std::uint64_t high_water_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t clock_ = 0;
  Ranges free_;
  std::set<Key> by_size_;
};

}  // namespace ray_engine
