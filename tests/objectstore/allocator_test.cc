#include "objectstore/allocator.h"

#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace ray_engine {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

TEST(Allocator, RangesAreAligned) {
  Allocator allocator(16 * kMiB);
  EXPECT_EQ(allocator.Allocate(1), 0u);
  EXPECT_EQ(allocator.Allocate(65), 64u);
  EXPECT_EQ(allocator.Allocate(kMiB), 4096u);
  EXPECT_EQ(*allocator.Allocate(kMiB + 1) % Allocator::kPage, 0u);
  EXPECT_EQ(allocator.used(), 64 + 128 + kMiB + kMiB + 4096);
  EXPECT_EQ(allocator.CheckInvariants({{0, 64}, {64, 128}, {4096, kMiB}, {4096 + kMiB, kMiB + 4096}}), "");
}

TEST(Allocator, EmptyObjectsHavePlacesOfTheirOwn) {
  Allocator allocator(kMiB);
  EXPECT_NE(*allocator.Allocate(0), *allocator.Allocate(0));
}

TEST(Allocator, ExactlyFullAndNotAByteMore) {
  Allocator allocator(4 * kMiB);
  EXPECT_EQ(allocator.Allocate(4 * kMiB), 0u);
  EXPECT_FALSE(allocator.Allocate(1));
  allocator.Free(0, 4 * kMiB);
  EXPECT_FALSE(allocator.Allocate(4 * kMiB + 1));
  EXPECT_FALSE(allocator.Allocate(~std::uint64_t{0}));
  EXPECT_EQ(allocator.Allocate(4 * kMiB), 0u);
}

TEST(Allocator, NeighboursAreJoined) {
  Allocator allocator(3 * kMiB);
  const std::uint64_t a = *allocator.Allocate(kMiB), b = *allocator.Allocate(kMiB), c = *allocator.Allocate(kMiB);
  allocator.Free(a, kMiB);
  allocator.Free(c, kMiB);
  EXPECT_EQ(allocator.Stats().free_ranges, 2u);
  EXPECT_FALSE(allocator.Allocate(2 * kMiB));
  EXPECT_DOUBLE_EQ(allocator.Stats().Fragmentation(), 0.5);
  allocator.Free(b, kMiB);
  EXPECT_EQ(allocator.Stats().free_ranges, 1u);
  EXPECT_EQ(allocator.Stats().largest_free, 3 * kMiB);
  EXPECT_DOUBLE_EQ(allocator.Stats().Fragmentation(), 0);
  EXPECT_TRUE(allocator.Allocate(3 * kMiB));
}

TEST(Allocator, BestFitLeavesLongRangesAlone) {
  Allocator allocator(100 * kMiB);
  const std::uint64_t large = *allocator.Allocate(10 * kMiB), wall = *allocator.Allocate(kMiB);
  const std::uint64_t small = *allocator.Allocate(2 * kMiB), end = *allocator.Allocate(kMiB);
  allocator.Free(small, 2 * kMiB);
  allocator.Free(large, 10 * kMiB);
  EXPECT_EQ(allocator.Allocate(2 * kMiB), small);
  EXPECT_EQ(allocator.Allocate(9 * kMiB), large);
  EXPECT_LT(wall, end);
}

TEST(Allocator, WarmRangesComeBeforeUntouchedOnes) {
  Allocator allocator(1000 * kMiB);
  for (int i = 0; i < 50; ++i) allocator.Free(*allocator.Allocate(10 * kMiB), 10 * kMiB);
  EXPECT_EQ(allocator.Stats().high_water, 10 * kMiB);
  EXPECT_EQ(allocator.Stats().warm_free, 10 * kMiB);
}

TEST(Allocator, OfEqualRangesTheOneFreedLastIsReused) {
  Allocator allocator(100 * kMiB);
  std::vector<std::uint64_t> places;
  for (int i = 0; i < 6; ++i) places.push_back(*allocator.Allocate(kMiB));
  for (const int i : {0, 4, 2}) allocator.Free(places[i], kMiB);
  EXPECT_EQ(allocator.Allocate(kMiB), places[2]);
  EXPECT_EQ(allocator.Allocate(kMiB), places[4]);
  EXPECT_EQ(allocator.Allocate(kMiB), places[0]);
}

TEST(Allocator, GrowingObjectExtendsTheLastWarmRange) {
  Allocator allocator(100 * kMiB);
  allocator.Free(*allocator.Allocate(10 * kMiB), 10 * kMiB);
  EXPECT_EQ(allocator.Allocate(20 * kMiB), 0u);
  EXPECT_EQ(allocator.Stats().high_water, 20 * kMiB);
}

TEST(Allocator, PartsOfARangeAreFreedOnTheirOwn) {
  Allocator allocator(kMiB);
  const std::uint64_t whole = *allocator.Allocate(4096);
  allocator.Free(whole + 1024, 64);
  EXPECT_EQ(allocator.used(), 4096u - 64u);
  EXPECT_EQ(allocator.Allocate(64), whole + 1024);
  allocator.Free(whole, 1024);
  allocator.Free(whole + 1024, 64);
  EXPECT_EQ(allocator.CheckInvariants({{whole + 1088, 4096 - 1088}}), "");
  allocator.Free(whole + 1088, 4096 - 1088);
  EXPECT_EQ(allocator.Stats().free_ranges, 1u);
}

// Random calls against the simplest model: a map of what is taken.
TEST(Allocator, RandomCallsNeverOverlapAndLoseNothing) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    constexpr std::uint64_t kSize = 64 * kMiB;
    Allocator allocator(kSize);
    std::map<std::uint64_t, std::uint64_t> taken;  // sizes by offset
    for (int step = 0; step < 2000; ++step) {
      const auto victim = taken.empty() ? taken.end() : std::next(taken.begin(), random() % taken.size());
      if (random() % 8 == 0 && victim != taken.end() && victim->second > Allocator::kAlignment) {
        const std::uint64_t units = victim->second / Allocator::kAlignment;
        const std::uint64_t kept = (1 + random() % (units - 1)) * Allocator::kAlignment;
        allocator.Free(victim->first + kept, victim->second - kept);
        victim->second = kept;
      } else if (random() % 2 == 0 && victim != taken.end()) {
        allocator.Free(victim->first, victim->second);
        taken.erase(victim);
      } else {
        const std::uint64_t size = random() % (std::uint64_t{1} << (random() % 24));
        const auto offset = allocator.Allocate(size);
        if (!offset) {
          ASSERT_LT(allocator.Stats().largest_free, Allocator::Rounded(size) + Allocator::kPage);
          continue;
        }
        const std::uint64_t end = *offset + Allocator::Rounded(size);
        const auto next = taken.lower_bound(*offset);
        ASSERT_LE(end, next == taken.end() ? kSize : next->first);
        ASSERT_LE(next == taken.begin() ? 0 : std::prev(next)->first + std::prev(next)->second, *offset);
        taken[*offset] = end - *offset;
      }
      ASSERT_EQ(step % 50 == 0 ? allocator.CheckInvariants(taken) : "", "") << "seed " << seed << ", step " << step;
    }
    for (const auto& [offset, size] : taken) allocator.Free(offset, size);
    EXPECT_EQ(allocator.used(), 0u);
    EXPECT_EQ(allocator.Stats().largest_free, kSize);
    EXPECT_EQ(allocator.CheckInvariants({}), "");
  }
}

// Sizes of all magnitudes come and go while 70 % of the memory is in use: what is free lies in few ranges, and nearly
// always one of them is long enough for what is asked for.
TEST(Allocator, FragmentationIsBounded) {
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    std::mt19937 random(seed);
    constexpr std::uint64_t kSize = 1024 * kMiB, kUsed = kSize / 10 * 7;
    Allocator allocator(kSize);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
    int refused = 0, asked = 0;
    for (int step = 0; step < 40'000; ++step) {
      while (allocator.used() > kUsed) {
        std::swap(taken[random() % taken.size()], taken.back());
        allocator.Free(taken.back().first, taken.back().second);
        taken.pop_back();
      }
      const std::uint64_t size = 1 + random() % (std::uint64_t{1} << (7 + random() % 18));  // up to 16 MiB
      const auto offset = allocator.Allocate(size);
      ++asked;
      offset ? void(taken.emplace_back(*offset, Allocator::Rounded(size))) : void(++refused);
    }
    const AllocatorStats stats = allocator.Stats();
    EXPECT_LT(refused, asked / 1000) << "of " << asked << ", seed " << seed;
    EXPECT_LT(stats.free_ranges, taken.size() / 2) << "seed " << seed;
    EXPECT_GT(stats.largest_free, 16 * kMiB) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ray_engine
