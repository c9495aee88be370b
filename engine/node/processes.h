// Processes: the birth, the acquaintances and the death of the processes of this node.
//
// Admits workers and drivers (number, link), brokers links between them, and tells of the dead: those that had
// a link with them, those that watch them, here and on other nodes, and always the head. Whoever else in the engine has
// to know listens with OnEnded.
//
// Owns the table of processes. Loop-bound.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/node/link_broker.h"
#include "engine/node/process_table.h"
#include "engine/node/router.h"
#include "engine/node/watch_table.h"

namespace ray_engine {

class Processes {
 public:
  // Registers its messages at the router. All pointers must outlive this.
  Processes(Router* router, NodeLinks* links);

  // A new process with its link, or nullptr if there is no room for more.
  Process* Admit(Process::Kind kind);

  // The process has died or left. No effect if that is known already.
  void End(std::uint32_t serial, const std::string& cause);
  // Called once for each process that has died, when everybody else has been told.
  void OnEnded(std::function<void(const Process&, const std::string& cause)> listener) {
    on_ended_.push_back(std::move(listener));
  }
  // A process of this node says it is ready (or, a worker that was asked to end, that it stays).
  void OnReady(std::function<void(Process*)> listener) { on_ready_.push_back(std::move(listener)); }
  // Every death this engine hears of: on the head all of the session, elsewhere those it watches.
  void OnGone(std::function<void(ProcessId, const std::string& cause)> listener) {
    on_gone_.push_back(std::move(listener));
  }

  // Another node is lost with all its processes.
  void EndNode(std::uint32_t node, const std::string& reason);

  ProcessTable& table() { return table_; }
  // For people: "worker 0/3 (pid 4711)".
  std::string NameOf(ProcessId process);
  ProcessId IdOf(std::uint32_t serial) const { return {router_->self().node, serial}; }

 private:
  void HandleReady(ProcessId from, const Ready& ready);
  void HandleWatch(ProcessId from, const Watch& watch);
  void HandleLinkRequest(ProcessId from, const LinkRequest& request);
  void Tell(ProcessId whom, ProcessId gone, const std::string& cause);
  void HandleGone(ProcessId gone, const std::string& cause);
  bool Lives(ProcessId process);
  std::string CauseOf(ProcessId process) const;
  LinkBroker& broker();

  Router* router_;
  NodeLinks* links_;
  ProcessTable table_;
  std::optional<LinkBroker> broker_;
  WatchTable watches_;
  std::map<std::uint32_t, std::string> lost_nodes_;  // -> reason
  std::vector<std::function<void(const Process&, const std::string&)>> on_ended_;
  std::vector<std::function<void(Process*)>> on_ready_;
  std::vector<std::function<void(ProcessId, const std::string&)>> on_gone_;
};

}  // namespace ray_engine
