// Link: one end of a pair of single-producer single-consumer rings between two processes of a node.
//
// Owns nothing but its positions and an overflow queue: a sender never waits for a full ring, frames queue up here and
// Flush() moves them when there is room. A frame becomes visible by one release store, so a sender may die at any
// instruction. A payload never wraps: the consumer sees it as one piece of memory, valid during its callback.
// Large payloads are cut into fragments; FrameJoiner puts them together again. What cannot have been written by a Link
// (the memory is its writer's, too) is dropped and counted.
//
// Sending and receiving are each Thread-compatible (the caller locks); they may run in two threads at once.

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "engine/transport/doorbell.h"
#include "engine/transport/link_segment.h"
#include "engine/wire/messages.h"

namespace ray_engine {

class Link {
 public:
  // `engine_eventfd` rings an engine at the other end.
  Link(const LinkSegment& segment, std::uint64_t offset, int side, int engine_eventfd);

  // Sends one message, in fragments if it is large (header.size is set here), and rings the receiver if it has to be.
  void Send(FrameHeader header, std::string_view payload);
  // Room in place for a payload of `size` <= kMaxFragment, or nullptr if the frame has to go through Send(); Commit()
  // publishes it. For the hot path: the payload is built where the receiver reads it.
  char* Reserve(std::uint32_t size);
  void Commit(FrameHeader header, std::uint32_t size);

  // Moves queued frames into the ring. Returns true if none are left.
  bool Flush();
  bool HasOverflow() const { return !overflow_.empty(); }

  // True if a frame waits here.
  bool Readable() const { return in_->tail.load(std::memory_order_acquire) != head_; }
  // Calls on_frame(const FrameHeader&, std::string_view payload) for each frame that waits, at most `limit`.
  template <class OnFrame>
  int Drain(OnFrame&& on_frame, int limit = 256);

  // How often the ring was found damaged; what was in it then is lost.
  std::uint64_t damaged() const { return damaged_; }

  ProcessBlock* peer() const { return peer_; }
  std::uint64_t offset() const { return offset_; }

 private:
  struct Record {         // precedes each frame in the ring
    std::uint32_t bytes;  // of header and payload; kPad: skip to the start of the ring
  };
  static constexpr std::uint32_t kPad = 0xffffffff;
  static constexpr std::uint32_t kAlign = 8;

  // Whether a record of `bytes` at `at` may be what a Link has written, and lies before `tail`.
  bool IsSound(std::uint64_t at, std::uint32_t bytes, std::uint64_t tail) const {
    const std::uint64_t payload = std::uint64_t{bytes} - sizeof(FrameHeader);  // huge if there is no header
    return payload <= kMaxFragment && at + sizeof(Record) + bytes <= kRingBytes && tail - head_ <= kRingBytes;
  }
  void SkipDamage(std::uint64_t tail);
  void SendFrame(const FrameHeader& header, std::string_view payload);
  bool TryWrite(const FrameHeader& header, std::string_view payload);
  void AfterConsume();

  LinkMemory* memory_;
  RingHeader* out_;
  RingHeader* in_;
  char* out_data_;
  char* in_data_;
  ProcessBlock* peer_;
  int engine_eventfd_;
  std::uint64_t offset_;
  std::uint64_t tail_;        // my position as producer
  std::uint64_t known_head_;  // the consumer's position when last looked at
  std::uint64_t head_;        // my position as consumer
  std::uint64_t damaged_ = 0;
  std::deque<std::string> overflow_;  // whole frames: header and payload
};

// Joins the fragments of one sender after the other's; `from` tells them apart.
class FrameJoiner {
 public:
  // Calls on_message(const FrameHeader&, std::string_view whole payload) once the last fragment is there.
  template <class OnMessage>
  void Add(const FrameHeader& header, std::string_view payload, OnMessage&& on_message) {
    const bool more = (header.flags & kMoreFragments) != 0;
    if (!more && (parts_.empty() || !parts_.contains(header.from))) {
      on_message(header, payload);
      return;
    }
    std::string& whole = parts_[header.from];
    whole.append(payload);
    if (more) return;
    const std::string message = std::move(whole);
    parts_.erase(header.from);
    on_message(header, std::string_view(message));
  }
  void Forget(ProcessId sender) { parts_.erase(sender); }

 private:
  absl::flat_hash_map<ProcessId, std::string> parts_;
};

template <class OnFrame>
int Link::Drain(OnFrame&& on_frame, int limit) {
  int count = 0;
  std::uint64_t tail = in_->tail.load(std::memory_order_acquire);
  while (head_ != tail && count < limit) {
    const std::uint64_t at = head_ % kRingBytes;
    std::uint32_t bytes;
    std::memcpy(&bytes, in_data_ + at / kAlign * kAlign, sizeof bytes);  // a damaged position may be odd
    if (bytes == kPad) {
      head_ += kRingBytes - at;
    } else if (!IsSound(at, bytes, tail)) {
      SkipDamage(tail);
    } else {
      FrameHeader header;
      std::memcpy(&header, in_data_ + at + sizeof(Record), sizeof header);
      on_frame(header, std::string_view(in_data_ + at + sizeof(Record) + sizeof header, bytes - sizeof header));
      head_ += (sizeof(Record) + bytes + kAlign - 1) / kAlign * kAlign;
      ++count;
    }
    in_->head.store(head_, std::memory_order_release);
    if (head_ == tail) tail = in_->tail.load(std::memory_order_acquire);
  }
  if (count > 0) AfterConsume();
  return count;
}

}  // namespace ray_engine
