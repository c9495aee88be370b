// PullManager: brings objects from other nodes into this node's store.
//
// Local processes want objects; each object is asked for once, however many want it. A pull is admitted when the bytes
// in flight stay below a limit and the store has room; the others wait in order. Where others wait for memory too,
// MemoryLine says whose turn it is (UseLine). The source then sends the object in
// chunks of kPullChunk, which land in the store directly. When the last has come, the object is sealed, pinned once for
// every waiter, and the waiters are told. A pull nobody waits for any more is given up. Memory that a chunk is still
// being written to is kept until that write has ended, whatever happens to the pull.
//
// The *holder* of the object may send a pull on to another node that is getting the object itself (pull_server.h). If
// that one fails, the rest is fetched from the holder.
//
// Pure state machine over the Store: events in, actions out; no clock, no sending.
//
// Loop-bound (engine's loop).

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/transport/fabric.h"
#include "objectstore/pin_answers.h"
#include "objectstore/store.h"

namespace ray_engine {

inline constexpr std::uint64_t kPullChunk = 4 << 20;
static_assert(kPullChunk <= kMaxBulkChunk);

struct PullActions : PinAnswers {
  struct Request {  // send PullRequest{object, from, direct} to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
    std::uint64_t from = 0;
    bool direct = false;
  };
  struct Cancel {  // send PullCancel{object} to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
  };
  struct Added {  // tell the owner (CopyAdded)
    ObjectId object;
    ProcessId owner;
  };
  std::vector<Request> requests;
  std::vector<Cancel> cancels;
  std::vector<Added> added;
  std::vector<ObjectId> aborted;  // tell the pull server: what has come so far will go
  bool empty() const {
    return requests.empty() && cancels.empty() && pinned.empty() && failed.empty() && added.empty() && aborted.empty();
  }
};

struct PullLimits {
  std::uint64_t bytes_in_flight = 512 << 20;  // one pull is always admitted
  std::uint64_t memory_wait_ms = 20'000;      // a pull that finds no room for so long fails with "object store full"
};

struct PullStats {
  std::uint64_t pulls = 0, queued = 0;  // now; queued ones among them
  std::uint64_t bytes_in_flight = 0;
  std::uint64_t pulled_objects = 0, failed = 0;  // since the start; those that somebody waited for in vain
};

class PullManager {
 public:
  using Limits = PullLimits;

  // `store` must outlive this. `self` is the engine, which creates the copies.
  PullManager(Store* store, ProcessId self, Limits limits = Limits()) : store_(store), self_(self), limits_(limits) {}

  // Answered at once if the object is here. `arrival`: its place among all that wait for memory. Pulls for which
  // nothing may be spilled come after the others.
  PullActions OnWant(const ObjectId& object, ProcessId owner, std::uint32_t holder, std::uint64_t size,
                     ProcessId client, std::uint64_t token, std::uint64_t arrival = 0, bool may_spill = true);

  // From now on pulls start with TryNext() alone.
  void UseLine() { in_line_ = true; }
  struct Request {
    std::uint64_t arrival = 0, size = 0;
    bool may_spill = true;
  };
  // The pull whose turn it is, if it only needs memory.
  std::optional<Request> Next() const;
  // Starts the pull of Next(). False: there is no room.
  bool TryNext(PullActions* actions);

  // Fabric OnBulk: offset in the segment for the chunk, or nothing to refuse it (unknown, malformed or already here).
  std::optional<std::uint64_t> OnChunk(std::uint32_t node, const BulkChunk& chunk);
  // Call when OnChunk has refused this one. If it is of another size than was said, the object has been made again
  // since, and the pull starts over.
  PullActions OnRefused(std::uint32_t node, const BulkChunk& chunk);
  // Fabric OnBulkDone.
  // REQUIRES: OnChunk accepted this chunk, and this is the only call for it.
  PullActions OnChunkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status);

  // `node` says that `next` is getting the object and would pass it on.
  PullActions OnElsewhere(std::uint32_t node, const ObjectId& object, std::uint32_t next);
  // `full`: the node has it, but no memory to send it from.
  PullActions OnPullFailed(std::uint32_t node, const ObjectId& object, const std::string& error, bool full = false);
  PullActions OnNodeLost(std::uint32_t node, const std::string& reason);
  PullActions OnClientGone(ProcessId client);
  // The client no longer waits for this token, which fails for it. No effect if it has been answered.
  PullActions OnCancel(ProcessId client, std::uint64_t token);
  // Call after a Seal, Free, Unpin or OnClientGone of the store.
  PullActions OnMemoryFreed();
  // Call once a second or so. `helped`: memory may come by itself, so what waits for it is not starved.
  PullActions OnTick(std::uint64_t now_ms, bool helped = false);

  // Its memory here is that of a pull.
  bool IsArriving(const ObjectId& object) const;
  // The object is being fetched from that node.
  bool IsFetching(const ObjectId& object, std::uint32_t node) const;

  std::size_t pulls() const { return pulls_.size(); }
  std::size_t queued() const { return queue_.size(); }
  std::uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  PullStats Stats() const;
  // What is wrong; empty if nothing is.
  std::string CheckInvariants() const;

 private:
  // kReturning: back to the holder, once what still arrives from elsewhere has ended.
  enum class State : std::uint8_t { kQueued, kActive, kReturning, kDraining };
  enum class ChunkState : std::uint8_t { kMissing, kArriving, kHere };
  enum class Start : std::uint8_t { kDone, kBusy, kFull };
  struct Waiter {
    ProcessId client;
    std::uint64_t token = 0;
    std::uint32_t holder = 0;  // as it was told
  };
  struct Pull {
    State state = State::kQueued;
    // What the latest waiter said.
    ProcessId owner;
    std::uint32_t holder = 0;
    std::uint64_t size = 0, arrival = 0;
    bool may_spill = false;
    std::vector<Waiter> waiters;
    // Once active.
    std::uint32_t source = 0;  // who sends it
    std::uint64_t offset = 0, total = 0;
    std::vector<ChunkState> chunks;
    std::uint32_t arriving = 0, here = 0, leading = 0;  // chunks; leading: here, with all before them
  };
  using Pulls = absl::flat_hash_map<ObjectId, Pull>;

  void Want(const ObjectId& object, ProcessId owner, const Waiter& waiter, std::uint64_t size, std::uint64_t arrival,
            bool may_spill, PullActions* actions);
  Pulls::iterator FindFrom(std::uint32_t node, const ObjectId& object);  // active, and sent by that node
  void Admit(PullActions* actions);
  std::deque<ObjectId>::const_iterator NextInQueue() const;
  // kDone: the pull is under way or has ended. kBusy: someone here writes the object. kFull: no room, `error` says so.
  Start TryStart(Pulls::iterator pull, PullActions* actions, std::string* error);
  void StartTransfer(Pulls::iterator pull, std::uint64_t offset, PullActions* actions);
  void Ask(Pulls::iterator pull, std::uint32_t node, bool direct, PullActions* actions);
  void TakeChunk(Pulls::iterator pull, std::uint64_t index);
  void Finish(Pulls::iterator pull, PullActions* actions);
  void AnswerAll(Pulls::iterator pull, PullActions* actions);
  // The source has failed: back to the holder, unless it was the holder.
  void SourceFailed(Pulls::iterator pull, const std::string& error, PullActions* actions, bool full = false);
  // Tells the source that nothing more is wanted of it.
  void Leave(Pulls::iterator pull, PullActions* actions);
  void AskHolderIfQuiet(Pulls::iterator pull, PullActions* actions);
  // Those who were told of another holder want it from there.
  void Fail(ObjectId object, const std::string& error, PullActions* actions, bool full = false);
  void AnswerWaiters(const ObjectId& object, const std::string& error, bool full, PullActions* actions);
  void GiveUp(const ObjectId& object, PullActions* actions);
  void EndIfDrained(Pulls::iterator pull, PullActions* actions);
  void FailStarved(PullActions* actions);
  template <class Predicate>
  PullActions DropWaiters(Predicate gone);
  std::string CheckPull(const ObjectId& object, const Pull& pull) const;

  Store* store_;
  ProcessId self_;
  Limits limits_;
  Pulls pulls_;
  std::deque<ObjectId> queue_;                            // kQueued, in order of arrival
  absl::flat_hash_map<std::uint32_t, std::string> lost_;  // nodes, and what has become of them
  std::uint64_t bytes_in_flight_ = 0;
  std::uint64_t pulled_objects_ = 0, failed_ = 0;
  bool in_line_ = false;
  std::optional<std::uint64_t> starved_since_ms_;  // pulls wait for memory and nothing is under way
};

}  // namespace ray_engine
