// Heartbeats: the signs of life between the head and the other engines.
//
// Once per interval the head sends each of them a Heartbeat, which comes back at once, so that the answers are there
// together and a quiet head wakes up once. Who has not answered for the limit is silent; to an engine that hears none,
// the head is. As the head counts from an answer to its own beat, an engine that is cut off gives up first.
//
// Loop-bound.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "engine/node/failure_detector.h"
#include "engine/node/loop.h"
#include "engine/node/router.h"

namespace ray_engine {

class Heartbeats {
 public:
  struct Pace {
    std::chrono::milliseconds interval{1000}, limit{5000};
  };
  using OnSilent = std::function<void(std::uint32_t node, const std::string& reason)>;

  // Registers its message at the router, and begins to tick. The pointers must outlive this.
  Heartbeats(Loop* loop, Router* router, Pace pace, OnSilent on_silent);

  void Watch(std::uint32_t node) { detector_.Watch(node); }
  void Forget(std::uint32_t node) { detector_.Forget(node); }

 private:
  void HandleHeartbeat(ProcessId from, const Heartbeat& beat);
  void Tick();

  Loop* loop_;
  Router* router_;
  Pace pace_;
  OnSilent on_silent_;
  FailureDetector detector_;
  std::uint64_t beat_ = 0;
};

}  // namespace ray_engine
