// Steps per second of CPU time of one thread, for the programs that measure how the cost of state machines grows.

#pragma once

#include <cstdint>
#include <ctime>

namespace ray_engine {

inline double CpuSeconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

// Calls `step` for a second of CPU time; calls per second.
template <class Step>
double Rate(Step step) {
  constexpr double kSeconds = 1.0;
  const double from = CpuSeconds();
  double seconds = 0;
  std::uint64_t steps = 0;
  for (; seconds < kSeconds; seconds = CpuSeconds() - from) {
    for (int i = 0; i < 64; ++i, ++steps) step();
  }
  return static_cast<double>(steps) / seconds;
}

}  // namespace ray_engine
