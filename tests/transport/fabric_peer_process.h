// A second process with a UCX fabric, as node 1, for tests that need a peer they can kill.
//
// It greets node 0 with one frame, sends every frame back, and answers a PullRequest frame by sending the bytes of the
// chunk that the payload names. It sleeps whenever nothing moves and ends when it loses node 0.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "engine/transport/fabric.h"

namespace ray_engine {

class FabricPeerProcess {
 public:
  FabricPeerProcess(const std::string& address_of_node_0, const std::string& secret);
  ~FabricPeerProcess() { Kill(); }

  void Kill();  // SIGKILL, and waits until it is gone
  // Exit status after it ended by itself.
  int Wait();

 private:
  pid_t pid_ = -1;
};

// The first `total` bytes of the object the peer sends. No chunk of it is like another.
std::string PeerBytes(std::uint64_t total);

}  // namespace ray_engine
