// MemoryLine: who waits for room in a node's store. Whoever comes first is served first, be it a creation, an object
// that comes back from disk or one that comes from another node.
//
// While something under way will make room for whoever is in front, nobody behind may take memory. Where nothing is,
// all that is left being pinned, those behind may: one of them may be what the pins wait for. Whoever has waited longer
// than its patience, and as long since the last object was spilled, is told that the store is full.
//
// Pure state machine. Pulls stand in a queue of their own (PullManager), which has other limits beside; the line sees
// the first of them.
//
// Loop-bound (engine's loop).

#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "engine/base/ids.h"
#include "objectstore/pull_manager.h"

namespace ray_engine {

struct MemoryPatience {
  std::uint64_t create_ms = 5'000, restore_ms = 20'000;
};

struct MemoryLineStats {
  std::uint64_t creates = 0, restores = 0;  // that stand in line
  std::uint64_t arrived = 0, refused = 0;   // since the start; those that were told that the store is full
};

class MemoryLine {
 public:
  using Patience = MemoryPatience;

  enum class Kind : std::uint8_t { kCreate, kRestore };
  struct Request {
    Kind kind{};
    ObjectId object;
    std::uint64_t size = 0;
    // Of a creation:
    ProcessId client;
    Store::Use use{};
    std::uint64_t token = 0;
  };
  class Giver {
   public:
    virtual ~Giver() = default;
    // False: there is no room. True: it has been answered, or is wanted no more.
    virtual bool TryRequest(const Request& request) = 0;
    virtual bool TryPull() = 0;
    virtual std::optional<PullManager::Request> NextPull() = 0;
    // There was no room for so much.
    virtual void Relieve(std::uint64_t size) = 0;
    // Something under way will make room.
    virtual bool MoreIsComing() = 0;
  };

  explicit MemoryLine(Giver* giver, Patience patience = Patience()) : giver_(giver), patience_(patience) {}

  // Its place among all that wait for memory, to be given to a pull.
  std::uint64_t NewArrival() { return ++arrivals_; }
  void Add(const Request& request, std::uint64_t now_ms);
  // Call when there may be more memory, or somebody has been added.
  void Serve();
  // The disk has written or read something.
  void OnProgress(std::uint64_t now_ms) { last_progress_ms_ = now_ms; }
  // Those that have waited too long; they are out of the line.
  std::vector<Request> TakeLate(std::uint64_t now_ms);
  void OnClientGone(ProcessId client);

  bool empty() const { return waiting_.empty(); }
  MemoryLineStats Stats() const;

 private:
  struct Waiting {
    Request request;
    std::uint64_t arrival = 0, since_ms = 0;
  };

  Giver* giver_;
  Patience patience_;
  std::list<Waiting> waiting_;  // in order of arrival
  std::uint64_t arrivals_ = 0, last_progress_ms_ = 0;
  std::uint64_t arrived_ = 0, refused_ = 0;
};

}  // namespace ray_engine
