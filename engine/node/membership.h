// Membership: which nodes the session has. The head's side of it.
//
// Nodes of the launcher bring their index; nodes that join later get the next one. Everyone learns of everyone's
// address. When a node leaves or is lost, everyone is told before anything else follows from it, and shuts it out:
// should it live, it can do no harm. Its index is not given out again.
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
  // Registers its messages at the router. The pointers must outlive this.
  Membership(Router* router, FabricLink* fabric, HeadService* head, Processes* processes, Introduce introduced);

  // The head's own node.
  void AddSelf(const NodeInfo& node);
  // A node wants to join by the head's socket: what to tell it.
  absl::StatusOr<Introduce> Admit(const std::string& fabric_address);
  // A node is lost. No effect if that is known, or it has left.
  void Lost(std::uint32_t node, const std::string& reason) { Gone(node, reason, false); }
  // Gives up nodes of the launcher that have not joined.
  void GiveUpMissing(const std::string& reason);

  void OnJoined(std::function<void(std::uint32_t)> listener) { on_joined_ = std::move(listener); }
  // A node has gone, `text` says which and why.
  void OnGone(std::function<void(std::uint32_t, const std::string& text)> listener) { on_gone_ = std::move(listener); }
  // Called after each change.
  void OnChange(std::function<void()> listener) { on_change_ = std::move(listener); }

  // All nodes of the launcher have joined, or are lost.
  bool Complete() const;
  // The others that are there.
  std::set<std::uint32_t> Others() const;

 private:
  void HandleJoin(const NodeJoin& join);
  void Gone(std::uint32_t node, const std::string& reason, bool in_order);
  void Announce();

  Router* router_;
  FabricLink* fabric_;
  HeadService* head_;
  Processes* processes_;
  Introduce introduced_;
  std::uint32_t launched_;  // indexes below are the launcher's
  std::uint32_t next_index_;
  std::map<std::uint32_t, std::string> joined_;  // -> fabric address
  std::map<std::uint32_t, std::string> names_;   // for people
  std::set<std::uint32_t> lost_;
  std::function<void(std::uint32_t)> on_joined_ = [](std::uint32_t) {};
  std::function<void(std::uint32_t, const std::string&)> on_gone_ = [](std::uint32_t, const std::string&) {};
  std::function<void()> on_change_ = [] {};
};

}  // namespace ray_engine
