#include "engine/node/process_links.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace ray_engine {

absl::StatusOr<std::unique_ptr<ProcessLinks>> ProcessLinks::Create() {
  absl::StatusOr<LinkSegment> segment = LinkSegment::Create();
  if (!segment.ok()) return segment.status();
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "cannot create an eventfd");
  return std::unique_ptr<ProcessLinks>(new ProcessLinks(*std::move(segment), std::move(fd)));
}

ProcessLinks::ProcessLinks(LinkSegment segment, UniqueFd eventfd)
    : segment_(std::move(segment)),
      eventfd_(std::move(eventfd)),
      own_slot_(segment_.AllocateSlot()),
      sleeper_(segment_.block(own_slot_)) {
  segment_.block(own_slot_)->uses_eventfd = 1;
  sleeper_.SetPolling();
}

std::uint64_t ProcessLinks::Open(ProcessId process) {
  Place place;
  place.slot = segment_.AllocateSlot();
  if (place.slot == LinkSegment::kMaxProcesses) return 0;
  place.engine_link = segment_.AllocateLink(own_slot_, place.slot);
  if (place.engine_link == 0) {
    segment_.FreeSlot(place.slot);
    return 0;
  }
  auto peer = std::make_unique<Peer>();
  peer->process = process;
  peer->link = std::make_unique<Link>(segment_, place.engine_link, 0, eventfd_.get());
  by_serial_[process.serial] = peer.get();
  peers_.push_back(std::move(peer));
  places_[process.serial] = place;
  return place.engine_link;
}

void ProcessLinks::Close(std::uint32_t serial) {
  const auto it = by_serial_.find(serial);
  if (it == by_serial_.end()) return;
  Peer* peer = it->second;
  while (Drain(peer, std::numeric_limits<int>::max()) > 0) {
  }
  by_serial_.erase(serial);
  peer->process = ProcessId();
  closed_some_ = true;
}

void ProcessLinks::Forget(std::uint32_t serial) {
  const auto it = places_.find(serial);
  if (it == places_.end()) return;
  segment_.FreeLink(it->second.engine_link);
  segment_.FreeSlot(it->second.slot);
  places_.erase(it);
}

bool ProcessLinks::Send(std::uint32_t serial, const FrameHeader& header, std::string_view payload) {
  const auto it = by_serial_.find(serial);
  if (it == by_serial_.end()) return false;
  it->second->link->Send(header, payload);
  return true;
}

std::uint64_t ProcessLinks::Allocate(std::uint32_t serial0, std::uint32_t serial1) {
  return segment_.AllocateLink(places_.at(serial0).slot, places_.at(serial1).slot);
}

int ProcessLinks::Drain(Peer* peer, int limit) {
  const std::uint64_t damaged = peer->link->damaged();
  const int count = peer->link->Drain(
      [this, peer](const FrameHeader& header, std::string_view payload) {
        header.from == peer->process ? on_frame_(header, payload) : void(++dropped_);
      },
      limit);
  if (peer->link->damaged() != damaged) {
    ++dropped_;
    on_damage_(peer->process);
  }
  return count;
}

bool ProcessLinks::Poll() {
  bool worked = false;
  for (std::size_t i = 0; i < peers_.size(); ++i) {  // handlers may open and close links
    Peer* peer = peers_[i].get();
    if (peer->process.IsNil()) continue;
    if (peer->link->HasOverflow()) worked |= peer->link->Flush();
    if (peer->link->Readable()) worked |= Drain(peer, 256) > 0;
  }
  if (closed_some_) DropClosed();
  return worked;
}

void ProcessLinks::DropClosed() {
  closed_some_ = false;
  peers_.erase(std::remove_if(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->process.IsNil(); }),
               peers_.end());
}

bool ProcessLinks::PrepareToSleep() {
  sleeper_.DeclareAsleep();
  for (const auto& peer : peers_) {
    if (!peer->process.IsNil() && peer->link->HasOverflow())
      peer->link->Flush();  // its reader may have seen us polling
  }
  return std::none_of(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->link->Readable(); });
}

void ProcessLinks::HearBell() {
  std::uint64_t rings = 0;
  [[maybe_unused]] const ssize_t n = read(eventfd_.get(), &rings, sizeof rings);
}

}  // namespace ray_engine
