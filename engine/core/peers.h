// Peers: the links of this process, to its engine from birth and to others from the first frame on.
//
// A frame to a process of the same node waits until the engine has granted a direct link (or said that there is none:
// then the pair is relayed for good, so that its order never changes). Frames to other nodes go through the engine.
//
// Owns the links. Thread-compatible (the runtime's lock).

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/sender.h"
#include "engine/transport/link.h"

namespace ray_engine {

class Peers : public Sender {
 public:
  // The link to the engine exists from birth.
  Peers(const LinkSegment* segment, ProcessId self, std::uint64_t engine_link, int engine_eventfd);
  ~Peers() override;

  Channel* To(ProcessId peer) override;
  ProcessId self() const override { return self_; }

  void OnLinkGrant(const LinkGrant& grant);
  // REQUIRES: DrainFrom(peer) has returned 0. Drops the link and tells the engine.
  void OnGone(ProcessId peer);

  // Calls on_frame for what waits on all links; returns how many frames there were.
  template <class OnFrame>
  int Drain(OnFrame&& on_frame) {
    int count = 0;
    for (std::size_t i = 0; i < links_.size(); ++i) {  // the callback may add links
      Link* link = links_[i].get();
      if (link->HasOverflow()) link->Flush();
      if (link->Readable()) count += link->Drain(on_frame);
    }
    received_ += count;
    return count;
  }
  template <class OnFrame>
  int DrainFrom(ProcessId peer, OnFrame&& on_frame) {
    Link* link = LinkTo(peer);
    const int count = link == nullptr ? 0 : link->Drain(on_frame, 1 << 30);
    received_ += count;
    return count;
  }
  // Sends what waits for room, where there is room now.
  void Flush();
  bool Readable() const;
  bool HasOverflow() const;
  // The process this one last sent to over a direct link, for CPU placement; may be null.
  ProcessBlock* last_peer() const { return last_peer_; }
  ProcessBlock* engine_block() const { return links_.front()->peer(); }
  // Frames, ever.
  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }

 private:
  class LinkChannel;
  Link* LinkTo(ProcessId peer);

  const LinkSegment* segment_;
  ProcessId self_;
  int engine_eventfd_;
  std::vector<std::unique_ptr<Link>> links_;  // [0] is the engine's
  absl::flat_hash_map<ProcessId, std::unique_ptr<LinkChannel>> channels_;
  ProcessBlock* last_peer_ = nullptr;
  std::uint64_t sent_ = 0, received_ = 0;
};

}  // namespace ray_engine
