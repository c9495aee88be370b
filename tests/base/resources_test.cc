#include "engine/base/resources.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ray_engine
