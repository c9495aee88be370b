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
#include <absl/hash/hash.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/ids.h"
#include "objectstore/allocator.h"
#include "objectstore/owner_lists.h"
#include "objectstore/reservations.h"

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
  using Use = Reservations::Use;
  struct Location {
    std::uint64_t offset = 0, size = 0;
  };
  // A chunk is given where so many times as much can be had, and at most so many times as much is given up for it.
  static constexpr std::uint64_t kChunkShare = 8;

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

  // Offset of `size` bytes that `client` may write. ResourceExhausted as above.
  absl::StatusOr<std::uint64_t> Reserve(std::uint64_t size, ProcessId client, Use use);
  // A part of what `client` has reserved becomes a sealed primary copy of `owner`'s; with `pin` the client holds it.
  // InvalidArgument: it has not reserved that. AlreadyExists, FailedPrecondition as above: the part is given back, or
  // stays reserved if it was to be held; in the first case the client holds the object that is here.
  absl::Status SealReserved(const ObjectId& object, Location part, ProcessId client, bool pin, ProcessId owner);
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

  // Whose object it is; nil until it is known. No effect on objects that are not here.
  void SetOwner(const ObjectId& object, ProcessId owner);
  ProcessId OwnerOf(const ObjectId& object) const;
  // Costs what the owner has here.
  std::vector<ObjectId> ObjectsOf(ProcessId owner) const;

  // A secondary copy becomes the primary one. No effect if there is none.
  void MakePrimary(const ObjectId& object);
  // Nobody needs the object any more: goes at once, or with its last pin, or when its creator seals or dies.
  void Free(const ObjectId& object);

  // Gives back the pins of `client` and what it created without sealing.
  void OnClientGone(ProcessId client);

  // Sealed and here?
  bool Contains(const ObjectId& object) const { return Lookup(object).has_value(); }
  std::optional<Location> Lookup(const ObjectId& object) const;
  // Created here, sealed or not?
  bool Knows(const ObjectId& object) const { return Find(object) != nullptr; }
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
  std::uint64_t being_written() const { return writing_ + reserved_.for_objects(); }
  std::uint64_t in_chunks() const { return reserved_.bytes(Use::kChunk); }
  // The clients that have reserved anything (but no objects yet).
  bool has_reservers() const { return !reserved_.all().empty(); }
  std::vector<ProcessId> Reservers() const { return reserved_.Clients(); }
  // Who has how many bytes pinned or is writing them, most first.
  std::vector<std::pair<ProcessId, std::uint64_t>> Holders() const;

  // Could an object of this size be here if the store were empty?
  bool CouldHold(std::uint64_t size) const { return Allocator::Rounded(size) <= memory_.size(); }

  StoreStats Stats() const;  // O(1)
  // What is wrong; empty if nothing is.
  std::string CheckInvariants() const;

 private:
  // Where an entry is listed: what a sealed and unpinned copy is when memory is short, of which the first two may be
  // given up, in this order; or that it is pinned or being written.
  enum List : std::uint8_t { kSecondary, kBacked, kUnbacked, kHeld };
  struct Entry {
    ObjectId id;
    std::uint64_t offset = 0, size = 0;
    std::uint64_t written = 0;  // leading bytes that are final; counts until sealed
    ProcessId owner;            // nil: not known yet
    OwnerLinks<Entry> siblings;
    ProcessId creator;  // nil once sealed
    std::uint32_t pins = 0;
    Copy copy = Copy::kPrimary;
    List list = kHeld;
    bool backed = false;   // on disk as well
    bool doomed = false;   // freed, waiting for pins or the seal
    bool aborted = false;  // never to be sealed, waiting for pins
    bool sealed() const { return creator.IsNil(); }
  };
  // One allocation for an object; the index has eight bytes more.
  using Entries = std::list<Entry>;
  struct ById {
    using is_transparent = void;
    std::size_t operator()(const ObjectId& id) const { return absl::Hash<ObjectId>{}(id); }
    std::size_t operator()(Entries::iterator entry) const { return (*this)(entry->id); }
    bool operator()(const ObjectId& a, const ObjectId& b) const { return a == b; }
    bool operator()(Entries::iterator a, const ObjectId& b) const { return a->id == b; }
    bool operator()(const ObjectId& a, Entries::iterator b) const { return a == b->id; }
    bool operator()(Entries::iterator a, Entries::iterator b) const { return a == b; }
  };
  using Index = absl::flat_hash_set<Entries::iterator, ById, ById>;
  using Place = Index::const_iterator;
  // What one client holds: pins per object; objects it is writing.
  struct Client {
    absl::flat_hash_map<ObjectId, std::uint64_t> pins;
    absl::flat_hash_set<ObjectId> writing;
    bool idle() const { return pins.empty() && writing.empty(); }
  };

  Entry* Find(const ObjectId& object) const;
  Entries::iterator AddEntry(const ObjectId& object, Location place, Copy copy, List list);
  absl::Status Reuse(Entries::iterator entry, Copy copy);
  void Promote(Entries::iterator entry);
  // Gives up copies of no more than `most` bytes in all for it.
  std::optional<std::uint64_t> AllocateEvicting(std::uint64_t size, std::uint64_t most = ~0ull);
  absl::Status Full(std::uint64_t size) const;
  Location AddPin(Entries::iterator entry, ProcessId client);
  void DropPins(Place found, std::uint64_t count);
  static List RestOf(const Entry& entry);
  void MoveTo(List list, Entries::iterator entry);
  void CountEvictable(const Entry& entry, bool added);
  void LieDown(Place found);
  void Remove(Place found);
  void ForgetIfIdle(ProcessId client);
  std::string CheckEntry(const Entry& entry) const;

  Allocator memory_;
  Reservations reserved_;
  std::array<Entries, 4> lists_;  // by List; least recently used first
  Index index_;
  OwnerLists<Entry> by_owner_;
  absl::flat_hash_map<ProcessId, Client> clients_;
  std::uint64_t evictable_bytes_ = 0;     // of those that may be given up, as the allocator counts
  std::array<std::uint64_t, 2> bytes_{};  // of objects: primary copies, secondary ones
  std::uint64_t pinned_bytes_ = 0, pinned_objects_ = 0;
  std::uint64_t writing_ = 0;  // objects not sealed yet
  std::uint64_t created_ = 0, freed_ = 0, evicted_ = 0;
};

}  // namespace ray_engine
