#include "objectstore/hdf5_version.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ray_engine {
namespace {

TEST(Hdf5Version, HasThreeParts) {
  const std::string version = Hdf5Version();
  EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;
}

}  // namespace
}  // namespace ray_engine
