// Simulated fabric: any number of nodes in one process, for tests.
//
// Every attached node has an inbox; Progress() of a node handles what lay in its inbox when it was called, in the order
// sent. Nothing else moves, so a run is the same every time. A node is connected to another from its first Send on, as
// with the real fabric.
//
// Thread-compatible: network and fabrics belong to one thread.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "engine/transport/fabric.h"

namespace ray_engine {

class SimFabric;

class SimNetwork {
 public:
  // The network must outlive the fabric.
  std::unique_ptr<Fabric> Attach(FabricHandler* handler);

  // The node falls silent: what it sent and has not arrived is lost, and those connected to it are told.
  void Drop(std::uint32_t node, const std::string& reason);

  // Runs Progress() of all nodes until nothing moves.
  void Settle();

 private:
  friend class SimFabric;
  SimFabric* Find(const std::string& address) const;

  std::map<std::string, SimFabric*> fabrics_;  // by address
  std::uint64_t attached_ = 0;
};

}  // namespace ray_engine
