// Clock: nanoseconds of the monotonic clock, the one time the engine measures with.

#pragma once

#include <time.h>

#include <cstdint>

namespace ray_engine {

inline std::int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

inline constexpr std::int64_t kNever = INT64_MAX;

}  // namespace ray_engine
