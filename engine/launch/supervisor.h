// Supervisor: one rank's ray-engine process. It starts forkserver, engine and (on rank 0) the driver, introduces the
// engine to the others, and then sleeps until something ends.
//
// Owns its children: whatever is left at the end of them and their orphans, it kills; when it is killed itself, they go
// with it. Loop-bound; single-threaded but for what MPI starts while the ranks are introduced.

#pragma once

#include <absl/status/status.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/launch/family.h"
#include "engine/launch/launch.h"
#include "engine/launch/lifecycle.h"
#include "engine/launch/signals.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {

class Supervisor {
 public:
  explicit Supervisor(Launch launch);

  // Runs this rank's part of the job; returns the exit code. Once.
  int Run();

 private:
  void WatchWhoStartedUs();
  absl::Status Start();
  absl::Status IntroduceOurselves();
  absl::Status ReportReady();

  void Loop();
  void AnswerForForkserver(bool engine_has_ended);
  int PollTimeout() const;
  void HandleSignals();
  void Reap();
  void HandleGuest();
  bool LauncherIsGone() const;

  void Do(const Lifecycle::Actions& actions);
  void Do(const Lifecycle::SignalDriver& signal) { family_.SignalDriver(signal.number); }
  void Do(const Lifecycle::KillDriver&);
  void Do(const Lifecycle::TellEngine& tell);
  void Do(const Lifecycle::KillEngine&) { family_.KillEngine(); }
  void Do(const Lifecycle::Say& say) { SayToUser(say.text); }
  void Do(const Lifecycle::Finish& finish) { code_ = finish.code; }
  int Leave();
  void LetNeighboursGoFirst() const;

  const Launch launch_;
  Lifecycle lifecycle_;
  Signals signals_;
  Family family_;
  ControlSocket guest_;                    // to the engine of our machine, where we have none
  UniqueFd lifeline_;                      // its other end is closed by whoever started us and wants our end
  pid_t launcher_pid_ = 0;                 // 0: nobody whose end is ours
  UniqueFd launcher_;                      // its pidfd, where the kernel has them
  std::vector<std::uint32_t> neighbours_;  // pids of the other ranks on this machine
  std::optional<int> code_;
};

}  // namespace ray_engine
