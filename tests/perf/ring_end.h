// RingEnd: one end of a Link between two processes that do nothing but talk. It spins; nobody sleeps, nobody is rung.
// The Ring is made first, then the processes fork, then each makes its end: a segment's mapping is not inherited.

#pragma once

#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "engine/base/clock.h"
#include "engine/transport/link.h"

namespace ray_engine {

class Ring {
 public:
  Ring() {
    const std::uint32_t left = segment_.AllocateSlot(), right = segment_.AllocateSlot();
    segment_.block(left)->attention = segment_.block(right)->attention = Attention::kPolling;
    offset_ = segment_.AllocateLink(left, right);
  }
  LinkSegment Attach() const { return LinkSegment::Attach(dup(segment_.fd()), segment_.bytes()).value(); }
  std::uint64_t offset() const { return offset_; }

 private:
  LinkSegment segment_ = LinkSegment::Create(8 << 20).value();
  std::uint64_t offset_;
};

class RingEnd {
 public:
  // `side`: 0 in one process, 1 in the other.
  RingEnd(const Ring& ring, int side) : segment_(ring.Attach()), link_(segment_, ring.offset(), side, -1) {}
  RingEnd(const RingEnd&) = delete;

  void Send(std::string_view message) { link_.Send(FrameHeader(), message); }

  // Waits, then calls on_message(std::string_view) for the messages that are there, at most `limit`; returns how many.
  template <class OnMessage>
  int Receive(OnMessage&& on_message, int limit) {
    if (!link_.Readable()) AwaitMessage();
    return link_.Drain([&](const FrameHeader&, std::string_view message) { on_message(message); }, limit);
  }

 private:
  static constexpr int kSpins = 32;  // about 1 us
  static constexpr std::int64_t kGiveUpNs = 10'000'000'000;

  void AwaitMessage() {
    std::int64_t since = 0;
    while (true) {
      if (link_.HasOverflow()) link_.Flush();
      for (int i = 0; i < kSpins; ++i) {
        if (link_.Readable()) return;
        _mm_pause();
      }
      const std::int64_t now = NowNs();
      if (since == 0) since = now;
      if (now - since > kGiveUpNs) throw std::runtime_error("the other end of the ring is silent");
      sched_yield();
    }
  }

  LinkSegment segment_;
  Link link_;
};

}  // namespace ray_engine
