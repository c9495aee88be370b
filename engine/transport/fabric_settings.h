// Fabric settings: which of the machine's networks UCX uses, decided without UCX.
//
// Separate from the fabric itself so that the supervisor, which does not link UCX, can prepare the engine's environment.
// Whatever the user has set as UCX_* in the environment wins.
//
// Thread-compatible.

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ray_engine {

using Settings = std::vector<std::pair<std::string, std::string>>;

// What the fabric tells UCX at start, without the UCX_ prefix: virtual nodes of one machine talk TCP over the loopback
// interface; where there is no RDMA device UCX is held to `interface`, or to one interface chosen here if that is empty;
// where there is one UCX chooses by itself.
Settings FabricSettings(bool virtual_nodes, const std::string& interface);

// Variables that must be in the engine's environment before exec, because UCX reads them when it is loaded. Those that are
// set already are left out.
Settings FabricEnvironment(bool virtual_nodes);

// The interface of the default route, else a physical one that is up, else any that is up, else lo.
std::string ChooseInterface();

// The same decision on given facts.
struct InterfaceFacts {
  std::string name;
  bool up = false, loopback = false, physical = false;
};
std::string ChooseInterface(const std::vector<InterfaceFacts>& interfaces, const std::string& default_route);

}  // namespace ray_engine
