#include "engine/launch/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <utility>

#include "engine/launch/introduction.h"

namespace ray_engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLauncherCheck{500};  // where it cannot be watched by a descriptor
constexpr std::chrono::milliseconds kKillPatience{2000}, kNeighbourPatience{500};

void RaiseFdLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Invalid where the kernel cannot, or the process is gone.
UniqueFd OpenPid(pid_t pid) { return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

bool IsReady(const pollfd& polled) { return polled.fd >= 0 && polled.revents != 0; }

void WriteExitFile(const std::string& path, int code) {
  const std::string draft = path + ".part";
  {
    std::ofstream file(draft);
    file << code << '\n';
    if (!file.flush()) SayToUser(fmt::format("--exit-file: cannot write {}", path));
  }
  std::rename(draft.c_str(), path.c_str());
}

}  // namespace

Supervisor::Supervisor(Launch launch)
    : launch_(std::move(launch)), lifecycle_(launch_.Role(), launch_.Name()), family_(&launch_) {}

int Supervisor::Run() {
  WatchWhoStartedUs();
  BecomeSubreaper();
  RaiseFdLimit();
  absl::Status status = Start();
  if (status.ok()) status = IntroduceOurselves();
  if (status.ok()) {
    Loop();
  } else {
    if (!absl::IsAborted(status)) SayFailure(status, launch_.rank);  // else all ranks have said it together
    code_ = kCannotStart;
  }
  return Leave();
}

void Supervisor::WatchWhoStartedUs() {
  const Options& options = launch_.command.options;
  if (launch_.command.form == Command::kSolo) {
    const int driver = static_cast<int>(options.Integer("driver-fd"));
    fcntl(driver, F_SETFD, FD_CLOEXEC);
    lifeline_.Reset(fcntl(driver, F_DUPFD_CLOEXEC, 0));  // the engine gets the other one
  } else if (options.Given("ready-fd")) {
    lifeline_.Reset(static_cast<int>(options.Integer("ready-fd")));
    fcntl(lifeline_.get(), F_SETFD, FD_CLOEXEC);
  }
  const bool started_by_program = lifeline_.valid();
  if (!launch_.rank.Launched() && !started_by_program) return;  // a shell may go and leave us running
  launcher_pid_ = getppid();
  launcher_ = OpenPid(launcher_pid_);
}

absl::Status Supervisor::Start() {
  if (launch_.one_shared_node && !launch_.StartsEngine()) return absl::OkStatus();
  absl::Status status = launch_.StartsForkserverLate() ? family_.OpenForkserverSocket() : family_.StartForkserver();
  if (!status.ok()) return status;
  if (!launch_.StartsEngine()) return absl::OkStatus();
  if (absl::Status status = family_.StartEngine(); !status.ok()) return status;
  if (launch_.one_shared_node) {
    if (absl::Status status = IntroduceAlone(&family_); !status.ok()) return status;
  }
  return launch_.HasDriver() ? family_.StartDriver() : absl::OkStatus();
}

absl::Status Supervisor::IntroduceOurselves() {
  const Signals::Deadly deadly;
  if (launch_.rank.size > 1) {
    absl::StatusOr<Introduced> introduced = IntroduceToRanks(launch_, &family_);
    if (!introduced.ok()) return introduced.status();
    guest_ = std::move(introduced->guest);
    neighbours_ = std::move(introduced->neighbours);
    if (introduced->over && !launch_.HasDriver()) code_ = 0;
    if (introduced->over) return absl::OkStatus();
  } else if (launch_.command.form != Command::kNode) {
    if (absl::Status status = IntroduceAlone(&family_); !status.ok()) return status;
  }
  const bool awaited = launch_.command.form == Command::kStart || launch_.command.form == Command::kNode;
  return awaited && launch_.rank.rank == 0 ? ReportReady() : absl::OkStatus();
}

// Tells whoever waits for the node: the program that started us, or a person.
absl::Status Supervisor::ReportReady() {
  std::string socket = launch_.plan.socket, node;
  if (launch_.rank.size == 1) {
    const absl::StatusOr<EngineUp> up = WaitForEngine(&family_);
    if (!up.ok()) return up.status();
    socket = up->socket_name;
    node = up->node.Hex();
  }
  if (launch_.command.options.Given("ready-fd")) {
    const std::string packet = fmt::format("{} {}", socket, node);
    send(lifeline_.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
  } else if (launch_.command.form == Command::kNode) {
    fmt::print("ray-engine: node {} has joined session {}\n", node, launch_.plan.session);
  } else {
    fmt::print(
        "ray-engine: session {} is running. Programs join it by ray.init(address=\"auto\") or\n  "
        "RAY_ADDRESS={}\nCtrl-C ends it.\n",
        launch_.plan.session, socket);
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

void Supervisor::Loop() {
  Reap();  // what ended while the ranks met
  while (!code_) {
    pollfd polled[] = {{signals_.fd(), POLLIN, 0},
                       {guest_.valid() ? guest_.fd() : -1, POLLIN, 0},
                       {lifeline_.valid() ? lifeline_.get() : -1, 0, 0},
                       {launcher_.valid() ? launcher_.get() : -1, POLLIN, 0},
                       {family_.forkserver_call(), POLLIN, 0}};
    poll(polled, std::size(polled), PollTimeout());
    if (IsReady(polled[0])) HandleSignals();
    if (IsReady(polled[1])) HandleGuest();
    if (IsReady(polled[2])) {
      lifeline_.Reset();
      Do(lifecycle_.OnLifelineClosed(Clock::now()));
    }
    if (launcher_pid_ != 0 && LauncherIsGone()) {
      launcher_pid_ = 0;
      launcher_.Reset();
      Do(launch_.rank.Launched() ? lifecycle_.OnLauncherGone() : lifecycle_.OnLifelineClosed(Clock::now()));
    }
    if (IsReady(polled[4])) AnswerForForkserver((polled[4].revents & POLLHUP) != 0);
    Do(lifecycle_.OnTime(Clock::now()));
  }
}

// The engine has sent the first packet to a forkserver that does not run yet, or has ended.
void Supervisor::AnswerForForkserver(bool engine_has_ended) {
  if (engine_has_ended) return family_.DropForkserver();
  if (absl::Status status = family_.StartForkserver(); !status.ok()) {
    SayFailure(status, launch_.rank);
    code_ = kCannotStart;
  }
}

int Supervisor::PollTimeout() const {
  std::chrono::milliseconds wait = launcher_pid_ != 0 && !launcher_.valid() ? kLauncherCheck : std::chrono::hours(1);
  if (const auto deadline = lifecycle_.deadline()) {
    wait = std::min(wait, std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()));
  }
  return static_cast<int>(std::max<std::chrono::milliseconds::rep>(wait.count(), 0));
}

bool Supervisor::LauncherIsGone() const { return getppid() != launcher_pid_; }

void Supervisor::HandleSignals() {
  bool child_ended = false;
  while (const auto arrived = signals_.Next()) {
    if (arrived->number == SIGCHLD) {
      child_ended = true;
    } else {
      Do(lifecycle_.OnSignal(arrived->number, arrived->from_terminal && family_.DriverSharesTerminal(), Clock::now()));
    }
  }
  if (child_ended) Reap();
}

void Supervisor::Reap() {
  while (const auto ended = family_.Reap()) {
    if (ended->member == Family::Member::kDriver) Do(lifecycle_.OnDriverEnded(ended->wait_status, Clock::now()));
    if (ended->member == Family::Member::kEngine) Do(lifecycle_.OnEngineEnded(ended->wait_status));
    if (ended->member == Family::Member::kForkserver) Do(lifecycle_.OnForkserverEnded(ended->wait_status));
  }
}

void Supervisor::HandleGuest() {
  const absl::StatusOr<std::optional<ControlPacket>> packet = guest_.Receive();
  if (!packet.ok()) {
    guest_ = ControlSocket();
    return Do(lifecycle_.OnEngineOfNodeGone());
  }
  Refused refused;
  if (packet->has_value() && (*packet)->As(&refused)) {
    if (refused.session_ends) return Do(lifecycle_.OnEngineOfNodeGone());
    SayToUser(fmt::format("{}: the engine of this machine refuses its workers: {}", launch_.Name(), refused.reason));
    code_ = kCannotStart;
  }
}

void Supervisor::Do(const Lifecycle::Actions& actions) {
  for (const Lifecycle::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
}

void Supervisor::Do(const Lifecycle::KillDriver&) { family_.SignalDriver(SIGKILL); }

// An engine that cannot be told has ended, which is reported by itself.
void Supervisor::Do(const Lifecycle::TellEngine& tell) { (void)family_.control()->Send(DriverExited{tell.code}); }

int Supervisor::Leave() {
  KillDescendants(kKillPatience);
  if (launch_.rank.rank == 0) LetNeighboursGoFirst();
  const int code = code_.value_or(kCannotStart);
  const std::string exit_file = launch_.command.options.Text("exit-file");
  if (launch_.rank.rank == 0 && !exit_file.empty() && launch_.command.form != Command::kSolo)
    WriteExitFile(exit_file, code);
  return code;
}

// A launcher that sees a code other than 0 kills all ranks that are still there, and complains.
void Supervisor::LetNeighboursGoFirst() const {
  const auto deadline = Clock::now() + kNeighbourPatience;
  for (const std::uint32_t pid : neighbours_) {
    const UniqueFd process = OpenPid(static_cast<pid_t>(pid));
    if (!process.valid()) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd polled{process.get(), POLLIN, 0};
    poll(&polled, 1, static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0)));
  }
}

}  // namespace ray_engine
