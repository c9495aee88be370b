#include "engine/transport/fabric_wire.h"

#include <sys/random.h>

#include <cstring>

namespace ray_engine {
namespace {

constexpr std::uint16_t kLastMessageType = [] {
  std::uint16_t last = 0;
#define RAY_ENGINE_COUNT(name) last = static_cast<std::uint16_t>(MessageType::k##name);
  RAY_ENGINE_MESSAGES(RAY_ENGINE_COUNT)
#undef RAY_ENGINE_COUNT
  return last;
}();

bool KnownType(MessageType type) {
  const auto number = static_cast<std::uint16_t>(type);
  return number != 0 && number <= kLastMessageType;
}

FrameHeader HeaderAt(std::string_view batch) {
  FrameHeader header;
  std::memcpy(static_cast<void*>(&header), batch.data(), sizeof header);
  return header;
}

}  // namespace

bool SameSecret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::uint64_t RandomIncarnation() {
  std::uint64_t number = 0;
  while (getrandom(&number, sizeof number, 0) != sizeof number) {
  }
  return number;
}

void AppendFrame(FrameHeader header, std::string_view payload, std::string* batch) {
  header.size = static_cast<std::uint32_t>(payload.size());
  batch->append(reinterpret_cast<const char*>(&header), sizeof header);
  batch->append(payload);
}

bool WellFormed(std::string_view batch, std::uint32_t from, std::uint32_t to) {
  while (!batch.empty()) {
    if (batch.size() < sizeof(FrameHeader)) return false;
    const FrameHeader header = HeaderAt(batch);
    batch.remove_prefix(sizeof header);
    if (header.size > batch.size() || !KnownType(header.type)) return false;
    if (header.from.node != from || header.to.node != to) return false;
    batch.remove_prefix(header.size);
  }
  return true;
}

void ForEachFrame(std::string_view batch, const FrameVisitor& visit) {
  while (!batch.empty()) {
    const FrameHeader header = HeaderAt(batch);
    batch.remove_prefix(sizeof header);
    if (!visit(header, batch.substr(0, header.size))) return;
    batch.remove_prefix(header.size);
  }
}

bool BatchOrder::Take(std::uint64_t sequence, std::string_view batch) {
  if (sequence == next_) {
    ++next_;
    return true;
  }
  if (sequence > next_) early_.emplace(sequence, batch);
  return false;
}

bool BatchOrder::TakeKept(std::string* batch) {
  const auto kept = early_.find(next_);
  if (kept == early_.end()) return false;
  *batch = std::move(kept->second);
  early_.erase(kept);
  ++next_;
  return true;
}

}  // namespace ray_engine
