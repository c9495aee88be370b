// SimNetwork: what is under way between simulated processes and engines.
//
// A queue is a ring of a link, a connection of the fabric, or whatever else keeps its order; which queue moves next is
// up to the seed. A queue that begins to fill draws a speed, so that news may take a quick way round a slow one. What
// goes between nodes stands still while one of them is held up.
//
// Thread-compatible.

#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/wire/messages.h"

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

struct Queue {
  // kFrames: rings and connections, in order. Chunks of objects have a way of their own, and so has what a node's
  // forkserver and its engine say to each other.
  enum Lane : std::uint8_t { kFrames, kChunks, kForkserver };
  ProcessId from, to;
  Lane lane = kFrames;
  friend bool operator<(const Queue& a, const Queue& b) {
    return std::tie(a.from, a.to, a.lane) < std::tie(b.from, b.to, b.lane);
  }
};

class SimNetwork {
 public:
  // A frame, or something else that happens when its turn comes.
  struct Item {
    Frame frame;
    std::function<void()> event;
    std::function<void()> lost;  // happens instead if it gets lost
    std::uint64_t burst = 0;     // what was said at once has one number
  };

  SimNetwork(Random* random, std::uint64_t seed) : random_(random), seed_(seed) {}

  void Send(const Queue& queue, Item item) {
    Line& line = lines_[queue];
    if (line.items.empty()) line.speed = NextSpeed(queue);
    item.burst = burst_;
    line.items.push_back(std::move(item));
  }

  void NextBurst() { ++burst_; }

  bool CanMove() const {
    for (const auto& [queue, line] : lines_) {
      if (!Stands(queue)) return true;
    }
    return false;
  }

  // What arrives next. REQUIRES: CanMove().
  std::pair<Queue, Item> Next() {
    std::size_t total = 0;
    for (const auto& [queue, line] : lines_) total += Stands(queue) ? 0 : line.speed;
    std::size_t at = random_->Below(total);
    auto it = lines_.begin();
    for (; Stands(it->first) || at >= it->second.speed; ++it) at -= Stands(it->first) ? 0 : it->second.speed;
    std::pair<Queue, Item> next(it->first, std::move(it->second.items.front()));
    it->second.items.pop_front();
    NoteArrival(next.first, next.second);
    if (it->second.items.empty()) lines_.erase(it);
    return next;
  }

  // All that is under way in a queue, in order.
  std::deque<Item> TakeAll(const Queue& queue) {
    const auto it = lines_.find(queue);
    if (it == lines_.end()) return {};
    std::deque<Item> items = std::move(it->second.items);
    lines_.erase(it);
    for (const Item& item : items) NoteArrival(queue, item);
    return items;
  }

  // A process has died at some moment: what it would have said after that has not left it.
  void LoseTails(ProcessId dead) {
    std::vector<std::uint64_t> bursts;
    for (const auto& [queue, line] : lines_) {
      if (queue.from != dead || dead.IsEngine()) continue;
      for (const Item& item : line.items) bursts.push_back(item.burst);
    }
    if (bursts.empty()) return;
    std::sort(bursts.begin(), bursts.end());
    const std::uint64_t last = std::max(arrived_[dead], bursts[random_->Below(bursts.size())]);
    for (auto it = lines_.begin(); it != lines_.end();) {
      std::deque<Item>& items = it->second.items;
      while (it->first.from == dead && !items.empty() && items.back().burst > last) items.pop_back();
      it = items.empty() ? lines_.erase(it) : std::next(it);
    }
  }
  // A node has died: nothing reaches it, and the last of what it said has not left it.
  void LoseNode(std::uint32_t node) {
    CutIf([node](const Queue& queue) { return queue.from.node == node && queue.to.node != node; });
    std::deque<Item> lost;
    for (auto it = lines_.begin(); it != lines_.end();) {
      const bool to_it = it->first.to.node == node;
      if (to_it) std::move(it->second.items.begin(), it->second.items.end(), std::back_inserter(lost));
      it = to_it ? lines_.erase(it) : std::next(it);
    }
    for (const Item& item : lost) {
      if (item.lost) item.lost();
    }
  }

  void HoldUp(std::uint32_t node) { held_up_.insert(node); }
  void LetGo(std::uint32_t node) { held_up_.erase(node); }
  const std::set<std::uint32_t>& held_up() const { return held_up_; }

 private:
  struct Line {
    std::deque<Item> items;
    std::size_t speed = 1;
  };

  bool Stands(const Queue& queue) const {
    if (held_up_.empty() || queue.from.node == queue.to.node) return false;
    return held_up_.count(queue.from.node) != 0 || held_up_.count(queue.to.node) != 0;
  }

  template <class Predicate>
  void CutIf(Predicate predicate) {
    std::deque<Item> lost;
    for (auto it = lines_.begin(); it != lines_.end();) {
      std::deque<Item>& items = it->second.items;
      if (predicate(it->first)) {
        for (std::size_t left = random_->Below(items.size() + 1); items.size() > left; items.pop_back())
          lost.push_back(std::move(items.back()));
      }
      it = items.empty() ? lines_.erase(it) : std::next(it);
    }
    for (const Item& item : lost) {
      if (item.lost) item.lost();
    }
  }

  static std::uint64_t Mixed(std::uint64_t number) {
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9ull;
    number = (number ^ (number >> 27)) * 0x94D049BB133111EBull;
    return number ^ (number >> 31);
  }

  void NoteArrival(const Queue& queue, const Item& item) {
    std::uint64_t& last = arrived_[queue.from];
    last = std::max(last, item.burst);
  }

  // Depends on the queue alone, not on who else sends when: that may follow the order of a hash table.
  std::size_t NextSpeed(const Queue& queue) {
    const auto number = [](ProcessId id) { return std::uint64_t{id.serial} << 8 | id.node; };
    const std::uint64_t name = (number(queue.from) << 32 | number(queue.to)) * 3 + queue.lane;
    return std::size_t{1} << (5 * (Mixed(seed_ ^ (name * 131 + ++starts_[queue])) % 3));
  }

  Random* random_;
  const std::uint64_t seed_;
  std::map<Queue, Line> lines_;  // those that are not empty
  std::map<Queue, std::uint64_t> starts_;
  std::uint64_t burst_ = 0;
  std::map<ProcessId, std::uint64_t> arrived_;  // the last burst of which something has arrived
  std::set<std::uint32_t> held_up_;
};

}  // namespace ray_engine::sim
