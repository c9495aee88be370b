// SessionState: answers what people ask about the actors, jobs, workers, tasks, references, waiting demands and stores
// of the session. Lives on the head.
//
// The head knows actors, jobs and demands itself; the rest is collected from all nodes (engine/node/node_state.h). A
// node that is lost meanwhile is left out of the answer.
//
// Loop-bound (head loop).

#pragma once

#include "engine/node/gather.h"
#include "engine/node/head_service.h"
#include "engine/node/router.h"

namespace ray_engine {

class SessionState {
 public:
  // Registers its messages at the router. The pointers must outlive this.
  SessionState(Router* router, const HeadService* head);

  void OnNodeLost(std::uint32_t node) { collected_.OnGone(ProcessId{node, 0}); }

 private:
  void HandleRequest(ProcessId from, const StateRequest& request);
  void Collect(ProcessId from, const StateRequest& request);

  Router* router_;
  const HeadService* head_;
  Gather<StateRows> collected_;
};

}  // namespace ray_engine
