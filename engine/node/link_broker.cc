#include "engine/node/link_broker.h"

namespace ray_engine {

std::vector<LinkBroker::Grant> LinkBroker::OnRequest(std::uint32_t from, std::uint32_t peer) {
  const Pair pair = PairOf(from, peer);
  const auto known = links_.find(pair);
  if (known != links_.end()) return {GrantTo(from, peer, known->second.offset)};
  LinkState link;
  link.offset = allocator_->Allocate(pair.first, pair.second);
  links_[pair] = link;
  peers_[from].insert(peer);
  peers_[peer].insert(from);
  return {GrantTo(from, peer, link.offset), GrantTo(peer, from, link.offset)};
}

LinkBroker::Grant LinkBroker::GrantTo(std::uint32_t to, std::uint32_t peer, std::uint64_t offset) const {
  LinkGrant grant;
  grant.peer = {node_, peer};
  grant.offset = offset;
  grant.side = to < peer ? 0 : 1;
  return {to, grant};
}

void LinkBroker::OnClosed(std::uint32_t from, std::uint32_t peer) {
  if (dead_.contains(peer)) LetGo(PairOf(from, peer), from);
}

std::vector<std::uint32_t> LinkBroker::OnGone(std::uint32_t serial) {
  dead_.insert(serial);
  const absl::btree_set<std::uint32_t> linked = peers_[serial];
  std::vector<std::uint32_t> to_tell;
  for (const std::uint32_t peer : linked) {
    const Pair pair = PairOf(serial, peer);
    if (!dead_.contains(peer)) to_tell.push_back(peer);
    if (links_[pair].offset == 0) LetGo(pair, peer);  // relayed: there is nothing to close
    LetGo(pair, serial);
  }
  ForgetIfAlone(serial);
  return to_tell;
}

void LinkBroker::LetGo(const Pair& pair, std::uint32_t serial) {
  const auto it = links_.find(pair);
  if (it == links_.end()) return;
  it->second.gone[serial == pair.first ? 0 : 1] = true;
  if (!it->second.gone[0] || !it->second.gone[1]) return;
  if (it->second.offset != 0) allocator_->Free(it->second.offset);
  links_.erase(it);
  peers_[pair.first].erase(pair.second);
  peers_[pair.second].erase(pair.first);
  ForgetIfAlone(pair.first);
  ForgetIfAlone(pair.second);
}

void LinkBroker::ForgetIfAlone(std::uint32_t serial) {
  const auto it = peers_.find(serial);
  if (it != peers_.end() && !it->second.empty()) return;
  peers_.erase(serial);
  if (dead_.erase(serial) != 0) allocator_->Forget(serial);
}

}  // namespace ray_engine
