// EventLoop: the one thread of a node engine.
//
// It looks at its sources (rings, fabric, queued work) and descriptors, and waits like every process of a session: 100
// us of looking with a yield about every microsecond after the last event, then asleep in epoll until a descriptor or a
// timer is due. A source says how it is woken; the loop asks all of them to prepare before it sleeps, and does not
// sleep if one of them found something after its preparation.
//
// Owns the epoll descriptor only; descriptors it watches stay their owners'. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "engine/base/crowding.h"
#include "engine/node/loop.h"

namespace ray_engine {

class EventLoop : public Loop {
 public:
  using Clock = std::chrono::steady_clock;

  class Source {
   public:
    virtual ~Source() = default;
    // Does what there is to do; false if there was nothing.
    virtual bool Poll() = 0;
    // The loop is about to sleep: from now on everything new must wake it. False: something is there already.
    virtual bool PrepareToSleep() { return true; }
    virtual void AfterSleep() {}
  };

  EventLoop() = default;
  ~EventLoop() override;
  absl::Status Open();

  // The source and handler must stay alive while the loop runs. Handlers may watch and unwatch, also themselves.
  void AddSource(Source* source) { sources_.push_back(source); }
  void Watch(int fd, Handler handler) override;
  void Unwatch(int fd) override;
  // Also call the handler when the descriptor can be written. REQUIRES: it is watched.
  void WatchWritable(int fd, bool wanted);

  Time Now() const override { return Clock::now().time_since_epoch(); }
  void After(Time delay, std::function<void()> task) override;

  // Returns once Stop() was called.
  void Run();
  void Stop() { stopped_ = true; }

 private:
  bool PollSources();
  bool RunTimers();
  bool PollDescriptors(int timeout_ms);
  void WaitForWork(Clock::time_point idle_since);
  void Sleep();
  int SleepMilliseconds() const;

  int epoll_fd_ = -1;
  bool stopped_ = false;
  std::vector<Source*> sources_;
  absl::flat_hash_map<int, std::shared_ptr<Handler>> handlers_;  // to an empty one: only wakes
  std::multimap<Clock::time_point, std::function<void()>> timers_;
  Clock::time_point last_descriptor_poll_;
  Crowding crowding_;
};

}  // namespace ray_engine
