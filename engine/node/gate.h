// Gate: the engine's socket, where drivers, other ranks' forkservers and nodes come in.
//
// The first packet on a connection is a Hello. It must name the same build as this engine, and a driver's the same
// versions of Ray and Python; otherwise, or if the guest cannot be taken, it is answered by Refused with the reason.
// Connections of other users never get this far.
//
// Owns the listening socket and the connections that have no other owner. Loop-bound.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/node/control_channel.h"

namespace ray_engine {

class Gate {
 public:
  struct Guests {
    std::function<void(ControlSocket)> driver;
    std::function<Welcome(ControlSocket, double num_cpus)> forkserver;
    std::function<absl::StatusOr<Introduce>(const Hello&)> node;
    std::function<void(std::uint32_t index)> node_gone;
  };

  Gate(EventLoop* loop, Guests guests) : loop_(loop), guests_(std::move(guests)) {}
  ~Gate();

  // From now on the name is taken; guests wait until Open().
  absl::Status Bind(const std::string& name);
  void Open();
  // A node that came in here is no longer wanted; no effect if it did not.
  void TurnOut(std::uint32_t index, const std::string& reason);
  // Whoever comes from now on is refused.
  void Shut(const std::string& reason) { shut_ = reason; }

 private:
  struct Guest {
    std::unique_ptr<ControlChannel> channel;
    bool admitted = false;
    bool is_node = false;
    std::uint32_t index = 0;  // of a node
  };
  void Accept();
  void HandleHello(std::uint64_t id, ControlPacket& packet);
  void Refuse(std::uint64_t id, const std::string& reason, bool is_other_version = false);
  void AdmitNode(std::uint64_t id, const Hello& hello);
  void Gone(std::uint64_t id);
  void Drop(std::uint64_t id);

  EventLoop* loop_;
  Guests guests_;
  ControlListener listener_;
  std::map<std::uint64_t, Guest> guests_by_id_;
  std::uint64_t next_id_ = 1;
  std::string shut_;
};

}  // namespace ray_engine
