#include "engine/launch/family.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

namespace ray_engine {
namespace {

bool InForegroundOfTerminal() { return isatty(STDIN_FILENO) != 0 && tcgetpgrp(STDIN_FILENO) == getpgrp(); }

}  // namespace

absl::Status Family::OpenForkserverSocket() {
  auto pair = ControlSocket::Pair();
  if (!pair.ok()) return pair.status();
  forkserver_socket_ = std::move(pair->first);
  forkserver_end_ = std::move(pair->second);
  return absl::OkStatus();
}

absl::Status Family::StartForkserver() {
  if (forkserver_ > 0) return absl::OkStatus();
  if (!forkserver_end_.valid()) {
    if (absl::Status status = OpenForkserverSocket(); !status.ok()) return status;
  }
  ChildEnds ends;
  ends.forkserver = forkserver_end_.fd();
  const absl::StatusOr<pid_t> child =
      Spawn(ForkserverRequest(launch_.installation, launch_.plan, ends, launch_.environment));
  if (!child.ok()) return child.status();
  forkserver_ = *child;
  forkserver_end_ = ControlSocket();
  return absl::OkStatus();
}

absl::Status Family::StartEngine() {
  auto pair = ControlSocket::Pair();
  if (!pair.ok()) return pair.status();
  control_ = std::move(pair->first);
  ChildEnds ends;
  ends.control = pair->second.fd();
  ends.engine_forkserver = forkserver_socket_.fd();
  UniqueFd engine_driver_end;
  if (launch_.HasDriver()) {
    auto driver = ControlSocket::Pair();
    if (!driver.ok()) return driver.status();
    engine_driver_end = driver->first.TakeFd();
    driver_end_ = driver->second.TakeFd();
    ends.engine_driver = engine_driver_end.get();
  } else if (launch_.command.form == Command::kSolo) {
    engine_driver_end.Reset(static_cast<int>(launch_.command.options.Integer("driver-fd")));
    ends.engine_driver = engine_driver_end.get();
  }
  const absl::StatusOr<pid_t> child =
      Spawn(EngineRequest(launch_.command.options, launch_.installation, launch_.plan, ends, launch_.environment));
  if (!child.ok()) return child.status();
  engine_ = *child;
  forkserver_socket_ = ControlSocket();
  return absl::OkStatus();
}

absl::Status Family::StartDriver() {
  ChildEnds ends;
  ends.driver = driver_end_.get();
  SpawnRequest request =
      DriverRequest(launch_.command.program, launch_.installation, launch_.plan, ends, launch_.environment);
  // In the terminal's foreground the driver stays in our group, to read from it and to get its signals; elsewhere a
  // group of its own makes sure that it gets each signal once, from us.
  driver_shares_terminal_ = InForegroundOfTerminal();
  request.new_group = !driver_shares_terminal_;
  const absl::StatusOr<pid_t> child = Spawn(request);
  if (!child.ok()) return child.status();
  driver_ = *child;
  driver_end_.Reset();
  return absl::OkStatus();
}

bool Family::DriverHasEnded() const {
  siginfo_t info{};
  return driver_ > 0 && waitid(P_PID, static_cast<id_t>(driver_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == driver_;
}

std::optional<Family::Ended> Family::Reap() {
  int status = 0;
  const pid_t ended = waitpid(-1, &status, WNOHANG);
  if (ended <= 0) return std::nullopt;
  for (const auto& [member, pid] : {std::pair(Member::kEngine, &engine_), std::pair(Member::kForkserver, &forkserver_),
                                    std::pair(Member::kDriver, &driver_)}) {
    if (*pid != ended) continue;
    *pid = 0;
    return Ended{member, status};
  }
  return Ended{Member::kOrphan, status};
}

void Family::SignalDriver(int number) {
  if (driver_ > 0) kill(driver_, number);
}

void Family::KillEngine() {
  if (engine_ > 0) kill(engine_, SIGKILL);
}

}  // namespace ray_engine
