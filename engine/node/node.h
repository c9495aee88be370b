// Node: one node of a session as its engine sees it: its services, and what becomes of them when other nodes come and
// go. The head's node has the membership and the services of the session besides.
//
// It decides and never waits: time, shared memory, sockets and processes are what it stands on (Ground), in the program
// the NodeEngine's.
//
// Loop-bound.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/node/fabric_link.h"
#include "engine/node/head_service.h"
#include "engine/node/heartbeats.h"
#include "engine/node/job_cache.h"
#include "engine/node/loop.h"
#include "engine/node/membership.h"
#include "engine/node/processes.h"
#include "engine/node/router.h"
#include "engine/node/store_service.h"
#include "engine/node/worker_service.h"

namespace ray_engine {

class Node {
 public:
  struct Ground {
    Loop* loop;
    Router* router;
    FabricLink* fabric;
    NodeLinks* links;
    WorkerStarter* starter;
    const Segment* store;
    std::unique_ptr<SpillDisk> disk;
  };
  // What the program around the node is told. All are required.
  struct Host {
    std::function<void(const std::string& reason)> abandon;  // the node is shut out, or alone: it must end at once
    std::function<void()> on_welcome;                        // a member: the head has let it in
    std::function<void()> on_change;                         // the head: a node has come or gone
    std::function<void(std::uint32_t node, const std::string& text)> on_node_gone;  // the head
  };

  // Registers its messages at the router, whose self() must be known. What the ground points to must outlive the node.
  Node(Ground ground, Host host, NodeInfo info);
  // Joins the session, or begins it. REQUIRES: once.
  void Begin(const Introduce& introduce, Heartbeats::Pace pace);

  // Another node cannot be reached, or has ended.
  void OnNodeLost(std::uint32_t node, const std::string& reason);

  Processes& processes() { return processes_; }
  WorkerService& workers() { return workers_; }
  StoreService& objects() { return objects_; }
  // Null but at the head.
  HeadService* head() { return head_ ? &*head_ : nullptr; }
  Membership* membership() { return membership_ ? &*membership_ : nullptr; }

 private:
  void BeHead(const Introduce& introduce, Heartbeats::Pace pace);
  void BeMember(const Introduce& introduce);
  void HandleWelcome(const NodeWelcome& welcome);
  void HandlePeers(const NodePeers& peers);
  void HandleJoined(std::uint32_t node, Heartbeats::Pace pace);
  void HandleGone(std::uint32_t node, const std::string& text);
  void Forget(std::uint32_t node, const std::string& reason);
  void BeginHeartbeats(Heartbeats::Pace pace);

  Loop* loop_;
  Router* router_;
  FabricLink* fabric_;
  Host host_;
  const NodeInfo info_;
  Processes processes_;
  JobCache jobs_;
  WorkerService workers_;
  StoreService objects_;
  std::optional<Heartbeats> heartbeats_;
  std::optional<HeadService> head_;
  std::optional<Membership> membership_;
};

}  // namespace ray_engine
