// Store: what lies where in a node's segment, and who holds it. Bookkeeping only; it never touches the memory.
//
// An object is created (its creator writes), sealed (from then on it never changes), pinned by readers and freed by its
// owner. A client may also reserve room first and seal parts of it as objects later, as it likes: a chunk for many
// small ones, or room for an array that the program fills. When memory is short, copies that nobody has pinned are
// given up, least recently used first: secondary ones, pulled from another node, then primary ones that have been
// written to disk (*backed*). Other primary copies stay until they are freed. Memory goes back only when the last pin
// is gone, so freeing never pulls pages from under a reader. Pins are counted per client; a client that dies gives back
// everything it held. Whoever writes an object may pin it before it is whole, to pass on what is there already.
//
// Loop-bound (engine's loop).

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "objectstore/allocator.h"

namespace ray_engine {

struct StoreStats {
  AllocatorStats memory;
  std::uint64_t objects = 0, unsealed = 0;
  std::uint64_t pinned_objects = 0, pinned_bytes = 0;
  std::uint64_t primary_bytes = 0, secondary_bytes = 0;
  std::uint64_t in_chunks = 0, in_arrays = 0;  // reserved, as the allocator counts
  std::uint64_t created = 0, freed = 0, evicted = 0;
};

class Store {
 public:
  enum class Copy : std::uint8_t { kPrimary, kSecondary };
  // What room is reserved for: one object that is sealed soon; one that is sealed whenever the program likes; many.
  enum class Use : std::uint8_t { kObject, kArray, kChunk };
  struct Location {
    std::uint64_t offset = 0, size = 0;
  };
  static constexpr std::uint64_t kChunkShare = 8;  // a chunk is given where so many times as much is free

  explicit Store(std::uint64_t bytes) : memory_(bytes) {}

  // Offset where `client` may write `size` bytes until it seals.
  // AlreadyExists: sealed here already, use that copy (a pending Free of it is void; a secondary copy becomes primary
  // if that is asked for). FailedPrecondition: someone else is writing it. ResourceExhausted: full, with the sizes.
  absl::StatusOr<std::uint64_t> Create(const ObjectId& object, std::uint64_t size, ProcessId client,
                                       Copy copy = Copy::kPrimary);
  absl::Status Seal(const ObjectId& object, ProcessId client);
  // Gives up a creation that will not be sealed; the memory stays until the creator's own pins are gone, and until then
  // the object counts as being written. No effect on sealed objects and on creations of others.
  void Abort(const ObjectId& object, ProcessId client);

  // Offset of `size` bytes that `client` may write. ResourceExhausted as above; nothing is given up for a chunk.
  absl::StatusOr<std::uint64_t> Reserve(std::uint64_t size, ProcessId client, Use use);
  // A part of what `client` has reserved becomes a sealed primary copy; with `pin` the client holds it.
  // InvalidArgument: it has not reserved that. AlreadyExists, FailedPrecondition as above: the part is given back, or
  // stays reserved if it was to be held; in the first case the client holds the object that is here.
  absl::Status SealReserved(const ObjectId& object, Location part, ProcessId client, bool pin);
  // A part will not be used, and what its size is rounded up to. False: the client has not reserved it.
  bool Return(Location part, ProcessId client);

  // The first `bytes` of an object will not change any more. REQUIRES: it is being written.
  void SetWritten(const ObjectId& object, std::uint64_t bytes);

  // One more pin of `client`. NotFound if the object is not here or not sealed.
  absl::StatusOr<Location> Pin(const ObjectId& object, ProcessId client);
  // Like Pin, but also of an object that `client` itself is writing: Written() tells what is there.
  absl::StatusOr<Location> PinWhileWriting(const ObjectId& object, ProcessId client);
  // One pin of `client` less. No effect if it has none.
  void Unpin(const ObjectId& object, ProcessId client);

  // A secondary copy becomes the primary one. No effect if there is none.
  void MakePrimary(const ObjectId& object);
  // Nobody needs the object any more: goes at once, or with its last pin, or when its creator seals or dies.
  void Free(const ObjectId& object);

  // Gives back the pins of `client` and what it created without sealing.
  void OnClientGone(ProcessId client);

  // Sealed and here?
  bool Contains(const ObjectId& object) const { return Lookup(object).has_value(); }
  std::optional<Location> Lookup(const ObjectId& object) const;
  // Created here and not sealed yet?
  bool BeingWritten(const ObjectId& object) const;
  // Leading bytes that can be read: all of a sealed object, none of one that is not here.
  std::uint64_t Written(const ObjectId& object) const;
  // The primary copy is on disk as well, or is not any more. No effect on objects that are not here.
  void SetBacked(const ObjectId& object, bool backed);
  // The least recently used primary copy that could be given up if it were backed.
  std::optional<ObjectId> OldestUnbacked() const;
  // Bytes that an object may get now, if they lie well: free, or of copies that may be given up.
  std::uint64_t Obtainable() const { return FreeBytes() + evictable_bytes_; }
  std::uint64_t FreeBytes() const { return memory_.size() - memory_.used(); }
  std::uint64_t size() const { return memory_.size(); }
  // Objects that will be sealed soon.
  std::uint64_t being_written() const { return writing_ + unsealed_reservations_; }
  std::uint64_t in_chunks() const { return reserved_bytes_[static_cast<std::size_t>(Use::kChunk)]; }
  // The clients that have reserved anything (but no objects yet).
  std::vector<ProcessId> Reservers() const;
  // Who has how many bytes pinned or is writing them, most first.
  std::vector<std::pair<ProcessId, std::uint64_t>> Holders() const;

  // Could an object of this size be here if the store were empty?
  bool CouldHold(std::uint64_t size) const { return Allocator::Rounded(size) <= memory_.size(); }

  StoreStats Stats() const;  // O(1)
  // What is wrong; empty if nothing is.
  std::string CheckInvariants() const;

 private:
  struct Entry {
    std::uint64_t offset = 0, size = 0;
    std::uint64_t written = 0;  // leading bytes that are final; counts until sealed
    ProcessId creator;          // nil once sealed
    Copy copy = Copy::kPrimary;
    bool backed = false;   // on disk as well
    bool doomed = false;   // freed, waiting for pins or the seal
    bool aborted = false;  // never to be sealed, waiting for pins
    std::uint64_t pins = 0;
    std::optional<std::list<ObjectId>::iterator> resting;  // place in the list of RestOf(*this)
    bool sealed() const { return creator.IsNil(); }
  };
  // What a sealed and unpinned copy is when memory is short. The first two may be given up, in this order.
  enum Rest : std::uint8_t { kSecondary, kBacked, kUnbacked };
  using Entries = absl::flat_hash_map<ObjectId, Entry>;
  struct Reservation {
    std::uint64_t size = 0;
    Use use{};
  };
  using Reservations = std::map<std::uint64_t, Reservation>;  // by offset
  // What one client holds: pins per object; objects it is writing; room for others.
  struct Client {
    absl::flat_hash_map<ObjectId, std::uint64_t> pins;
    absl::flat_hash_set<ObjectId> writing;
    Reservations reserved;
    bool idle() const { return pins.empty() && writing.empty() && reserved.empty(); }
  };

  absl::Status Reuse(Entries::iterator found, Copy copy);
  void Promote(Entries::iterator found);
  std::optional<std::uint64_t> AllocateEvicting(std::uint64_t size);
  absl::Status Full(std::uint64_t size) const;
  Location AddPin(Entries::iterator entry, ProcessId client);
  void DropPins(Entries::iterator entry, std::uint64_t count);
  static Rest RestOf(const Entry& entry);
  void Wake(Entry* entry);
  void LieDown(Entries::iterator entry);
  void Remove(Entries::iterator entry);
  void AddReservation(Reservations* reserved, std::uint64_t offset, Reservation reservation);
  void RemoveReservation(Reservations* reserved, Reservations::iterator at);
  struct Part {
    Use use{};
    std::uint64_t size = 0;  // as the allocator counts
  };
  std::optional<Part> TakePart(Location part, ProcessId client, bool to_return);
  void ForgetIfIdle(ProcessId client);
  std::string CheckEntry(const ObjectId& object, const Entry& entry) const;

  Allocator memory_;
  Entries entries_;
  absl::flat_hash_map<ProcessId, Client> clients_;
  std::array<std::list<ObjectId>, 3> resting_;  // sealed, unpinned, by Rest; least recently used first
  std::uint64_t evictable_bytes_ = 0;           // of those that may be given up, as the allocator counts
  std::array<std::uint64_t, 2> bytes_{};        // of objects: primary copies, secondary ones
  std::uint64_t pinned_bytes_ = 0, pinned_objects_ = 0;
  std::uint64_t writing_ = 0;  // objects not sealed yet
  std::array<std::uint64_t, 3> reserved_bytes_{};
  std::uint64_t unsealed_reservations_ = 0;  // for objects
  std::uint64_t created_ = 0, freed_ = 0, evicted_ = 0;
};

}  // namespace ray_engine
