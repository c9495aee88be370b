// Fabric settings: which of the machine's networks UCX uses, decided without UCX.
//
// Separate from the fabric itself so that the supervisor, which does not link UCX, can prepare the engine's
// environment. Whatever the user has set as UCX_* in the environment wins.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ray_engine {

using Settings = std::vector<std::pair<std::string, std::string>>;

// What the fabric tells UCX at start, without the UCX_ prefix. Virtual nodes of one machine talk TCP over the loopback
// interface. Where an RDMA device is up UCX chooses among those. Elsewhere it is TCP over `interface`, or over one
// chosen here if that is empty; UCX alone would listen on all of them.
Settings FabricSettings(bool virtual_nodes, const std::string& interface);

// Variables that must be in the engine's environment before exec, because UCX reads them when it is loaded. Those that
// are set already are left out.
Settings FabricEnvironment();

struct InterfaceFacts {
  std::string name;
  bool loopback = false, physical = false;
  std::int64_t megabits = 0;  // 0: unknown
};
// The fastest physical interface; among equals that of the default route. Without a physical one that of the default
// route, else any, else lo. `interfaces`: those that are up and have an address.
std::string ChooseInterface(const std::vector<InterfaceFacts>& interfaces, const std::string& default_route);
// The one of this machine.
std::string MachineInterface();

}  // namespace ray_engine
