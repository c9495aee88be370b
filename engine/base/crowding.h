// Crowding: whether other programs want this thread's CPU.
//
// Who yields while it spins loses a time slice of milliseconds to a program that computes beside; who sleeps is run
// soon after it is woken. So while yields take long, waits sleep at once.
//
// Thread-compatible.

#pragma once

#include <sched.h>

#include <cstdint>

#include "engine/base/clock.h"

namespace ray_engine {

class Crowding {
 public:
  // Gives the CPU to whoever wants it.
  void Yield() {
    const std::int64_t start = NowNs();
    sched_yield();
    if (const std::int64_t end = NowNs(); end - start > kLongNs) until_ns_ = end + kStaysForNs;
  }
  // A yield has taken long a while ago.
  bool IsCrowded(std::int64_t now_ns) const { return now_ns < until_ns_; }

 private:
  static constexpr std::int64_t kLongNs = 2'000'000, kStaysForNs = 10'000'000;
  std::int64_t until_ns_ = 0;
};

}  // namespace ray_engine
