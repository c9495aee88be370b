#include "engine/core/peers.h"

#include <algorithm>
#include <utility>

namespace ray_engine {

class Peers::LinkChannel : public Channel {
 public:
  LinkChannel(Peers* peers, ProcessId peer) : Channel(peer), peers_(peers) {}

  void Send(MessageType type, std::string_view payload, bool prompt) override {
    if (gone_) return;
    ++peers_->sent_;
    FrameHeader header;
    header.type = type;
    header.flags = prompt ? kPrompt : 0;
    header.from = peers_->self_;
    header.to = peer_;
    if (link_ == nullptr) {
      waiting_.emplace_back(header, std::string(payload));
      return;
    }
    if (direct_) peers_->last_peer_ = link_->peer();
    link_->Send(header, payload);
  }

  void Open(Link* link, bool direct) {
    link_ = link;
    direct_ = direct;
    for (auto& [header, payload] : waiting_) link_->Send(header, payload);
    waiting_.clear();
  }
  void Close() {
    gone_ = true;
    link_ = nullptr;
    waiting_.clear();
  }
  Link* direct_link() const { return direct_ ? link_ : nullptr; }
  bool opened() const { return link_ != nullptr; }

 private:
  Peers* peers_;
  Link* link_ = nullptr;
  bool direct_ = false;
  std::deque<std::pair<FrameHeader, std::string>> waiting_;
};

Peers::Peers(const LinkSegment* segment, ProcessId self, std::uint64_t engine_link, int engine_eventfd)
    : segment_(segment), self_(self), engine_eventfd_(engine_eventfd) {
  links_.push_back(std::make_unique<Link>(*segment, engine_link, 1, engine_eventfd));
  auto channel = std::make_unique<LinkChannel>(this, self.Engine());
  channel->Open(links_.front().get(), false);
  channels_.emplace(self.Engine(), std::move(channel));
}

Peers::~Peers() = default;

Channel* Peers::To(ProcessId peer) {
  auto& known = channels_[peer];
  if (known != nullptr) return known.get();
  known = std::make_unique<LinkChannel>(this, peer);
  LinkChannel* channel = known.get();
  if (peer.node == self_.node && !peer.IsEngine()) {
    SendToEngine(LinkRequest{peer});
  } else {
    channel->Open(links_.front().get(), false);
    if (!peer.IsEngine()) SendToEngine(Watch{peer});  // of a linked peer's end it hears anyway
  }
  return channel;
}

void Peers::OnLinkGrant(const LinkGrant& grant) {
  auto& channel = channels_[grant.peer];
  if (channel == nullptr) channel = std::make_unique<LinkChannel>(this, grant.peer);
  if (channel->opened() || channel->gone()) return;
  if (grant.offset == 0) {
    channel->Open(links_.front().get(), false);
    return;
  }
  if (!segment_->IsLinkOffset(grant.offset)) return;
  links_.push_back(std::make_unique<Link>(*segment_, grant.offset, grant.side, engine_eventfd_));
  channel->Open(links_.back().get(), true);
}

void Peers::OnGone(ProcessId peer) {
  const auto it = channels_.find(peer);
  if (it == channels_.end()) return;
  Link* link = it->second->direct_link();
  it->second->Close();
  if (link == nullptr) return;
  if (last_peer_ == link->peer()) last_peer_ = nullptr;
  links_.erase(std::find_if(links_.begin(), links_.end(), [link](const auto& owned) { return owned.get() == link; }));
  SendToEngine(LinkClosed{peer}, false);
}

void Peers::Flush() {
  for (const auto& link : links_) {
    if (link->HasOverflow()) link->Flush();
  }
}

bool Peers::Readable() const {
  return std::any_of(links_.begin(), links_.end(), [](const auto& link) { return link->Readable(); });
}

bool Peers::HasOverflow() const {
  return std::any_of(links_.begin(), links_.end(), [](const auto& link) { return link->HasOverflow(); });
}

Link* Peers::LinkTo(ProcessId peer) {
  const auto it = channels_.find(peer);
  return it == channels_.end() ? nullptr : it->second->direct_link();
}

}  // namespace ray_engine
