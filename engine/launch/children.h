// Children: the command lines and environments of the processes that a supervisor starts.
//
// None of them sees the launcher's variables, and all but the driver leave the terminal. Pure.

#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "engine/base/options.h"
#include "engine/base/process.h"
#include "engine/launch/allocation.h"
#include "engine/launch/installation.h"

namespace ray_engine {

// What is known of this rank's node when its processes are started.
struct NodePlan {
  std::string session, socket;
  std::string python;  // path of the interpreter
  bool head = false;
  bool virtual_nodes = false;  // other nodes share this machine
  bool fabric = false;         // there are, or may be, nodes elsewhere from the start
  bool in_launch = true;       // by ray-engine; false: by a program's ray.init()
  Offer offer;
};

// The children's ends of the sockets between them; -1 where there is none.
struct ChildEnds {
  int control = -1, engine_forkserver = -1, engine_driver = -1, forkserver = -1, driver = -1;
};

// `environment` is that of this process.
SpawnRequest EngineRequest(const Options& options, const Installation& installation, const NodePlan& plan,
                           const ChildEnds& ends, const Environment& environment);
SpawnRequest ForkserverRequest(const Installation& installation, const NodePlan& plan, const ChildEnds& ends,
                               const Environment& environment);
// The Python program that puts a question to a running session: `words` are the question and its arguments.
absl::StatusOr<SpawnRequest> QuestionRequest(const std::vector<std::string>& words, const Installation& installation,
                                             const Options& options, const Environment& environment);
SpawnRequest DriverRequest(const std::vector<std::string>& program, const Installation& installation,
                           const NodePlan& plan, const ChildEnds& ends, const Environment& environment);

}  // namespace ray_engine
