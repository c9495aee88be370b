#include "objectstore/pull_server.h"

#include <algorithm>

namespace ray_engine {

ServeActions PullServer::OnPullRequest(std::uint32_t node, const ObjectId& object) {
  ServeActions actions;
  absl::StatusOr<Store::Location> location = store_->Pin(object, self_);
  if (!location.ok()) {
    actions.refusals.push_back({node, object, std::string(location.status().message())});
    return actions;
  }
  Peer& peer = peers_[node];
  peer.transfers.push_back({object, *location});
  Fill(node, &peer, &actions);
  Reap(node);
  return actions;
}

void PullServer::Fill(std::uint32_t node, Peer* peer, ServeActions* actions) {
  for (Transfer& transfer : peer->transfers) {
    while (transfer.next < transfer.location.size) {
      if (peer->under_way == window_) return;
      const std::uint64_t size = std::min(kPullChunk, transfer.location.size - transfer.next);
      const BulkChunk chunk{transfer.object, transfer.next, size, transfer.location.size};
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
  const auto transfer = std::find_if(peer.transfers.begin(), peer.transfers.end(),
                                     [&](const Transfer& candidate) { return candidate.object == chunk.object; });
  --transfer->under_way;
  --peer.under_way;
  Fill(node, &peer, &actions);
  Reap(node);
  return actions;
}

void PullServer::OnNodeLost(std::uint32_t node) {
  const auto peer = peers_.find(node);
  if (peer == peers_.end()) return;
  for (Transfer& transfer : peer->second.transfers) transfer.next = transfer.location.size;
  Reap(node);
}

// Unpins what has left completely.
void PullServer::Reap(std::uint32_t node) {
  const auto peer = peers_.find(node);
  std::deque<Transfer>& transfers = peer->second.transfers;
  for (auto transfer = transfers.begin(); transfer != transfers.end();) {
    const bool ended = transfer->under_way == 0 && transfer->next == transfer->location.size;
    if (ended) store_->Unpin(transfer->object, self_);
    transfer = ended ? transfers.erase(transfer) : transfer + 1;
  }
  if (transfers.empty()) peers_.erase(peer);
}

std::size_t PullServer::transfers() const {
  std::size_t count = 0;
  for (const auto& [node, peer] : peers_) count += peer.transfers.size();
  return count;
}

}  // namespace ray_engine
