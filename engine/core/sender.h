// Sender: how the state machines of a process speak to other processes.
//
// Channel is the way to one of them; frames sent on it arrive in order. A channel lives as long as its Sender; after
// the peer is gone it swallows what is sent.
//
// Thread-compatible (the runtime's lock).

#pragma once

#include <string_view>

#include "engine/wire/codec.h"
#include "engine/wire/messages.h"

namespace ray_engine {

class Channel {
 public:
  explicit Channel(ProcessId peer) : peer_(peer) {}
  virtual ~Channel() = default;
  virtual void Send(MessageType type, std::string_view payload, bool prompt) = 0;
  ProcessId peer() const { return peer_; }
  bool gone() const { return gone_; }

 protected:
  ProcessId peer_;
  bool gone_ = false;
};

class Sender {
 public:
  virtual ~Sender() = default;
  virtual Channel* To(ProcessId peer) = 0;
  virtual ProcessId self() const = 0;

  template <class Message>
  void Send(ProcessId peer, const Message& message, bool prompt = true) {
    To(peer)->Send(Message::kType, Encode(message), prompt);
  }
  template <class Message>
  void SendToHead(const Message& message) {
    Send(kHead, message);
  }
  template <class Message>
  void SendToEngine(const Message& message, bool prompt = true) {
    Send(self().Engine(), message, prompt);
  }
};

}  // namespace ray_engine
