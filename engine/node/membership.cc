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
      needed_(introduced_.node_count),
      next_index_(introduced_.node_count) {
  router_->On<NodeJoin>([this](ProcessId, const NodeJoin& join) { HandleJoin(join); });
  router_->On<NodeLeave>([this](ProcessId, const NodeLeave& leave) { Lost(leave.index, leave.reason); });
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
  router_->Send(ProcessId{index, 0}, NodeWelcome{index});
  head_->OnNodeJoined(join.node);
  Announce();
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

void Membership::Lost(std::uint32_t node, const std::string& reason) {
  if (node == router_->self().node || !lost_.insert(node).second) return;
  const auto known = names_.find(node);
  const std::string text =
      fmt::format("{} is lost: {}", known == names_.end() ? fmt::format("node {}", node) : known->second, reason);
  const bool was_here = joined_.erase(node) != 0;
  fabric_->RemoveNode(node);
  processes_->EndNode(node, text);
  if (was_here) {
    head_->OnNodeLost(node, text);
    Announce();
  }
  if (node < needed_) on_needed_lost_(text);
  on_change_();
}

std::set<std::uint32_t> Membership::Others() const {
  std::set<std::uint32_t> others;
  for (const auto& [index, address] : joined_) others.insert(others.end(), index);
  others.erase(router_->self().node);
  return others;
}

}  // namespace ray_engine
