#include "engine/node/membership.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace ray_engine {
namespace {

// 16 random bytes; the launcher of a session that may grow gives none.
std::string NewSecret() { return std::string(ActorId::Random().Binary()); }

}  // namespace

Membership::Membership(Router* router, FabricLink* fabric, HeadService* head, Processes* processes,
                       Introduce introduced)
    : router_(router),
      fabric_(fabric),
      head_(head),
      processes_(processes),
      introduced_(std::move(introduced)),
      launched_(introduced_.node_count),
      next_index_(introduced_.node_count) {
  router_->On<NodeJoin>([this](ProcessId from, const NodeJoin& join) {
    if (from == ProcessId{join.node.index, 0}) HandleJoin(join);
  });
  router_->On<NodeLeave>([this](ProcessId from, const NodeLeave& leave) {
    if (from.IsEngine()) Gone(leave.index, leave.reason, leave.in_order);
  });
}

void Membership::AddSelf(const NodeInfo& node) {
  joined_[node.index] = "";
  head_->OnNodeJoined(node);
  on_change_();
}

absl::StatusOr<Introduce> Membership::Admit(const std::string& fabric_address) {
  const bool first = fabric_->Address().empty();
  if (absl::Status status = fabric_->Open(); !status.ok()) return status;
  if (first) {
    if (introduced_.secret.empty()) introduced_.secret = NewSecret();
    fabric_->Introduce(router_->self().node, introduced_.secret);
  }
  Introduce introduce = introduced_;
  introduce.index = next_index_++;
  introduce.node_count = next_index_;
  introduce.head_fabric_address = fabric_->Address();
  if (absl::Status status = fabric_->AddNode(introduce.index, fabric_address); !status.ok()) return status;
  return introduce;
}

void Membership::HandleJoin(const NodeJoin& join) {
  const std::uint32_t index = join.node.index;
  if (lost_.count(index) != 0 || !joined_.emplace(index, join.fabric_address).second) return;
  names_[index] = fmt::format("node {} ({})", index, join.node.name);
  if (absl::Status status = fabric_->AddNode(index, join.fabric_address); !status.ok()) {
    spdlog::error("cannot reach {}: {}", names_[index], std::string(status.message()));
  }
  head_->OnNodeJoined(join.node);
  Announce();
  on_joined_(index);
  on_change_();
}

void Membership::Announce() {
  NodePeers peers;
  for (const auto& [index, address] : joined_) {
    if (index != router_->self().node) peers.addresses.emplace_back(index, address);
  }
  peers.gone.assign(lost_.begin(), lost_.end());
  for (const std::uint32_t other : Others()) router_->Send(ProcessId{other, 0}, peers);
}

void Membership::Gone(std::uint32_t node, const std::string& reason, bool in_order) {
  if (node == router_->self().node || !lost_.insert(node).second) return;
  const auto known = names_.find(node);
  const std::string name = known == names_.end() ? fmt::format("node {}", node) : known->second;
  const std::string text = fmt::format("{} {}: {}", name, in_order ? "has left" : "is lost", reason);
  if (!in_order) spdlog::warn("{}; the session goes on without it", text);
  const bool was_here = joined_.erase(node) != 0;
  router_->Send(ProcessId{node, 0}, NodeLeave{node, text}, true);  // should it live
  fabric_->RemoveNode(node);
  Announce();
  processes_->EndNode(node, text);
  if (was_here) head_->OnNodeLost(node, text);
  on_gone_(node, text);
  on_change_();
}

void Membership::GiveUpMissing(const std::string& reason) {
  for (std::uint32_t node = 0; node < launched_; ++node) {
    if (joined_.count(node) == 0) Lost(node, reason);
  }
}

bool Membership::Complete() const {
  for (std::uint32_t node = 0; node < launched_; ++node) {
    if (joined_.count(node) == 0 && lost_.count(node) == 0) return false;
  }
  return true;
}

std::set<std::uint32_t> Membership::Others() const {
  std::set<std::uint32_t> others;
  for (const auto& [index, address] : joined_) others.insert(others.end(), index);
  others.erase(router_->self().node);
  return others;
}

}  // namespace ray_engine
