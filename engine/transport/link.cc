#include "engine/transport/link.h"

#include <algorithm>
#include <cstring>

namespace ray_engine {

Link::Link(const LinkSegment& segment, std::uint64_t offset, int side, int engine_eventfd)
    : memory_(segment.link(offset)),
      out_(&memory_->rings[side]),
      in_(&memory_->rings[1 - side]),
      out_data_(memory_->data[side]),
      in_data_(memory_->data[1 - side]),
      peer_(segment.block(memory_->slots[1 - side])),
      engine_eventfd_(engine_eventfd),
      offset_(offset),
      tail_(out_->tail.load(std::memory_order_relaxed)),
      known_head_(out_->head.load(std::memory_order_acquire)),
      head_(in_->head.load(std::memory_order_relaxed)) {}

void Link::Send(FrameHeader header, std::string_view payload) {
  const bool prompt = (header.flags & kPrompt) != 0;
  const std::uint8_t last_flags = header.flags;  // a relayed fragment may itself have more behind it
  do {
    const std::string_view part = payload.substr(0, kMaxFragment);
    payload.remove_prefix(part.size());
    header.size = static_cast<std::uint32_t>(part.size());
    header.flags = payload.empty() ? last_flags : last_flags | kMoreFragments;
    SendFrame(header, part);
  } while (!payload.empty());
  RingIfNeeded(peer_, prompt, engine_eventfd_);
}

void Link::SendFrame(const FrameHeader& header, std::string_view payload) {
  if (overflow_.empty() && TryWrite(header, payload)) return;
  std::string frame(reinterpret_cast<const char*>(&header), sizeof header);
  frame.append(payload);
  overflow_.push_back(std::move(frame));
  out_->producer_waits.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Flush();  // the consumer may have made room before it could see the flag
}

bool Link::TryWrite(const FrameHeader& header, std::string_view payload) {
  char* place = Reserve(static_cast<std::uint32_t>(payload.size()));
  if (place == nullptr) return false;
  std::memcpy(place, payload.data(), payload.size());
  std::memcpy(place - sizeof header, &header, sizeof header);
  const std::uint32_t bytes = static_cast<std::uint32_t>(sizeof header + payload.size());
  tail_ += (sizeof(Record) + bytes + kAlign - 1) / kAlign * kAlign;
  out_->tail.store(tail_, std::memory_order_release);
  return true;
}

char* Link::Reserve(std::uint32_t size) {
  const std::uint32_t bytes = static_cast<std::uint32_t>(sizeof(FrameHeader)) + size;
  const std::uint64_t need = (sizeof(Record) + bytes + kAlign - 1) / kAlign * kAlign;
  const std::uint64_t at = tail_ % kRingBytes;
  const std::uint64_t pad = at + need > kRingBytes ? kRingBytes - at : 0;
  if (tail_ + pad + need - known_head_ > kRingBytes) {
    known_head_ = out_->head.load(std::memory_order_acquire);
    if (tail_ + pad + need - known_head_ > kRingBytes) return nullptr;
  }
  if (pad != 0) {
    std::memcpy(out_data_ + at, &kPad, sizeof kPad);
    tail_ += pad;
  }
  char* record = out_data_ + tail_ % kRingBytes;
  std::memcpy(record, &bytes, sizeof bytes);
  return record + sizeof(Record) + sizeof(FrameHeader);
}

void Link::Commit(FrameHeader header, std::uint32_t size) {
  header.size = size;
  char* record = out_data_ + tail_ % kRingBytes;
  std::memcpy(record + sizeof(Record), &header, sizeof header);
  tail_ += (sizeof(Record) + sizeof header + size + kAlign - 1) / kAlign * kAlign;
  out_->tail.store(tail_, std::memory_order_release);
  RingIfNeeded(peer_, (header.flags & kPrompt) != 0, engine_eventfd_);
}

bool Link::Flush() {
  bool moved = false;
  while (!overflow_.empty()) {
    const std::string& frame = overflow_.front();
    FrameHeader header;
    std::memcpy(&header, frame.data(), sizeof header);
    if (!TryWrite(header, std::string_view(frame).substr(sizeof header))) break;
    overflow_.pop_front();
    moved = true;
  }
  if (overflow_.empty()) out_->producer_waits.store(0, std::memory_order_relaxed);
  if (moved) RingIfNeeded(peer_, true, engine_eventfd_);
  return overflow_.empty();
}

void Link::SkipDamage(std::uint64_t tail) {
  ++damaged_;
  head_ = tail;
}

void Link::AfterConsume() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (in_->producer_waits.load(std::memory_order_relaxed) == 0) return;
  RingIfNeeded(peer_, true, engine_eventfd_);
}

}  // namespace ray_engine
