// Family: the processes that a supervisor has started, and their sockets.
//
// Loop-bound. Members die with the supervisor (engine/base/process.h).

#pragma once

#include <absl/status/status.h>
#include <sys/types.h>

#include <optional>

#include "engine/base/unique_fd.h"
#include "engine/launch/launch.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {

class Family {
 public:
  enum class Member { kEngine, kForkserver, kDriver, kOrphan };
  struct Ended {
    Member member;
    int wait_status;
  };

  // `launch` must outlive this.
  explicit Family(const Launch* launch) : launch_(*launch) {}

  // The engine can send to it from now on: what it sends waits until the forkserver is started.
  absl::Status OpenForkserverSocket();
  // Does nothing if it is started.
  absl::Status StartForkserver();
  // Where the engine's packets wait for a forkserver that is to be started late; -1: there is none.
  int forkserver_call() const { return forkserver_end_.valid() ? forkserver_end_.fd() : -1; }
  void DropForkserver() { forkserver_end_ = ControlSocket(); }
  // The engine gets the forkserver's socket. REQUIRES: it is open.
  absl::Status StartEngine();
  // REQUIRES: the engine is started.
  absl::Status StartDriver();

  bool has_engine() const { return engine_ > 0; }
  ControlSocket* control() { return &control_; }  // to our engine
  // The socket of a forkserver that no engine of ours has.
  ControlSocket TakeForkserverSocket() { return std::move(forkserver_socket_); }

  // Without reaping it.
  bool DriverHasEnded() const;
  // True if what the terminal signals reaches the driver by itself.
  bool DriverSharesTerminal() const { return driver_shares_terminal_; }
  std::optional<Ended> Reap();
  void SignalDriver(int number);
  void KillEngine();

 private:
  const Launch& launch_;
  pid_t engine_ = 0, forkserver_ = 0, driver_ = 0;  // 0: not started, or ended
  bool driver_shares_terminal_ = false;
  ControlSocket control_, forkserver_socket_;
  ControlSocket forkserver_end_;  // until the forkserver is started
  UniqueFd driver_end_;
};

}  // namespace ray_engine
