// Membership: which nodes the session has. The head's side of it.
//
// Nodes of the launcher bring their index; nodes that join later get the next one. Everyone learns of everyone's
// address. The loss of a node of the launcher ends the session; one that joined by itself may go, and its processes are
// gone with it.
//
// Loop-bound (head loop).

#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "engine/node/fabric_link.h"
#include "engine/node/head_service.h"
#include "engine/node/processes.h"
#include "engine/node/router.h"
#include "engine/wire/control.h"

namespace ray_engine {

class Membership {
 public:
  using OnNeededNodeLost = std::function<void(const std::string& reason)>;

  // Registers its messages at the router. The pointers must outlive this.
  Membership(Router* router, FabricLink* fabric, HeadService* head, Processes* processes, Introduce introduced);

  // The head's own node.
  void AddSelf(const NodeInfo& node);
  // A node wants to join by the head's socket: what to tell it.
  absl::StatusOr<Introduce> Admit(const std::string& fabric_address);
  // A node is lost, or has left. No effect if that is known.
  void Lost(std::uint32_t node, const std::string& reason);

  void OnNeededLost(OnNeededNodeLost listener) { on_needed_lost_ = std::move(listener); }
  // Called after each change.
  void OnChange(std::function<void()> listener) { on_change_ = std::move(listener); }
  // From now on nodes may leave.
  void Release() { needed_ = 0; }

  bool Complete() const { return joined_.size() >= introduced_.node_count; }  // all of the launcher are there
  // The others that are there.
  std::set<std::uint32_t> Others() const;

 private:
  void HandleJoin(const NodeJoin& join);
  void Announce();

  Router* router_;
  FabricLink* fabric_;
  HeadService* head_;
  Processes* processes_;
  Introduce introduced_;
  std::uint32_t needed_;  // indexes below are the launcher's
  std::uint32_t next_index_;
  std::map<std::uint32_t, std::string> joined_;  // -> fabric address
  std::map<std::uint32_t, std::string> names_;   // for people
  std::set<std::uint32_t> lost_;
  OnNeededNodeLost on_needed_lost_ = [](const std::string&) {};
  std::function<void()> on_change_ = [] {};
};

}  // namespace ray_engine
