// NodeState: what this node tells people about its store, its network, its processes, their tasks and the objects they
// hold.
//
// Answers StateCollect of the head. Tasks and references only the processes know, so every one of the node is asked.
//
// Loop-bound.

#pragma once

#include "engine/node/fabric_link.h"
#include "engine/node/gather.h"
#include "engine/node/node_config.h"
#include "engine/node/process_links.h"
#include "engine/node/processes.h"
#include "engine/node/router.h"
#include "engine/node/store_service.h"

namespace ray_engine {

class NodeState {
 public:
  // Registers its messages at the router. The pointers must outlive this.
  NodeState(Router* router, Processes* processes, const StoreService* store, const FabricLink* fabric,
            const ProcessLinks* links, const NodeConfig* config);

 private:
  void HandleCollect(const StateCollect& collect);
  StoreInfo DescribeStore() const;
  void AskProcesses(const StateCollect& collect);
  std::vector<WorkerInfo> Workers() const;
  WorkerInfo Describe(const Process& process) const;

  Router* router_;
  Processes* processes_;
  const StoreService* store_;
  const FabricLink* fabric_;
  const ProcessLinks* links_;
  const NodeConfig* config_;
  Gather<StateRows> reports_;
};

}  // namespace ray_engine
