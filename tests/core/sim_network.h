// SimNetwork: frames under way between simulated processes, and SimSender, the way a process puts them there.
//
// Frames of one pair arrive in order; which pair moves next is up to the seed. A pair that starts to talk draws a
// speed, so that news may take a quick way round a slow one.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/sender.h"

namespace ray_engine::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t Below(std::size_t bound) { return static_cast<std::size_t>(engine_() % bound); }
  bool Chance(std::size_t percent) { return Below(100) < percent; }
  bool PerMille(std::size_t count) { return Below(1000) < count; }

 private:
  std::mt19937_64 engine_;
};

struct Frame {
  ProcessId from, to;
  MessageType type = MessageType::kNone;
  std::string payload;
};

class SimNetwork {
 public:
  SimNetwork(Random* random, std::uint64_t seed) : random_(random), seed_(seed) {}

  bool Empty() const { return pairs_.empty(); }

  void Send(Frame frame) {
    const std::pair key(frame.from, frame.to);
    Pair& pair = pairs_[key];
    if (pair.frames.empty()) pair.speed = NextSpeed(key);
    pair.frames.push_back(std::move(frame));
  }

  // The frame that arrives next. REQUIRES: !Empty().
  Frame Next() {
    std::size_t total = 0;
    for (const auto& [key, pair] : pairs_) total += pair.speed;
    std::size_t at = random_->Below(total);
    auto it = pairs_.begin();
    for (; at >= it->second.speed; ++it) at -= it->second.speed;
    Frame frame = std::move(it->second.frames.front());
    it->second.frames.pop_front();
    if (it->second.frames.empty()) pairs_.erase(it);
    return frame;
  }

  // All that is under way from one process to another, in order.
  std::deque<Frame> TakeAll(ProcessId from, ProcessId to) {
    const auto it = pairs_.find({from, to});
    if (it == pairs_.end()) return {};
    std::deque<Frame> frames = std::move(it->second.frames);
    pairs_.erase(it);
    return frames;
  }

  // A process has died: the last of what it said to each other process may not have left it.
  void LoseTails(ProcessId dead) {
    for (auto it = pairs_.lower_bound({dead, ProcessId{0, 0}}); it != pairs_.end() && it->first.first == dead;) {
      std::deque<Frame>& frames = it->second.frames;
      frames.resize(frames.size() - random_->Below(frames.size() + 1));
      it = frames.empty() ? pairs_.erase(it) : std::next(it);
    }
  }

 private:
  struct Pair {
    std::deque<Frame> frames;
    std::size_t speed = 1;
  };
  using Key = std::pair<ProcessId, ProcessId>;

  // Depends on the pair alone, not on who else sends when: that may follow the order of a hash table.
  std::size_t NextSpeed(const Key& key) {
    const std::uint64_t name = (std::uint64_t{key.first.serial} << 8 | key.first.node) << 32 |
                               (std::uint64_t{key.second.serial} << 8 | key.second.node);
    return std::size_t{1} << (5 * Random(seed_ ^ (name * 131 + ++starts_[key])).Below(3));
  }

  Random* random_;
  const std::uint64_t seed_;
  std::map<Key, Pair> pairs_;  // those with frames
  std::map<Key, std::uint64_t> starts_;
};

class SimSender : public Sender {
 public:
  SimSender(ProcessId self, SimNetwork* network) : self_(self), network_(network) {}

  Channel* To(ProcessId peer) override {
    auto& channel = channels_[peer];
    if (channel == nullptr) channel = std::make_unique<SimChannel>(this, peer);
    return channel.get();
  }
  ProcessId self() const override { return self_; }
  void Close(ProcessId peer) {
    To(peer);
    channels_[peer]->Close();
  }
  bool HasSpokenTo(ProcessId peer) const { return channels_.count(peer) != 0; }

 private:
  class SimChannel : public Channel {
   public:
    SimChannel(SimSender* sender, ProcessId peer) : Channel(peer), sender_(sender) {}
    void Send(MessageType type, std::string_view payload, bool) override {
      if (!gone_) sender_->network_->Send({sender_->self_, peer_, type, std::string(payload)});
    }
    void Close() { gone_ = true; }

   private:
    SimSender* sender_;
  };

  ProcessId self_;
  SimNetwork* network_;
  std::map<ProcessId, std::unique_ptr<SimChannel>> channels_;
};

}  // namespace ray_engine::sim
