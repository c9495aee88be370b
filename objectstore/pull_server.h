// PullServer: sends objects of this node's store to other nodes that ask for them.
//
// Objects go out in chunks of kPullChunk, at most `window` of them on their way to one node; requests of one node are
// served in order. An object that is still arriving here itself is passed on as far as it has come. An object is pinned
// from the request until its last chunk has left.
//
// Many nodes that want one large object form a *chain*: while it is being sent to one node, the next that asks is told
// to get it from the one that asked before. So each link carries the object once, and all have it little later than the
// first. Who comes back and asks directly, because the node before it in the chain has failed, is served.
//
// Pure state machine over the Store: events in, actions out.
//
// Loop-bound (engine's loop).

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "engine/transport/fabric.h"
#include "objectstore/pull_manager.h"
#include "objectstore/store.h"

namespace ray_engine {

struct ServeActions {
  struct Chunk {  // SendBulk `chunk` to `node`, from segment + at; then OnChunkSent(node, chunk)
    std::uint32_t node = 0;
    BulkChunk chunk;
    std::uint64_t at = 0;
  };
  struct Elsewhere {  // send PullElsewhere{object, next} to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
    std::uint32_t next = 0;
  };
  struct Refusal {  // send PullFailed to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
    std::string error;
  };
  std::vector<Chunk> chunks;
  std::vector<Elsewhere> elsewheres;
  std::vector<Refusal> refusals;
};

struct ServeStats {
  std::uint64_t transfers = 0, chains = 0;  // now
  std::uint64_t served_objects = 0;         // that have left completely, since the start
  std::uint64_t sent_on = 0, refused = 0;   // requests
};

class PullServer {
 public:
  static constexpr std::uint64_t kChainMinimum = 2 * kPullChunk;  // smaller objects are sent to everybody from here

  PullServer(Store* store, ProcessId self, std::uint32_t window = 4) : store_(store), self_(self), window_(window) {}

  // `from`: offset of the first chunk that is wanted. `direct`: never to be sent elsewhere.
  ServeActions OnPullRequest(std::uint32_t node, const ObjectId& object, std::uint64_t from, bool direct);
  // The node no longer wants the object.
  void OnPullCancel(std::uint32_t node, const ObjectId& object);
  // `done` of SendBulk, whatever its status: a failed send comes with the loss of the node.
  ServeActions OnChunkSent(std::uint32_t node, const BulkChunk& chunk);
  // More of an object that is arriving here has come.
  ServeActions OnMoreWritten(const ObjectId& object);
  // An object that was arriving here will not be whole.
  ServeActions OnAborted(const ObjectId& object);
  // Nothing new is sent to the node; objects stay pinned until the chunks under way have come back.
  void OnNodeLost(std::uint32_t node);

  std::size_t transfers() const;
  std::size_t chains() const { return chains_.size(); }
  ServeStats Stats() const;

 private:
  struct Transfer {
    ObjectId object;
    Store::Location location;
    std::uint64_t next = 0;  // offset of the next chunk to send
    std::uint32_t under_way = 0;
    bool given_up = false;
  };
  struct Peer {
    std::deque<Transfer> transfers;
    std::uint32_t under_way = 0;
  };
  struct Chain {
    std::uint64_t size = 0;            // of the object
    std::uint32_t transfers = 0;       // from here
    std::vector<std::uint32_t> nodes;  // in the order in which they asked
  };

  std::optional<std::uint32_t> JoinChain(std::uint32_t node, const ObjectId& object);
  void Fill(std::uint32_t node, Peer* peer, ServeActions* actions);
  static void GiveUp(Transfer* transfer);
  static void EndTransfers(Peer* peer, const ObjectId& object);
  void Reap(std::uint32_t node);
  void LeaveChain(const ObjectId& object);

  Store* store_;
  ProcessId self_;
  std::uint32_t window_;
  std::map<std::uint32_t, Peer> peers_;
  absl::flat_hash_map<ObjectId, Chain> chains_;  // of the objects that are being sent
  std::uint64_t served_objects_ = 0, sent_on_ = 0, refused_ = 0;
};

}  // namespace ray_engine
