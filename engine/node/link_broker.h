// LinkBroker: which two processes of this node have a direct link, and when its memory is free again.
//
// A pair gets its link when one of them asks for the first time; both are told. Where there is no room the pair is
// relayed by the engine, for good, so that the order of its frames never changes. The memory of a link is free once
// each end is either dead or has said LinkClosed; the slot of a process once it is dead and none of its links is left.
//
// Decisions only. Loop-bound.

#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "engine/wire/messages.h"

namespace ray_engine {

class LinkAllocator {
 public:
  virtual ~LinkAllocator() = default;
  // Offset of a fresh link, 0 if there is no room.
  virtual std::uint64_t Allocate(std::uint32_t serial0, std::uint32_t serial1) = 0;
  virtual void Free(std::uint64_t offset) = 0;
  // Nobody touches anything of this dead process any more.
  virtual void Forget(std::uint32_t serial) = 0;
};

// All links of a node's processes, those to the engine included.
class NodeLinks : public LinkAllocator {
 public:
  // A link for a new process; its offset, 0 if there is no room.
  virtual std::uint64_t Open(ProcessId process) = 0;
  // The process is dead: hands on what it still said, and forgets its link to the engine.
  virtual void Close(std::uint32_t serial) = 0;
};

class LinkBroker {
 public:
  struct Grant {
    std::uint32_t to = 0;
    LinkGrant grant;
  };

  LinkBroker(std::uint32_t node, LinkAllocator* allocator) : node_(node), allocator_(allocator) {}

  // REQUIRES: both live, on this node, and differ.
  std::vector<Grant> OnRequest(std::uint32_t from, std::uint32_t peer);
  // The peer of `from` is dead and `from` has let go of the link.
  void OnClosed(std::uint32_t from, std::uint32_t peer);
  // Returns those that had a link with the dead and have to be told.
  std::vector<std::uint32_t> OnGone(std::uint32_t serial);

  std::size_t links() const { return links_.size(); }

 private:
  using Pair = std::pair<std::uint32_t, std::uint32_t>;  // smaller serial first: side 0
  struct LinkState {
    std::uint64_t offset = 0;
    bool gone[2] = {false, false};  // side is dead, or has closed
  };
  static Pair PairOf(std::uint32_t a, std::uint32_t b) { return a < b ? Pair(a, b) : Pair(b, a); }
  Grant GrantTo(std::uint32_t to, std::uint32_t peer, std::uint64_t offset) const;
  void LetGo(const Pair& pair, std::uint32_t serial);
  void ForgetIfAlone(std::uint32_t serial);

  std::uint32_t node_;
  LinkAllocator* allocator_;
  std::map<Pair, LinkState> links_;
  absl::flat_hash_map<std::uint32_t, absl::btree_set<std::uint32_t>> peers_;
  absl::btree_set<std::uint32_t> dead_;  // and not forgotten yet
};

}  // namespace ray_engine
