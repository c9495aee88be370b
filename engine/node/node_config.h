// NodeConfig: what this engine was started with, and who it is.
//
// Immutable after start, but for the index, which the bootstrap gives.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/options.h"
#include "engine/base/resources.h"
#include "engine/node/heartbeats.h"
#include "engine/wire/messages.h"

namespace ray_engine {

struct NodeConfig {
  int control_fd = -1, forkserver_fd = -1, driver_fd = -1;
  bool head = false;
  bool virtual_nodes = false;  // other nodes share this machine
  bool fabric = false;         // there are other nodes from the start
  std::string session, socket, join, log_dir;
  double forkserver_cpus = 1;
  Heartbeats::Pace heartbeat;
  std::uint64_t store_bytes = 0;
  std::string spill_directory;
  std::optional<std::uint64_t> spill_limit;                                  // bytes; 0: nothing is spilled
  std::vector<std::pair<std::string, std::string>> accelerator_environment;  // the variables that say which it sees
  NodeInfo info;  // as the head will know this node; its index comes later
};

NodeConfig ConfigOf(const Options& options);

// The address by which people know this machine: that of the default route's interface, else of any, else 127.0.0.1.
std::string MachineAddress();

}  // namespace ray_engine
