// What fabrics put on the wire around frames and chunks, and how it is checked on arrival.
//
// PeerHello is the first thing one engine says to another. Everything later carries an Envelope, whose incarnation was
// announced by the PeerHello: what comes from a process that has not said it, or from a former life of a node, is
// recognised by that. A batch is the frames of one sender to one receiver, one after the other; sequence numbers keep
// batches in order whatever the network does.
//
// Pure; used by fabrics only.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "engine/transport/fabric.h"

namespace ray_engine {

inline constexpr std::uint32_t kMaxBatch = 64 << 10;

struct PeerHello {
  std::string secret;
  std::uint32_t node = 0;
  std::uint64_t incarnation = 0;  // random: which life of the node this is
  std::string address;            // to answer to
  template <class A>
  void Fields(A& a) {
    a(secret, node, incarnation, address);
  }
};

struct Envelope {
  std::uint64_t incarnation = 0;
  std::uint64_t sequence = 0;  // of the batch; unused around chunks
  std::uint32_t node = 0;
  std::uint32_t reserved = 0;
};
struct ChunkEnvelope {
  Envelope sender;
  BulkChunk chunk;
};

// Takes as long for a wrong guess as for a right one.
bool SameSecret(std::string_view a, std::string_view b);
std::uint64_t RandomIncarnation();

// Adds a frame to a batch; header.size is set from the payload.
void AppendFrame(FrameHeader header, std::string_view payload, std::string* batch);

// True if the batch holds whole frames of known types, all from node `from` to node `to`.
bool WellFormed(std::string_view batch, std::uint32_t from, std::uint32_t to);

// Calls `visit` for each frame until it returns false. REQUIRES: WellFormed(batch, ...).
using FrameVisitor = std::function<bool(const FrameHeader&, std::string_view payload)>;
void ForEachFrame(std::string_view batch, const FrameVisitor& visit);

// Puts batches back into the order they were sent in.
class BatchOrder {
 public:
  // True if the batch is the next one; it is then counted as taken. A batch that is too early is kept.
  bool Take(std::uint64_t sequence, std::string_view batch);
  // Moves the next batch into `batch` if it was kept; call after each batch taken until it returns false.
  bool TakeKept(std::string* batch);

 private:
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, std::string> early_;
};

}  // namespace ray_engine
