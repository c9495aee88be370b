// SpillManager: what of a node's store goes to disk, and what comes back.
//
// When memory is short (Relieve), the least recently used primary copies that nobody has pinned are written, up to a
// reserve beyond what is asked for, so that a stream of new objects finds room while the next ones are being written. A
// copy that has been written is backed: the store may give it up at any time. An object that is on disk alone and is
// wanted (OnWant) is read into new memory (TryRestore), sealed, pinned once for every waiter, and stays backed. While
// it is written an object is pinned by the engine, so nothing pulls its memory away; who pins it meanwhile keeps it.
// Once the disk is full nothing more is written until something that lies there is freed, or for kDiskPause.
//
// Pure state machine over the Store: events in, actions out; no clock, no I/O.
//
// Loop-bound (engine's loop).

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "objectstore/owner_lists.h"
#include "objectstore/pin_answers.h"
#include "objectstore/spill_job.h"
#include "objectstore/store.h"

namespace ray_engine {

struct SpillActions : PinAnswers {
  struct Here {  // the engine `client` may be served with the object, which is in memory now
    ProcessId client;
    ObjectId object;
  };
  std::vector<SpillJob> jobs;
  std::vector<Here> here;
};

struct SpillStats {
  std::uint64_t spilled_bytes = 0, spilled_objects = 0, restored_bytes = 0, restored_objects = 0;  // since the start
  std::uint64_t on_disk_bytes = 0, on_disk_objects = 0;                                            // now
  std::uint64_t spill_ns = 0, restore_ns = 0;
};

class SpillManager {
 public:
  static constexpr std::uint64_t kReserve = 256 << 20;
  static constexpr std::uint64_t kDiskPauseMs = 1000;
  enum class Trouble : std::uint8_t { kNone, kDiskFull, kUnusable };

  // `store` must outlive this. `self` is the engine. Without `enabled` nothing is ever written.
  SpillManager(Store* store, ProcessId self, bool enabled);

  // Somebody waits for memory for an object of `size`: has something written if that may help.
  SpillActions Relieve(std::uint64_t size);
  // Memory was given out for a new object: keeps the reserve while memory is short. (What comes back from disk or from
  // another node can be given up again as soon as it is read.)
  SpillActions KeepReserve();
  // Something is being written, so there will be more to give up.
  bool Writing() const { return writing_bytes_ > 0 || writing_ > 0; }

  // On disk alone, or being read from there?
  bool Away(const ObjectId& object) const;
  // On disk, whether in memory or not?
  bool OnDisk(const ObjectId& object) const;
  // `client` waits for the object: a process for its pin, another engine to be served. The first of them has to be
  // queued for memory (TryRestore): true.
  // REQUIRES: Away(object).
  bool OnWant(const ObjectId& object, ProcessId client, std::uint64_t token);
  std::uint64_t SizeOf(const ObjectId& object) const { return objects_.find(object)->second.size; }
  // False: there is no room. True: it is under way, or nobody wants it any more.
  bool TryRestore(const ObjectId& object, SpillActions* actions);
  // It has not been restored in time.
  SpillActions GiveUpRestore(const ObjectId& object, const std::string& error);

  SpillActions OnDone(const SpillDone& done, std::uint64_t now_ms);
  // Beside Store::Free, after it.
  SpillActions OnFree(const ObjectId& object);
  void OnClientGone(ProcessId client);
  void OnTick(std::uint64_t now_ms);

  // Those of this owner that are on disk, or lost. Costs what the owner has here, and all that are lost.
  std::vector<ObjectId> ObjectsOf(ProcessId owner) const;
  // Why an object that was on disk is lost; empty if it is not. Forgotten when it is freed.
  std::string WhyLost(const ObjectId& object) const;
  Trouble trouble() const { return trouble_; }
  const std::string& trouble_text() const { return trouble_text_; }
  SpillStats Stats() const;
  std::vector<ObjectId> AwayObjects() const;
  // What is wrong; empty if nothing is.
  std::string CheckInvariants() const;

 private:
  enum class State : std::uint8_t { kWriting, kOnDisk, kReading };
  struct Waiter {
    ProcessId client;
    std::uint64_t token = 0;
  };
  struct Object {
    ObjectId id;
    State state = State::kWriting;
    std::uint64_t size = 0;
    ProcessId owner;
    OwnerLinks<Object> siblings;
    SpillSlot slot{};
    bool freed = false;  // by its owner, while being written or read
    std::vector<Waiter> waiters;
  };
  using Objects = absl::node_hash_map<ObjectId, Object>;
  struct Lost {
    ProcessId owner;
    std::string why;
  };

  void WriteUntil(std::uint64_t obtainable, SpillActions* actions);
  bool WriteOldest(SpillActions* actions);
  void OnWritten(Objects::iterator object, const SpillDone& done, std::uint64_t now_ms, SpillActions* actions);
  void OnRead(Objects::iterator object, const SpillDone& done, SpillActions* actions);
  void Answer(const ObjectId& object, const std::vector<Waiter>& waiters, SpillActions* actions);
  static void Fail(const ObjectId& object, const std::string& error, bool full, Object* entry, SpillActions* actions);
  void Forget(Objects::iterator object, SpillActions* actions);
  void Erase(Objects::iterator object);
  void NoteTrouble(const absl::Status& status, std::uint64_t now_ms);

  Store* store_;
  ProcessId self_;
  bool enabled_;
  std::uint64_t reserve_;
  bool short_ = false;  // memory has been short, and no free reserve has come back since
  Objects objects_;
  OwnerLists<Object> by_owner_;
  absl::flat_hash_map<ObjectId, Lost> lost_;
  std::uint64_t writing_bytes_ = 0, writing_ = 0;
  Trouble trouble_ = Trouble::kNone;
  std::string trouble_text_;
  std::uint64_t paused_since_ms_ = 0;
  bool paused_ = false;
  SpillStats stats_;
};

}  // namespace ray_engine
