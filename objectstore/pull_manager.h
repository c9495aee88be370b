// PullManager: brings objects from other nodes into this node's store.
//
// Local processes want objects; each object is asked for once, however many want it. A pull is admitted when the bytes in
// flight stay below a limit and the store has room; the others wait in order. The source then sends the object in chunks of
// kPullChunk, which land in the store directly. When the last has come, the object is sealed, pinned once for every waiter,
// and the waiters are told. A pull nobody waits for any more is given up. Memory that a chunk is still being written to is
// kept until that write has ended, whatever happens to the pull.
//
// Pure state machine over the Store: events in, actions out; no clock, no sending.
//
// Loop-bound (engine's loop).

#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include "engine/base/ids.h"
#include "engine/transport/fabric.h"
#include "objectstore/store.h"

namespace ray_engine {

inline constexpr std::uint64_t kPullChunk = 4 << 20;
static_assert(kPullChunk <= kMaxBulkChunk);

struct PullActions {
  struct Request {  // send PullRequest{object} to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
  };
  struct Pinned {  // tell `client` (StorePinned); the pin is taken already
    ProcessId client;
    std::uint64_t token = 0;
    ObjectId object;
    Store::Location location;
  };
  struct Failed {  // tell `client` (StorePinned with error)
    ProcessId client;
    std::uint64_t token = 0;
    ObjectId object;
    std::string error;
  };
  struct Added {  // tell the owner (CopyAdded)
    ObjectId object;
    ProcessId owner;
  };
  std::vector<Request> requests;
  std::vector<Pinned> pinned;
  std::vector<Failed> failed;
  std::vector<Added> added;
  bool empty() const { return requests.empty() && pinned.empty() && failed.empty() && added.empty(); }
};

struct PullLimits {
  std::uint64_t bytes_in_flight = 512 << 20;    // one pull is always admitted
  std::uint64_t memory_wait_ms = 20'000;        // a pull that finds no room for so long fails with "object store full"
};

class PullManager {
 public:
  using Limits = PullLimits;

  // `store` must outlive this. `self` is the engine, which creates the copies.
  PullManager(Store* store, ProcessId self, Limits limits = Limits()) : store_(store), self_(self), limits_(limits) {}

  // Answered at once if the object is here.
  PullActions OnWant(const ObjectId& object, ProcessId owner, std::uint32_t source, std::uint64_t size, ProcessId client,
                     std::uint64_t token);

  // Fabric OnBulk: offset in the segment for the chunk, or nothing to refuse it (unknown, malformed or already here).
  std::optional<std::uint64_t> OnChunk(std::uint32_t node, const BulkChunk& chunk);
  // Fabric OnBulkDone, for each chunk accepted.
  PullActions OnChunkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status);

  PullActions OnPullFailed(std::uint32_t node, const ObjectId& object, const std::string& error);
  PullActions OnNodeLost(std::uint32_t node, const std::string& reason);
  PullActions OnClientGone(ProcessId client);
  // The client no longer waits for this token.
  PullActions OnCancel(ProcessId client, std::uint64_t token);
  // Call when something was freed or unpinned, and once a second or so with the time.
  PullActions OnMemoryFreed();
  PullActions OnTick(std::uint64_t now_ms);

  std::size_t pulls() const { return pulls_.size(); }
  std::uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  void CheckInvariants() const;

 private:
  enum class State : std::uint8_t { kQueued, kActive, kDraining };
  enum class ChunkState : std::uint8_t { kMissing, kArriving, kHere };
  struct Waiter {
    ProcessId client;
    std::uint64_t token = 0;
  };
  struct Pull {
    State state = State::kQueued;
    ProcessId owner;
    std::uint32_t source = 0;
    std::uint64_t size = 0, offset = 0;
    std::uint64_t queued_ms = 0;  // 0: since after the last tick
    std::vector<Waiter> waiters;
    std::vector<ChunkState> chunks;
    std::uint32_t arriving = 0, here = 0;
  };
  using Pulls = absl::flat_hash_map<ObjectId, Pull>;

  void Admit(PullActions* actions);
  bool TryStart(const ObjectId& object, Pull* pull, PullActions* actions);
  void Finish(Pulls::iterator pull, PullActions* actions);
  void Fail(Pulls::iterator pull, const std::string& error, PullActions* actions);
  void GiveUp(Pulls::iterator pull);
  void Drained(Pulls::iterator pull);
  template <class Predicate>
  PullActions DropWaiters(Predicate gone);
  static std::uint64_t ChunkSize(const Pull& pull, std::uint64_t index);

  Store* store_;
  ProcessId self_;
  Limits limits_;
  Pulls pulls_;
  std::deque<ObjectId> queue_;  // kQueued, in order of arrival
  std::uint64_t bytes_in_flight_ = 0;
};

}  // namespace ray_engine
