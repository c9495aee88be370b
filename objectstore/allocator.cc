#include "objectstore/allocator.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace ray_engine {
namespace {

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

std::uint64_t AlignmentOf(std::uint64_t size) {
  return size >= Allocator::kLarge ? Allocator::kPage : Allocator::kAlignment;
}

}  // namespace

double AllocatorStats::Fragmentation() const {
  const std::uint64_t free = size - used;
  return free == 0 ? 0 : 1.0 - static_cast<double>(largest_free) / static_cast<double>(free);
}

std::uint64_t Allocator::Rounded(std::uint64_t size) {
  return RoundUp(std::max<std::uint64_t>(size, 1), AlignmentOf(size));
}

std::optional<std::uint64_t> Allocator::Allocate(std::uint64_t size) {
  if (size > size_) return std::nullopt;  // also keeps the rounding from overflowing
  const std::uint64_t rounded = Rounded(size);
  std::optional<std::uint64_t> offset = TakeWarm(rounded, AlignmentOf(size));
  if (!offset) offset = TakeCold(rounded, AlignmentOf(size));
  if (!offset) return std::nullopt;
  used_ += rounded;
  return offset;
}

std::optional<std::uint64_t> Allocator::TakeWarm(std::uint64_t size, std::uint64_t alignment) {
  // Ranges just long enough may miss by their alignment; those longer by a page cannot, so few are looked at.
  for (auto key = by_size_.lower_bound({size, 0, 0}); key != by_size_.end(); ++key) {
    const auto range = free_.find(std::get<2>(*key));
    const std::uint64_t start = RoundUp(range->first, alignment);
    if (start + size <= range->first + range->second.size) return Carve(range, start, size);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> Allocator::TakeCold(std::uint64_t size, std::uint64_t alignment) {
  const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
  const bool extends = last != free_.end() && last->first + last->second.size == high_water_;
  const std::uint64_t from = extends ? last->first : high_water_;
  const std::uint64_t start = RoundUp(from, alignment);
  if (start > size_ || size > size_ - start) return std::nullopt;
  if (extends) RemoveFree(last);
  if (start > from) AddFree(from, start - from, ++clock_);
  high_water_ = start + size;
  return start;
}

std::uint64_t Allocator::Carve(Ranges::iterator range, std::uint64_t start, std::uint64_t size) {
  const std::uint64_t begin = range->first, end = begin + range->second.size, freed_at = range->second.freed_at;
  RemoveFree(range);
  if (start > begin) AddFree(begin, start - begin, freed_at);
  if (end > start + size) AddFree(start + size, end - (start + size), freed_at);
  return start;
}

void Allocator::Free(std::uint64_t offset, std::uint64_t size) {
  assert(size > 0 && offset % kAlignment == 0 && size % kAlignment == 0 && offset + size <= high_water_);
  used_ -= size;
  const auto next = free_.lower_bound(offset);
  const bool joins_next = next != free_.end() && next->first == offset + size;
  if (joins_next) size += next->second.size;
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second.size == offset) {
      if (joins_next) RemoveFree(next);
      return Grow(previous, previous->first, previous->second.size + size);
    }
  }
  joins_next ? Grow(next, offset, size) : AddFree(offset, size, ++clock_);
}

// A free range takes in what is freed beside it. Allocates nothing.
void Allocator::Grow(Ranges::iterator range, std::uint64_t offset, std::uint64_t size) {
  std::set<Key>::node_type key = by_size_.extract(KeyOf(*range));
  Ranges::node_type grown = free_.extract(range);
  grown.key() = offset;
  grown.mapped() = {size, ++clock_};
  const auto added = free_.insert(std::move(grown)).position;
  key.value() = KeyOf(*added);
  by_size_.insert(std::move(key));
}

Allocator::Key Allocator::KeyOf(const Ranges::value_type& range) {
  return {range.second.size, ~range.second.freed_at, range.first};
}

void Allocator::AddFree(std::uint64_t offset, std::uint64_t size, std::uint64_t freed_at) {
  by_size_.insert(KeyOf(*free_.emplace(offset, Range{size, freed_at}).first));
}

void Allocator::RemoveFree(Ranges::iterator range) {
  by_size_.erase(KeyOf(*range));
  free_.erase(range);
}

AllocatorStats Allocator::Stats() const {
  AllocatorStats stats;
  stats.size = size_;
  stats.used = used_;
  stats.warm_free = high_water_ - used_;
  stats.free_ranges = free_.size();
  stats.high_water = high_water_;
  const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
  const bool joins = last != free_.end() && last->first + last->second.size == high_water_;
  stats.largest_free = size_ - (joins ? last->first : high_water_);
  if (!by_size_.empty()) stats.largest_free = std::max(stats.largest_free, std::get<0>(*by_size_.rbegin()));
  return stats;
}

std::string Allocator::CheckInvariants(const std::map<std::uint64_t, std::uint64_t>& taken) const {
  std::uint64_t used = 0;
  for (const auto& [offset, size] : taken) used += size;
  if (used != used_) return "allocator: used bytes are not the sum of what was handed out";
  if (std::string problem = CheckFree(); !problem.empty()) return problem;
  std::map<std::uint64_t, std::uint64_t> all = taken;
  for (const auto& [offset, range] : free_) all.emplace(offset, range.size);
  if (all.size() != taken.size() + free_.size()) return "allocator: a range is both free and handed out";
  std::uint64_t at = 0;
  for (const auto& [offset, size] : all) {
    if (offset != at || size == 0) return "allocator: gap or overlap at " + std::to_string(at);
    at = offset + size;
  }
  return at == high_water_ && at <= size_ ? "" : "allocator: ranges end at " + std::to_string(at);
}

std::string Allocator::CheckFree() const {
  if (free_.size() != by_size_.size()) return "allocator: the two indexes of free ranges differ in size";
  for (auto range = free_.begin(); range != free_.end(); ++range) {
    if (by_size_.count(KeyOf(*range)) != 1) return "allocator: free range missing at " + std::to_string(range->first);
    const auto next = std::next(range);
    if (next != free_.end() && next->first <= range->first + range->second.size) {
      return "allocator: free neighbours not joined at " + std::to_string(range->first);
    }
  }
  return "";
}

}  // namespace ray_engine
