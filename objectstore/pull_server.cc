#include "objectstore/pull_server.h"

#include <absl/algorithm/container.h>

#include <algorithm>

namespace ray_engine {

ServeActions PullServer::OnPullRequest(std::uint32_t node, const ObjectId& object, std::uint64_t from, bool direct) {
  ServeActions actions;
  if (const std::optional<std::uint32_t> next = direct ? std::nullopt : JoinChain(node, object)) {
    actions.elsewheres.push_back({node, object, *next});
    ++sent_on_;
    return actions;
  }
  const absl::StatusOr<Store::Location> location = store_->PinWhileWriting(object, self_);
  if (!location.ok()) {
    actions.refusals.push_back({node, object, std::string(location.status().message())});
    ++refused_;
    return actions;
  }
  Chain& chain = chains_[object];
  chain.size = location->size;
  ++chain.transfers;
  if (absl::c_find(chain.nodes, node) == chain.nodes.end()) chain.nodes.push_back(node);
  Peer& peer = peers_[node];
  peer.transfers.push_back({object, *location, std::min(from, location->size)});
  Fill(node, &peer, &actions);
  Reap(node);
  return actions;
}

// Whom the node shall ask instead. A node that is in the chain already never gets another place: the one it would be
// sent to might be waiting for it.
std::optional<std::uint32_t> PullServer::JoinChain(std::uint32_t node, const ObjectId& object) {
  const auto found = chains_.find(object);
  if (found == chains_.end() || found->second.size < kChainMinimum) return std::nullopt;
  std::vector<std::uint32_t>& nodes = found->second.nodes;
  if (nodes.empty() || absl::c_find(nodes, node) != nodes.end()) return std::nullopt;
  const std::uint32_t last = nodes.back();
  nodes.push_back(node);
  return last;
}

void PullServer::Fill(std::uint32_t node, Peer* peer, ServeActions* actions) {
  for (Transfer& transfer : peer->transfers) {
    const std::uint64_t total = transfer.location.size, written = store_->Written(transfer.object);
    while (transfer.next < total) {
      const std::uint64_t size = std::min(kPullChunk, total - transfer.next);
      if (transfer.next + size > written) break;
      if (peer->under_way == window_) return;
      const BulkChunk chunk{transfer.object, transfer.next, size, total};
      actions->chunks.push_back({node, chunk, transfer.location.offset + transfer.next});
      transfer.next += size;
      ++transfer.under_way;
      ++peer->under_way;
    }
  }
}

ServeActions PullServer::OnChunkSent(std::uint32_t node, const BulkChunk& chunk) {
  ServeActions actions;
  Peer& peer = peers_.find(node)->second;
  // Of several transfers of one object it may be another's chunk; they share the pin, so only the sum matters.
  const auto transfer = std::find_if(peer.transfers.begin(), peer.transfers.end(), [&](const Transfer& candidate) {
    return candidate.object == chunk.object && candidate.under_way > 0;
  });
  --transfer->under_way;
  --peer.under_way;
  Fill(node, &peer, &actions);
  Reap(node);
  return actions;
}

ServeActions PullServer::OnMoreWritten(const ObjectId& object) {
  ServeActions actions;
  if (!chains_.contains(object)) return actions;
  for (auto& [node, peer] : peers_) Fill(node, &peer, &actions);
  return actions;
}

ServeActions PullServer::OnAborted(const ObjectId& object) {
  ServeActions actions;
  if (!chains_.contains(object)) return actions;
  std::vector<std::uint32_t> concerned;
  for (auto& [node, peer] : peers_) {
    const bool sending = std::any_of(peer.transfers.begin(), peer.transfers.end(), [&](const Transfer& transfer) {
      return transfer.object == object && transfer.next < transfer.location.size;
    });
    if (!sending) continue;
    concerned.push_back(node);
    EndTransfers(&peer, object);
    actions.refusals.push_back({node, object, "the transfer was given up on the way"});
  }
  for (const std::uint32_t node : concerned) Reap(node);
  return actions;
}

void PullServer::OnPullCancel(std::uint32_t node, const ObjectId& object) {
  const auto peer = peers_.find(node);
  if (peer == peers_.end()) return;
  EndTransfers(&peer->second, object);
  Reap(node);
}

void PullServer::OnNodeLost(std::uint32_t node) {
  for (auto& [object, chain] : chains_) {
    chain.nodes.erase(std::remove(chain.nodes.begin(), chain.nodes.end(), node), chain.nodes.end());
  }
  const auto peer = peers_.find(node);
  if (peer == peers_.end()) return;
  for (Transfer& transfer : peer->second.transfers) GiveUp(&transfer);
  Reap(node);
}

void PullServer::GiveUp(Transfer* transfer) {
  transfer->given_up |= transfer->next < transfer->location.size || transfer->under_way > 0;
  transfer->next = transfer->location.size;
}

// Sends no more of it; what is under way comes back.
void PullServer::EndTransfers(Peer* peer, const ObjectId& object) {
  for (Transfer& transfer : peer->transfers) {
    if (transfer.object == object) GiveUp(&transfer);
  }
}

// Unpins what has left completely.
void PullServer::Reap(std::uint32_t node) {
  const auto peer = peers_.find(node);
  std::deque<Transfer>& transfers = peer->second.transfers;
  for (auto transfer = transfers.begin(); transfer != transfers.end();) {
    const bool ended = transfer->under_way == 0 && transfer->next == transfer->location.size;
    if (ended) {
      LeaveChain(transfer->object);
      served_objects_ += !transfer->given_up;
      store_->Unpin(transfer->object, self_);
    }
    transfer = ended ? transfers.erase(transfer) : transfer + 1;
  }
  if (transfers.empty()) peers_.erase(peer);
}

void PullServer::LeaveChain(const ObjectId& object) {
  const auto chain = chains_.find(object);
  if (--chain->second.transfers == 0) chains_.erase(chain);
}

ServeStats PullServer::Stats() const { return {transfers(), chains_.size(), served_objects_, sent_on_, refused_}; }

std::size_t PullServer::transfers() const {
  std::size_t count = 0;
  for (const auto& [node, peer] : peers_) count += peer.transfers.size();
  return count;
}

}  // namespace ray_engine
