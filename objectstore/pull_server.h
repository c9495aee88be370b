// PullServer: sends objects of this node's store to other nodes that ask for them.
//
// Objects go out in chunks of kPullChunk, at most `window` of them on their way to one node; requests of one node are
// served in order. An object is pinned from the request until its last chunk has left.
//
// Pure state machine over the Store: events in, actions out.
//
// Loop-bound (engine's loop).

#pragma once

#include <cstdint>
#include <deque>
#include <map>
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
  struct Refusal {  // send PullFailed to the engine of `node`
    std::uint32_t node = 0;
    ObjectId object;
    std::string error;
  };
  std::vector<Chunk> chunks;
  std::vector<Refusal> refusals;
};

class PullServer {
 public:
  PullServer(Store* store, ProcessId self, std::uint32_t window = 4) : store_(store), self_(self), window_(window) {}

  ServeActions OnPullRequest(std::uint32_t node, const ObjectId& object);
  // `done` of SendBulk, whatever its status: a failed send comes with the loss of the node.
  ServeActions OnChunkSent(std::uint32_t node, const BulkChunk& chunk);
  // Nothing new is sent to the node; objects stay pinned until the chunks under way have come back.
  void OnNodeLost(std::uint32_t node);

  std::size_t transfers() const;

 private:
  struct Transfer {
    ObjectId object;
    Store::Location location;
    std::uint64_t next = 0;  // offset of the next chunk to send
    std::uint32_t under_way = 0;
  };
  struct Peer {
    std::deque<Transfer> transfers;
    std::uint32_t under_way = 0;
  };

  void Fill(std::uint32_t node, Peer* peer, ServeActions* actions);
  void Reap(std::uint32_t node);

  Store* store_;
  ProcessId self_;
  std::uint32_t window_;
  std::map<std::uint32_t, Peer> peers_;
};

}  // namespace ray_engine
