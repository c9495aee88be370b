// PinAnswers: what those are told who wait for an object, be it to come from another node or from disk.
//
// Immutable layout; part of the actions of the pull manager and the spill manager.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "objectstore/store.h"

namespace ray_engine {

struct PinAnswers {
  struct Pinned {  // tell `client` (StorePinned); the pin is taken already
    ProcessId client;
    std::uint64_t token = 0;
    ObjectId object;
    Store::Location location;
  };
  struct Failed {  // tell `client` (StorePinned with error)
    ProcessId client;
    std::uint64_t token = 0;
    ObjectId object;
    std::string error;
    bool full = false;  // for want of memory
  };
  std::vector<Pinned> pinned;
  std::vector<Failed> failed;
};

}  // namespace ray_engine
