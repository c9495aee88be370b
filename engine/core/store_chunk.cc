#include "engine/core/store_chunk.h"

#include <algorithm>
#include <utility>

namespace ray_engine {

std::optional<std::uint64_t> StoreChunk::Carve(std::uint64_t size, std::int64_t now_ns) {
  if (size >= kLimit) return std::nullopt;
  const std::uint64_t taken = std::max((size + kAlignment - 1) / kAlignment, std::uint64_t{1}) * kAlignment;
  used_ns_ = now_ns;
  if (size_ < taken) {
    if (++misses_ > kFew) Ask(now_ns);
    return std::nullopt;
  }
  const std::uint64_t offset = offset_;
  offset_ += taken;
  size_ -= taken;
  return offset;
}

void StoreChunk::Ask(std::int64_t now_ns) {
  if (asked_ > 0 || (refused_ns_ && now_ns - *refused_ns_ < kRefusedNs)) return;
  asked_ = wanted_;
  sender_->SendToEngine(StoreReserve{0, asked_, StoreUse::kChunk}, false);
}

void StoreChunk::On(const StoreReserved& granted, std::int64_t now_ns) {
  const std::uint64_t size = std::exchange(asked_, 0);
  const bool refuse = std::exchange(refuse_, false);
  refused_ns_.reset();
  if (granted.problem != StoreProblem::kNone) {
    refused_ns_ = now_ns;
    wanted_ = kFirst;
  } else if (refuse) {
    sender_->SendToEngine(StoreReturn{granted.offset, size}, false);
  } else {
    if (size_ > 0) sender_->SendToEngine(StoreReturn{offset_, size_}, false);
    offset_ = granted.offset;
    size_ = size;
    used_ns_ = now_ns;
    wanted_ = std::min(wanted_ * 2, kLargest);
  }
}

void StoreChunk::GiveBack() {
  if (size_ > 0) sender_->SendToEngine(StoreReturn{offset_, size_}, false);
  size_ = 0;
  refuse_ = asked_ > 0;
  misses_ = 0;
  wanted_ = kFirst;
}

void StoreChunk::Tick(std::int64_t now_ns) {
  if (now_ns - used_ns_ > kIdleNs) GiveBack();
}

}  // namespace ray_engine
