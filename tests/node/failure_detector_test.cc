#include "engine/node/failure_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(FailureDetectorTest, ANodeIsSilentAfterSoManyTicksInARow) {
  FailureDetector detector(3);
  detector.Watch(1);
  EXPECT_THAT(detector.OnTick(), IsEmpty()) << "it has only just come";
  EXPECT_THAT(detector.OnTick(), IsEmpty());
  EXPECT_THAT(detector.OnTick(), IsEmpty());
  EXPECT_THAT(detector.OnTick(), ElementsAre(1));
  EXPECT_THAT(detector.OnTick(), IsEmpty()) << "told once";
}

TEST(FailureDetectorTest, OneSignOfLifeIsEnough) {
  FailureDetector detector(2);
  detector.Watch(1);
  detector.Watch(2);
  for (int i = 0; i < 10; ++i) {
    detector.OnHeard(1);
    const auto silent = detector.OnTick();
    EXPECT_EQ(silent.size(), i == 2 ? 1u : 0u) << i;
  }
  EXPECT_THAT(detector.Watched(), ElementsAre(1));
}

TEST(FailureDetectorTest, NobodyAsksForThoseThatHaveLeft) {
  FailureDetector detector(1);
  detector.Watch(1);
  detector.Forget(1);
  detector.OnHeard(1);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(detector.OnTick(), IsEmpty());
}

TEST(FailureDetectorTest, WatchingAgainIsNoSignOfLife) {
  FailureDetector detector(1);
  detector.Watch(1);
  detector.OnTick();
  detector.Watch(1);
  EXPECT_THAT(detector.OnTick(), ElementsAre(1));
}

}  // namespace
}  // namespace ray_engine
