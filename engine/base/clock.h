// Clock: nanoseconds of the monotonic clock, the one time the engine measures with; and what people call that moment.

#pragma once

#include <time.h>

#include <cstdint>

namespace ray_engine {

inline std::int64_t ReadNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}
inline std::int64_t NowNs() { return ReadNs(CLOCK_MONOTONIC); }

// A moment of the monotonic clock, in nanoseconds since 1970: by the offset of the clocks when this was first called.
inline std::int64_t UnixNs(std::int64_t monotonic_ns) {
  static const std::int64_t offset = ReadNs(CLOCK_REALTIME) - NowNs();
  return monotonic_ns + offset;
}

inline constexpr std::int64_t kNever = INT64_MAX;

}  // namespace ray_engine
