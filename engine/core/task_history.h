// TaskHistory: the latest tasks of this process that have ended. For people who ask what has become of them.
//
// A ring of fixed size: what is added takes the place of the oldest, without an allocation.
//
// Thread-compatible (the runtime's lock).

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "engine/wire/task_spec.h"

namespace ray_engine {

struct CallOptions;

struct EndedTask {
  TaskId id, parent;
  const CallOptions* options = nullptr;
  ActorId actor;
  ProcessId process;  // that ran it; nil: none did
  std::uint32_t attempt = 0;
  bool failed = false;
  RunTime ran;
  std::string error;
};

class TaskHistory {
 public:
  static constexpr std::size_t kCapacity = 1000;

  // To be filled by the caller.
  EndedTask* Add() {
    if (tasks_.size() < kCapacity) return &tasks_.emplace_back();
    EndedTask* oldest = &tasks_[oldest_];
    oldest_ = (oldest_ + 1) % kCapacity;
    oldest->error.clear();
    return oldest;
  }
  // In no particular order.
  const std::vector<EndedTask>& tasks() const { return tasks_; }

 private:
  std::vector<EndedTask> tasks_;
  std::size_t oldest_ = 0;
};

}  // namespace ray_engine
