// Loop: what the services of an engine ask of the thread they run in: the time, a call later on, and to be told when a
// descriptor can be read. In the program that is the EventLoop; a simulation has a time of its own.
//
// Loop-bound.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace ray_engine {

class Loop {
 public:
  using Time = std::chrono::nanoseconds;  // since an arbitrary start
  using Handler = std::function<void(std::uint32_t events)>;

  virtual ~Loop() = default;
  virtual Time Now() const = 0;
  virtual void After(Time delay, std::function<void()> task) = 0;
  virtual void Watch(int fd, Handler handler) = 0;
  virtual void Unwatch(int fd) = 0;
  // A descriptor of a source: it ends the loop's sleep, the source's Poll() does the work.
  void WatchWake(int fd) { Watch(fd, nullptr); }
};

}  // namespace ray_engine
