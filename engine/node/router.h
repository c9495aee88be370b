// Router: where a frame goes next.
//
// Frames come from the rings of this node's processes and from the fabric. Those for this engine are joined per sender
// and handed to the handler of their type; those for a process of this node go into its ring, those for another node to
// the fabric, fragments one by one as they came. What is addressed to a process that is gone is answered by
// ProcessGone. What the engine sends to itself (the head does) waits for the next Poll(), so handlers never nest.
//
// Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "engine/node/event_loop.h"
#include "engine/transport/link.h"
#include "engine/wire/codec.h"
#include "engine/wire/messages.h"

namespace ray_engine {

// The ways out of the engine. A frame given to them is at most kMaxFragment long.
class FrameWays {
 public:
  virtual ~FrameWays() = default;
  // False: no such process (any more), or no such node.
  virtual bool ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) = 0;
  virtual bool ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) = 0;
};

class Router : public EventLoop::Source {
 public:
  using Handler = std::function<void(ProcessId from, std::string_view payload)>;

  explicit Router(FrameWays* ways) : ways_(ways) {}

  // REQUIRES: before anything is sent.
  void SetSelf(ProcessId self) { self_ = self; }
  ProcessId self() const { return self_; }

  // `handler(ProcessId from, const Message&)` gets the messages of this type that are for the engine. One handler per
  // type.
  template <class Message, class F>
  void On(F handler) {
    handlers_[Message::kType] = [this, handler = std::move(handler)](ProcessId from, std::string_view payload) {
      Message message;
      Decode(payload, &message) ? handler(from, message) : Drop(from, Message::kType);
    };
  }
  // The same, of messages that only the head sends.
  template <class Message, class F>
  void OnFromHead(F handler) {
    On<Message>([this, handler = std::move(handler)](ProcessId from, const Message& message) {
      from == kHead ? handler(message) : Drop(from, Message::kType);
    });
  }
  // Messages that were malformed, of a type that nobody here takes, or not from whom they have to be.
  std::uint64_t dropped() const { return dropped_; }

  template <class Message>
  void Send(ProcessId to, const Message& message, bool prompt = false) {
    SendBytes(to, Message::kType, Encode(message), prompt);
  }

  // A frame from a process of this node, or from another node.
  void OnFrame(const FrameHeader& header, std::string_view payload);
  // Parts of a message of a process that is gone will never be completed.
  void Forget(ProcessId sender) { joiner_.Forget(sender); }
  // Why a process of this node is gone, for the answer to frames that come too late.
  void SetCauseOf(std::function<std::string(ProcessId)> cause_of) { cause_of_ = std::move(cause_of); }

  bool Poll() override;
  bool PrepareToSleep() override { return to_self_.empty(); }

 private:
  struct Message {
    MessageType type;
    std::string payload;
  };
  void SendBytes(ProcessId to, MessageType type, std::string payload, bool prompt);
  void Forward(const FrameHeader& header, std::string_view payload);
  void Dispatch(ProcessId from, MessageType type, std::string_view payload);
  void Drop(ProcessId from, MessageType type);

  FrameWays* ways_;
  ProcessId self_;
  absl::flat_hash_map<MessageType, Handler> handlers_;
  std::function<std::string(ProcessId)> cause_of_ = [](ProcessId) { return std::string(); };
  FrameJoiner joiner_;
  std::deque<Message> to_self_;
  std::uint64_t dropped_ = 0;
};

}  // namespace ray_engine
