// Fabric: how node engines talk to each other.
//
// Frames to one node arrive whole and in the order they were sent; frames sent between two calls of Progress() travel
// together. Bulk chunks (parts of store objects) go straight from the sender's memory into the receiver's and have no
// order, neither among themselves nor against frames. Nothing blocks. A node that is lost is reported once; what was on
// its way to it is dropped.
//
// An engine makes its fabric early, to have an address to hand round, and learns its index and the session's secret
// later (Introduce). Peers must name the secret before anything else they send is looked at. That keeps strangers out
// of the session; it does not encrypt, and it does not protect the wire protocol of the library underneath.
//
// Loop-bound. Handlers run inside Progress() and may call Send, SendBulk, Connect, Disconnect and
// Fence.

#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "engine/base/ids.h"
#include "engine/wire/messages.h"

namespace ray_engine {

inline constexpr std::uint64_t kMaxBulkChunk = 8 << 20;

// Part of an object: bytes [offset, offset + size) of `total`.
struct BulkChunk {
  ObjectId object;
  std::uint64_t offset = 0, size = 0, total = 0;
};

class FabricHandler {
 public:
  virtual ~FabricHandler() = default;

  // `payload` is valid only during the call. frame.from.node == node and frame.to.node is this node.
  virtual void OnFrame(std::uint32_t node, const FrameHeader& frame, std::string_view payload) = 0;

  // Where shall the chunk go? The memory must stay valid until OnBulkDone for this chunk. nullptr refuses the chunk: it
  // is thrown away and there is no OnBulkDone.
  virtual char* OnBulk(std::uint32_t node, const BulkChunk& chunk) = 0;
  virtual void OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) = 0;

  // Once per Connect. Chunks still arriving from the node get their OnBulkDone before or after this.
  virtual void OnPeerLost(std::uint32_t node, const std::string& reason) = 0;
};

class Fabric {
 public:
  using Done = std::function<void(const absl::Status&)>;

  // Closes the connections, for at most a second; what was sent before is delivered if the peers take it in that time.
  virtual ~Fabric() = default;

  // Bytes (not text) by which other engines reach this one.
  virtual std::string Address() const = 0;

  // This engine's index and the session's secret. Until then Progress() does nothing and incoming traffic waits.
  // REQUIRES: called once, before Connect; all engines of the session pass the same secret.
  virtual void Introduce(std::uint32_t self, const std::string& secret) = 0;

  // Makes `node` reachable; the connection itself is made at the first Send. Nodes that contact this one first are
  // connected without this call. No effect if the node is connected already. REQUIRES: node is not this node.
  virtual absl::Status Connect(std::uint32_t node, const std::string& address) = 0;

  // Forgets a node without OnPeerLost, after delivering what was sent to it before. Nothing more is taken from it.
  virtual void Disconnect(std::uint32_t node) = 0;

  // Shuts out a node that was given up, for good and without OnPeerLost: the frames for it go out, but nobody waits
  // until it takes them; chunks under way to it are dropped, and nothing is taken from it again.
  virtual void Fence(std::uint32_t node) = 0;

  // Queues a copy of the frame. header.size is set from the payload.
  virtual void Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) = 0;

  // Sends chunk.size bytes, at most kMaxBulkChunk. They must not change until `done` has been called, which happens
  // exactly once, inside a later Progress() or the destructor.
  virtual void SendBulk(std::uint32_t node, const BulkChunk& chunk, const char* bytes, Done done) = 0;

  // Sends what is queued, receives what has come. Returns whether anything happened.
  virtual bool Progress() = 0;

  // Sleeping: poll EventFd() for reading, after Arm() has returned true. False: something is there, call Progress()
  // first.
  virtual int EventFd() const = 0;
  virtual bool Arm() = 0;

  virtual FabricStats Stats() const = 0;
};

}  // namespace ray_engine
