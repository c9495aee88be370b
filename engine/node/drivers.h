// Drivers: the driver processes of this node.
//
// A driver gets its Welcome at once. It is gone when its process has died (pidfd, where the kernel has them) or when
// its socket is closed, be it that it left the session or that it died.
//
// Owns the sockets. Loop-bound.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "engine/base/unique_fd.h"
#include "engine/node/control_channel.h"
#include "engine/node/processes.h"
#include "engine/node/welcomes.h"

namespace ray_engine {

class Drivers {
 public:
  Drivers(EventLoop* loop, Router* router, Processes* processes, const Welcomes* welcomes);
  ~Drivers();

  void Add(ControlSocket socket);
  // Tells them that the session ends.
  void TellAll(const std::string& reason);

 private:
  struct Driver {
    std::unique_ptr<ControlChannel> channel;
    UniqueFd pidfd;
  };
  void WatchPid(const Process& process);
  void Gone(std::uint32_t serial, const std::string& how);
  void Drop(std::uint32_t serial);

  EventLoop* loop_;
  Router* router_;
  Processes* processes_;
  const Welcomes* welcomes_;
  std::map<std::uint32_t, Driver> drivers_;
};

}  // namespace ray_engine
