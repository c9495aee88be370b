// SimSender: how a simulated process speaks to others, by the rules of engine/core/peers.h: to its engine at once, to
// processes of its node by a link that the engine grants (or by way of the engine, if there is no room for one), to
// other nodes by way of the engine.
//
// Thread-compatible.

#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/sender.h"
#include "tests/sim/sim_network.h"

namespace ray_engine::sim {

class SimSender : public Sender {
 public:
  SimSender(ProcessId self, SimNetwork* network) : self_(self), network_(network) {
    Find(self.Engine())->Open(self.Engine());
  }

  Channel* To(ProcessId peer) override {
    const bool is_new = channels_.count(peer) == 0;
    SimChannel* channel = Find(peer);
    if (!is_new) return channel;
    if (peer.node == self_.node && !peer.IsEngine()) {
      SendToEngine(LinkRequest{peer});
    } else {
      channel->Open(self_.Engine());
      if (!peer.IsEngine()) SendToEngine(Watch{peer});
    }
    return channel;
  }
  ProcessId self() const override { return self_; }

  void On(const LinkGrant& grant) {
    SimChannel* channel = Find(grant.peer);
    if (channel->IsOpen() || channel->gone()) return;
    channel->Open(grant.offset == 0 ? self_.Engine() : grant.peer);
  }
  void OnGone(ProcessId peer) {
    const auto it = channels_.find(peer);
    if (it == channels_.end()) return;
    const bool direct = it->second->by() == peer;
    it->second->Close();
    if (direct) SendToEngine(LinkClosed{peer}, false);
  }
  // What was said since the last call leaves, receiver by receiver: in which order a process tells several may follow
  // the order of a hash table.
  void Flush() {
    network_->NextBurst();
    std::stable_sort(passed_.begin(), passed_.end(),
                     [](const auto& a, const auto& b) { return a.second.to < b.second.to; });
    for (auto& [by, frame] : std::exchange(passed_, {})) {
      network_->Send({self_, by, Queue::kFrames}, {std::move(frame), {}, {}});
    }
  }
  // The end of this link is mapped: frames can come by it.
  bool HasLinkTo(ProcessId peer) const {
    const auto it = channels_.find(peer);
    return it != channels_.end() && it->second->by() == peer;
  }

 private:
  class SimChannel : public Channel {
   public:
    SimChannel(SimSender* sender, ProcessId peer) : Channel(peer), sender_(sender) {}
    void Send(MessageType type, std::string_view payload, bool) override {
      if (gone_) return;
      Frame frame{sender_->self_, peer_, type, std::string(payload)};
      by_.IsNil() ? waiting_.push_back(std::move(frame)) : Pass(std::move(frame));
    }
    void Open(ProcessId by) {
      by_ = by;
      for (Frame& frame : std::exchange(waiting_, {})) Pass(std::move(frame));
    }
    void Close() {
      gone_ = true;
      by_ = ProcessId();
      waiting_.clear();
    }
    bool IsOpen() const { return !by_.IsNil(); }
    ProcessId by() const { return by_; }

   private:
    void Pass(Frame frame) { sender_->passed_.emplace_back(by_, std::move(frame)); }

    SimSender* sender_;
    ProcessId by_;  // whose ring the frames go into; nil: not known yet
    std::deque<Frame> waiting_;
  };

  SimChannel* Find(ProcessId peer) {
    auto& channel = channels_[peer];
    if (channel == nullptr) channel = std::make_unique<SimChannel>(this, peer);
    return channel.get();
  }

  ProcessId self_;
  SimNetwork* network_;
  std::vector<std::pair<ProcessId, Frame>> passed_;  // into whose ring, what
  std::map<ProcessId, std::unique_ptr<SimChannel>> channels_;
};

}  // namespace ray_engine::sim
