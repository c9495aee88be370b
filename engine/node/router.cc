#include "engine/node/router.h"

#include <spdlog/spdlog.h>

namespace ray_engine {

void Router::OnFrame(const FrameHeader& header, std::string_view payload) {
  if (header.to != self_) {
    Forward(header, payload);
    return;
  }
  joiner_.Add(header, payload,
              [this](const FrameHeader& last, std::string_view message) { Dispatch(last.from, last.type, message); });
}

void Router::SendBytes(ProcessId to, MessageType type, std::string payload, bool prompt) {
  if (to == self_) {
    to_self_.push_back({type, std::move(payload)});
    return;
  }
  FrameHeader header;
  header.type = type;
  header.from = self_;
  header.to = to;
  std::string_view rest = payload;
  do {
    const std::string_view part = rest.substr(0, kMaxFragment);
    rest.remove_prefix(part.size());
    header.size = static_cast<std::uint32_t>(part.size());
    header.flags = static_cast<std::uint8_t>((prompt ? kPrompt : 0) | (rest.empty() ? 0 : kMoreFragments));
    Forward(header, part);
  } while (!rest.empty());
}

void Router::Forward(const FrameHeader& header, std::string_view payload) {
  const bool here = header.to.node == self_.node;
  const bool taken =
      here ? ways_->ToProcess(header.to.serial, header, payload) : ways_->ToNode(header.to.node, header, payload);
  if (taken || header.from == self_ || (header.flags & kMoreFragments) != 0) return;
  Send(header.from, ProcessGone{header.to, cause_of_(header.to)}, true);
}

bool Router::Poll() {
  std::deque<Message> messages;
  messages.swap(to_self_);
  for (const Message& message : messages) Dispatch(self_, message.type, message.payload);
  return !messages.empty();
}

void Router::Dispatch(ProcessId from, MessageType type, std::string_view payload) {
  const auto handler = handlers_.find(type);
  handler == handlers_.end() ? Drop(from, type) : handler->second(from, payload);
}

// Says so at the 1st, 2nd, 4th, ...: whoever sends such messages must not fill the log.
void Router::Drop(ProcessId from, MessageType type) {
  ++dropped_;
  if ((dropped_ & (dropped_ - 1)) != 0) return;
  spdlog::warn("{}: dropped a message of type {} from {}, which makes no sense here ({} so far)", ToString(self_),
               static_cast<int>(type), ToString(from), dropped_);
}

}  // namespace ray_engine
