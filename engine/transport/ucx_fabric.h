// The fabric over UCX active messages. Its .cc is the only user of ucp.h.
//
// Loop-bound, like every Fabric. UCX is used from the loop's thread only.

#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "engine/transport/fabric.h"

namespace ray_engine {

struct UcxFabricOptions {
  bool virtual_nodes = false;  // all nodes of the session are on this machine
  std::string interface;       // network interface to use where TCP is the only fabric; empty: chosen
};

// `handler` must outlive the fabric.
absl::StatusOr<std::unique_ptr<Fabric>> MakeUcxFabric(const UcxFabricOptions& options, FabricHandler* handler);

// What the fabric would be made of on this machine, for people: a few lines.
std::string DescribeFabric(const UcxFabricOptions& options);

// Version of the UCX library loaded, "1.13.1".
std::string FabricVersion();

}  // namespace ray_engine
