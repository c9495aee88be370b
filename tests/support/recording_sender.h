// RecordingSender: a Sender that keeps what is sent. Tests take the frames they expect, receiver by receiver, and end
// with EXPECT_EQ(sender.Left(), "").

#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "engine/core/sender.h"
#include "gtest/gtest.h"

namespace ray_engine {

inline std::string NameOf(MessageType type) {
  switch (type) {
    case MessageType::kNone:
      return "None";
#define RAY_ENGINE_NAME(name) \
  case MessageType::k##name:  \
    return #name;
      RAY_ENGINE_MESSAGES(RAY_ENGINE_NAME)
#undef RAY_ENGINE_NAME
  }
  return "?";
}

class RecordingSender : public Sender {
 public:
  struct Frame {
    MessageType type = MessageType::kNone;
    std::string payload;
    bool prompt = false;
  };

  explicit RecordingSender(ProcessId self) : self_(self) {}

  Channel* To(ProcessId peer) override {
    auto& channel = channels_[peer];
    if (channel == nullptr) channel = std::make_unique<RecordingChannel>(peer);
    return channel.get();
  }
  ProcessId self() const override { return self_; }
  void SetGone(ProcessId peer) {
    To(peer);
    channels_[peer]->Close();
  }

  // The oldest frame for `peer` that nobody has taken. It must be of that type.
  Frame TakeFrame(ProcessId peer, MessageType type) {
    To(peer);
    std::deque<Frame>& frames = channels_[peer]->frames;
    if (frames.empty()) {
      ADD_FAILURE() << NameOf(type) << " to " << ToString(peer) << " was not sent";
      return {};
    }
    EXPECT_EQ(NameOf(frames.front().type), NameOf(type)) << "to " << ToString(peer);
    Frame frame = std::move(frames.front());
    frames.pop_front();
    return frame;
  }
  template <class Message>
  Message Take(ProcessId peer) {
    Message message;
    const Frame frame = TakeFrame(peer, Message::kType);
    if (frame.type == Message::kType) {
      EXPECT_TRUE(Decode(frame.payload, &message));
    }
    return message;
  }
  bool Nothing(ProcessId peer) { return To(peer), channels_[peer]->frames.empty(); }

  // What nobody has taken, for people.
  std::string Left() const {
    std::string text;
    for (const auto& [peer, channel] : channels_) {
      for (const Frame& frame : channel->frames) text += NameOf(frame.type) + " to " + ToString(peer) + "\n";
    }
    return text;
  }

 private:
  struct RecordingChannel : Channel {
    using Channel::Channel;
    void Send(MessageType type, std::string_view payload, bool prompt) override {
      if (!gone_) frames.push_back({type, std::string(payload), prompt});
    }
    void Close() { gone_ = true; }
    std::deque<Frame> frames;
  };

  ProcessId self_;
  std::map<ProcessId, std::unique_ptr<RecordingChannel>> channels_;
};

}  // namespace ray_engine
