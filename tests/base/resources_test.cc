#include "engine/base/resources.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace ray_engine {
namespace {

TEST(ResourceSetTest, AmountsAreReadable) {
  ResourceSet set;
  set.Set("CPU", ResourceSet::FromDouble(1));
  set.Set("custom", ResourceSet::FromDouble(0.0001));
  set.Set("large", ResourceSet::FromDouble(1e14));
  set.Set("memory", ResourceSet::FromDouble(1.76932e10));
  EXPECT_EQ(set.ToString(), "{CPU: 1, custom: 0.0001, large: 100000000000000, memory: 16.5 GiB}");
}

TEST(ResourceSetTest, BytesAreInTheUnitThatFits) {
  EXPECT_EQ(BytesText(0), "0 bytes");
  EXPECT_EQ(BytesText(4096), "4096 bytes");
  EXPECT_EQ(BytesText(3 << 19), "1.5 MiB");
  EXPECT_EQ(BytesText(1020.0 * (1 << 30)), "1020.0 GiB");
  EXPECT_EQ(BytesText(-2.0 * (1 << 30)), "-2.0 GiB");
}

ResourceSet Resources(std::initializer_list<std::pair<const char*, double>> amounts) {
  ResourceSet set;
  for (const auto& [name, amount] : amounts) set.Set(name, ResourceSet::FromDouble(amount));
  return set;
}

TEST(ResourceSetTest, AmountsAreFoundUnderTheirNames) {
  const ResourceSet set = Resources({{"zeta", 1}, {"GPU", 2}, {"Dongle", 3}, {"CPU", 4}});
  EXPECT_EQ(set.Get("CPU"), ResourceSet::FromDouble(4));
  EXPECT_EQ(set.Get(ResourceSet::kGpu), set.Get("GPU"));
  EXPECT_EQ(set.Get("Dongle"), ResourceSet::FromDouble(3));
  EXPECT_EQ(set.Get("CPU_"), 0);
  const std::vector<ResourceSet::Entry> entries = set.entries();
  std::vector<std::string> names;
  for (const auto& [name, amount] : entries) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"CPU", "Dongle", "GPU", "zeta"}));
  EXPECT_EQ(set.size(), names.size());
}

TEST(ResourceSetTest, WhatBecomesZeroIsGone) {
  ResourceSet set = Resources({{"CPU", 1}, {"custom", 1}});
  set.Subtract(Resources({{"custom", 1}}));
  EXPECT_EQ(set, Resources({{"CPU", 1}}));
  set.Set("CPU", 0);
  EXPECT_TRUE(set.Empty());
  EXPECT_EQ(set.size(), 0u);
}

TEST(ResourceSetTest, CoversWhatIsAskedForOnly) {
  ResourceSet available = Resources({{"GPU", 1}, {"custom", 1}});
  available.Subtract(Resources({{"CPU", 1}}));  // a blocked task has taken it back
  EXPECT_TRUE(available.Covers(Resources({{"GPU", 1}, {"custom", 0.5}})));
  EXPECT_TRUE(available.Covers(ResourceSet()));
  EXPECT_FALSE(available.Covers(Resources({{"CPU", 0.5}})));
  EXPECT_FALSE(available.Covers(Resources({{"custom", 2}})));
  EXPECT_FALSE(available.Covers(Resources({{"other", 1}})));
}

TEST(ResourceSetTest, WhatIsLackingIsWhatHoldersCanHelpWith) {
  const ResourceSet available = Resources({{"CPU", 1}, {"custom", 1}});
  const ResourceSet lacking = available.Lacking(Resources({{"CPU", 4}, {"custom", 1}, {"other", 2}}));
  EXPECT_EQ(lacking, Resources({{"CPU", 3}, {"other", 2}}));
  EXPECT_TRUE(Resources({{"CPU", 1}}).Overlaps(lacking));
  EXPECT_TRUE(Resources({{"other", 1}}).Overlaps(lacking));
  EXPECT_FALSE(Resources({{"custom", 1}, {"memory", 1}}).Overlaps(lacking));
}

}  // namespace
}  // namespace ray_engine
