#include "engine/launch/launch.h"

#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "engine/base/spill_directory.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {
namespace {

absl::Status CheckProgram(const Command& command) {
  if (command.form != Command::kRun || command.IsModule()) return absl::OkStatus();
  const std::string& script = command.program.front();
  if (access(script.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::NotFoundError(fmt::format("cannot read the program '{}': {}", script, std::strerror(errno)));
}

// An exit file of an earlier run must not be taken for this one's.
absl::Status ClearExitFile(const Options& options) {
  const std::string path = options.Text("exit-file");
  if (path.empty()) return absl::OkStatus();
  std::string folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const bool writable = access(folder.c_str(), W_OK) == 0 && !std::filesystem::is_directory(path);
  if (writable && (unlink(path.c_str()) == 0 || errno == ENOENT)) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format("--exit-file: cannot write {}", path));
}

// Each engine writes its file there; better to fail now than there.
absl::Status MakeLogFolder(const Options& options) {
  const std::string path = options.Text("log-dir");
  if (path.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && access(path.c_str(), W_OK | X_OK) != 0) error = std::error_code(errno, std::generic_category());
  if (!error) return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format("--log-dir: cannot write into {}: {}", path, error.message()));
}

absl::Status CheckSpilling(const Options& options) {
  return options.Given("spill-directory") ? CheckSpillDirectory(options.Text("spill-directory")) : absl::OkStatus();
}

// The address that --join names: that of the one running session for "auto".
absl::Status FindSession(Options* options) {
  std::string address = options->Text("join");
  if (address == "auto") {
    const std::vector<std::string> running = ListHeadSockets();
    if (running.empty()) return absl::NotFoundError("--join=auto: no session of this user is running on this machine");
    if (running.size() > 1)
      return absl::NotFoundError(
          fmt::format("--join=auto: more than one session is running; say which: {}", absl::StrJoin(running, ", ")));
    address = running.front();
  }
  const std::size_t start = address.find_first_not_of('@');
  return options->Set(*FindOption("join", Program::kLauncher), address.substr(start), Options::Source::kCommandLine,
                      "--join");
}

std::string OwnSessionName() { return fmt::format("{}-{:08x}", getpid(), std::random_device()()); }

std::string SessionOf(const Launch& launch) {
  const Options& options = launch.command.options;
  if (launch.command.form == Command::kNode) {  // ray-engine/<uid>/<session>/<node>
    const std::filesystem::path address = options.Text("join");
    return address.parent_path().filename();
  }
  if (options.Given("session-name")) return options.Text("session-name");
  return launch.rank.Launched() ? SessionName(launch.environment, OwnSessionName()) : OwnSessionName();
}

absl::Status PlanNode(Launch* launch) {
  const Options& options = launch->command.options;
  NodePlan& plan = launch->plan;
  plan.virtual_nodes = options.Flag("virtual-nodes") || launch->command.form == Command::kNode;
  plan.in_launch = launch->command.form != Command::kSolo;
  plan.head = launch->rank.rank == 0 && launch->command.form != Command::kNode;
  plan.fabric = launch->rank.size > 1 && (plan.virtual_nodes || !launch->rank.OneMachine());
  plan.session = SessionOf(*launch);
  if (launch->command.form != Command::kNode)
    plan.socket = EngineSocketName(plan.session, std::to_string(launch->rank.rank));
  plan.python = FindProgram(options.Text("python"), launch->environment.Get("PATH"));
  if (plan.python.empty())
    return absl::NotFoundError(fmt::format("--python: there is no interpreter '{}'", options.Text("python")));
  const MachineFacts facts = ReadMachine(launch->environment, launch->rank);
  launch->one_shared_node =
      launch->rank.size > 1 && !plan.virtual_nodes && launch->rank.OneMachine() && SharesCpus(facts, launch->rank);
  absl::StatusOr<Offer> offer = MakeOffer(options, facts, launch->rank, plan.virtual_nodes && launch->rank.size > 1);
  if (!offer.ok()) return offer.status();
  plan.offer = *offer;
  return absl::OkStatus();
}

}  // namespace

Lifecycle::Role Launch::Role() const {
  if (rank.rank != 0) return Lifecycle::Role::kMember;
  return command.form == Command::kRun ? Lifecycle::Role::kDriver : Lifecycle::Role::kHead;
}

std::string Launch::Name() const {
  if (rank.size > 1) return fmt::format("rank {}", rank.rank);
  return command.form == Command::kNode ? "this node" : "this session";
}

absl::StatusOr<Launch> PrepareLaunch(Command command, Environment environment, Rank rank) {
  Launch launch{std::move(command), std::move(environment), std::move(rank), {}, {}, false};
  if (absl::Status status = CheckProgram(launch.command); !status.ok()) return status;
  if (launch.HasDriver()) {
    if (absl::Status status = ClearExitFile(launch.command.options); !status.ok()) return status;
  }
  if (launch.command.form == Command::kNode) {
    if (absl::Status status = FindSession(&launch.command.options); !status.ok()) return status;
  }
  absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) return installation.status();
  launch.installation = *std::move(installation);
  if (absl::Status status = PlanNode(&launch); !status.ok()) return status;
  if (absl::Status status = MakeLogFolder(launch.command.options); !status.ok()) return status;
  if (absl::Status status = CheckSpilling(launch.command.options); !status.ok()) return status;
  return launch;
}

void SayFailure(const absl::Status& status, const Rank& rank) {
  const bool speaks_for_machine = rank.local_rank.value_or(0) == 0 && !rank.OneMachine();
  const bool common = absl::IsInvalidArgument(status) || absl::IsNotFound(status) || absl::IsPermissionDenied(status);
  if (rank.rank != 0 && (absl::IsAborted(status) || (common && !speaks_for_machine))) return;
  const std::string message(status.message());
  SayToUser(rank.rank == 0 ? message : fmt::format("rank {}: {}", rank.rank, message));
}

void SayToUser(const std::string& text) {
  const std::string line = fmt::format("ray-engine: {}\n", text);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace ray_engine
