#include "engine/node/node.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

namespace ray_engine {
namespace {

constexpr auto kJoinPatience = std::chrono::seconds(60);  // for nodes whose engines were up before the introduction

}  // namespace

Node::Node(Ground ground, Host host, NodeInfo info)
    : loop_(ground.loop),
      router_(ground.router),
      fabric_(ground.fabric),
      host_(std::move(host)),
      info_(std::move(info)),
      processes_(router_, ground.links),
      jobs_(router_),
      workers_(loop_, router_, &processes_, &jobs_, ground.starter, info_.id),
      objects_(loop_, router_, ground.store, std::move(ground.disk)) {
  objects_.NameBy([this](ProcessId process) { return processes_.NameOf(process); });
  processes_.OnEnded(
      [this](const Process& process, const std::string&) { objects_.OnClientGone(processes_.IdOf(process.serial)); });
  processes_.OnGone([this](ProcessId gone, const std::string&) { objects_.OnOwnerGone(gone); });
}

void Node::Begin(const Introduce& introduce, Heartbeats::Pace pace) {
  fabric_->Connect(router_, &objects_,
                   [this](std::uint32_t node, const std::string& reason) { OnNodeLost(node, reason); });
  if (!fabric_->Address().empty()) fabric_->Introduce(introduce.index, introduce.secret);
  router_->self() == kHead ? BeHead(introduce, pace) : BeMember(introduce);
}

void Node::BeHead(const Introduce& introduce, Heartbeats::Pace pace) {
  HeadService& head = head_.emplace(loop_, router_);
  head.OnJobStarted([this](const JobId& job, ProcessId driver) {
    if (driver.node == router_->self().node) workers_.Prestart(job);
  });
  processes_.OnGone([&head](ProcessId gone, const std::string& cause) { head.OnProcessGone(gone, cause); });
  Membership& membership = membership_.emplace(router_, fabric_, &head, &processes_, introduce);
  BeginHeartbeats(pace);
  membership.OnJoined([this, pace](std::uint32_t node) { HandleJoined(node, pace); });
  membership.OnGone([this](std::uint32_t node, const std::string& text) { HandleGone(node, text); });
  membership.OnChange(host_.on_change);
  loop_->After(kJoinPatience, [&membership] { membership.GiveUpMissing("it has not joined the session"); });
  membership.AddSelf(info_);
}

void Node::BeMember(const Introduce& introduce) {
  router_->OnFromHead<NodeWelcome>([this](const NodeWelcome& welcome) { HandleWelcome(welcome); });
  router_->OnFromHead<NodePeers>([this](const NodePeers& peers) { HandlePeers(peers); });
  router_->OnFromHead<NodeLeave>([this](const NodeLeave& leave) { host_.abandon("the head says: " + leave.reason); });
  router_->On<Blocked>([this](ProcessId, const Blocked& blocked) { router_->Send(kHead, blocked); });
  router_->On<Unblocked>([this](ProcessId, const Unblocked& unblocked) { router_->Send(kHead, unblocked); });
  if (absl::Status status = fabric_->AddNode(kHead.node, introduce.head_fabric_address); !status.ok()) {
    return host_.abandon("the head cannot be reached: " + std::string(status.message()));
  }
  router_->Send(kHead, NodeJoin{info_, fabric_->Address()});
}

void Node::BeginHeartbeats(Heartbeats::Pace pace) {
  heartbeats_.emplace(loop_, router_, pace,
                      [this](std::uint32_t node, const std::string& reason) { OnNodeLost(node, reason); });
}

void Node::HandleWelcome(const NodeWelcome& welcome) {
  if (heartbeats_) return;
  BeginHeartbeats({std::chrono::milliseconds(welcome.heartbeat_interval_ms),
                   std::chrono::milliseconds(welcome.heartbeat_limit_ms)});
  heartbeats_->Watch(kHead.node);
  host_.on_welcome();
}

void Node::HandleJoined(std::uint32_t node, Heartbeats::Pace pace) {
  const auto milliseconds = [](auto time) { return static_cast<std::uint32_t>(time.count()); };
  router_->Send(ProcessId{node, 0}, NodeWelcome{node, milliseconds(pace.interval), milliseconds(pace.limit)});
  heartbeats_->Watch(node);
}

void Node::HandlePeers(const NodePeers& peers) {
  for (const auto& [node, address] : peers.addresses) {
    if (node == router_->self().node) continue;
    if (absl::Status status = fabric_->AddNode(node, address); !status.ok()) {
      spdlog::error("cannot reach node {}: {}", node, std::string(status.message()));
    }
  }
  for (const std::uint32_t node : peers.gone) Forget(node, "the head has given it up");
}

// All must agree on who is lost, so the head decides. A node that it can reach and another one cannot is lost to both.
void Node::OnNodeLost(std::uint32_t node, const std::string& reason) {
  if (membership_) return membership_->Lost(node, reason);
  if (node == kHead.node) return host_.abandon("the head is lost, or has given up this node: " + reason);
  router_->Send(kHead, NodeLeave{node, fmt::format("node {} cannot reach it: {}", router_->self().node, reason)});
  Forget(node, reason);
}

// On the head: membership has decided.
void Node::HandleGone(std::uint32_t node, const std::string& text) {
  heartbeats_->Forget(node);
  objects_.OnNodeLost(node, text);
  host_.on_node_gone(node, text);
}

// On any other engine.
void Node::Forget(std::uint32_t node, const std::string& reason) {
  fabric_->RemoveNode(node);
  objects_.OnNodeLost(node, reason);
  processes_.EndNode(node, fmt::format("node {} is lost: {}", node, reason));
}

}  // namespace ray_engine
