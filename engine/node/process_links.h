// ProcessLinks: the engine's end of the links to the processes of its node.
//
// Owns the node's link segment, the engine's doorbell (an eventfd) and one link per process; it also gives out and
// takes back the memory of links between processes, of which the engine itself uses none. A full ring never stops the
// engine: the link queues, and is flushed when its reader has made room.
//
// Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/node/event_loop.h"
#include "engine/node/link_broker.h"
#include "engine/transport/doorbell.h"
#include "engine/transport/link.h"

namespace ray_engine {

class ProcessLinks : public EventLoop::Source, public NodeLinks {
 public:
  using OnFrame = std::function<void(const FrameHeader& header, std::string_view payload)>;

  static absl::StatusOr<std::unique_ptr<ProcessLinks>> Create();
  // REQUIRES: before the loop runs. `self` of the engine is known later; frames of others than the link's process are
  // dropped.
  void SetOnFrame(OnFrame on_frame) { on_frame_ = std::move(on_frame); }

  // The process has written into its ring what no Link writes.
  void SetOnDamage(std::function<void(ProcessId)> on_damage) { on_damage_ = std::move(on_damage); }
  // Frames in the name of another process, and damaged rings.
  std::uint64_t dropped() const { return dropped_; }

  // The process is side 1, and gets a slot.
  std::uint64_t Open(ProcessId process) override;
  std::uint64_t EngineLinkOf(std::uint32_t serial) const { return places_.at(serial).engine_link; }
  // The memory of the link goes with Forget().
  void Close(std::uint32_t serial) override;

  // False if there is no link to the process.
  bool Send(std::uint32_t serial, const FrameHeader& header, std::string_view payload);

  // LinkAllocator: links between two processes.
  std::uint64_t Allocate(std::uint32_t serial0, std::uint32_t serial1) override;
  void Free(std::uint64_t offset) override { segment_.FreeLink(offset); }
  void Forget(std::uint32_t serial) override;

  bool Poll() override;
  bool PrepareToSleep() override;
  void AfterSleep() override { sleeper_.SetPolling(); }
  // The eventfd, which the loop watches, is readable: whatever woke the engine is seen by the next Poll().
  void HearBell();

  const LinkSegment& segment() const { return segment_; }
  int eventfd() const { return eventfd_.get(); }

 private:
  struct Peer {
    ProcessId process;
    std::unique_ptr<Link> link;  // null once closed
  };
  struct Place {
    std::uint32_t slot = 0;
    std::uint64_t engine_link = 0;
  };
  ProcessLinks(LinkSegment segment, UniqueFd eventfd);
  int Drain(Peer* peer, int limit);
  void DropClosed();

  LinkSegment segment_;
  UniqueFd eventfd_;
  std::uint32_t own_slot_;
  Sleeper sleeper_;
  OnFrame on_frame_;
  std::function<void(ProcessId)> on_damage_ = [](ProcessId) {};
  std::uint64_t dropped_ = 0;
  std::vector<std::unique_ptr<Peer>> peers_;
  absl::flat_hash_map<std::uint32_t, Peer*> by_serial_;
  absl::flat_hash_map<std::uint32_t, Place> places_;  // until Forget()
  bool closed_some_ = false;
};

}  // namespace ray_engine
