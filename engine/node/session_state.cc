#include "engine/node/session_state.h"

#include <utility>

namespace ray_engine {

SessionState::SessionState(Router* router, const HeadService* head) : router_(router), head_(head) {
  router_->On<StateRequest>([this](ProcessId from, const StateRequest& request) { HandleRequest(from, request); });
  router_->On<StateCollected>([this](ProcessId from, const StateCollected& collected) {
    collected_.OnAnswer(collected.round, from, collected.rows);
  });
}

void SessionState::HandleRequest(ProcessId from, const StateRequest& request) {
  StateReply reply{request.token, {}};
  switch (request.kind) {
    case StateKind::kActors:
      reply.rows.actors = head_->actors().List();
      break;
    case StateKind::kJobs:
      reply.rows.jobs = head_->Jobs();
      break;
    case StateKind::kDemands:
      reply.rows.demands = head_->scheduler().Demands();
      break;
    case StateKind::kWorkers:
    case StateKind::kTasks:
    case StateKind::kReferences:
    case StateKind::kStores:
    case StateKind::kSpilled:
      return Collect(from, request);
  }
  router_->Send(from, reply, true);
}

void SessionState::Collect(ProcessId from, const StateRequest& request) {
  const absl::btree_set<ProcessId> engines = head_->scheduler().cluster().Engines();
  const auto done = [this, from, token = request.token](std::vector<StateRows> answers) {
    StateReply reply{token, {}};
    for (StateRows& rows : answers) reply.rows.Append(std::move(rows));
    router_->Send(from, reply, true);
  };
  const std::uint64_t round = collected_.Begin(engines, done);
  for (const ProcessId engine : engines) router_->Send(engine, StateCollect{round, request.kind}, true);
}

}  // namespace ray_engine
