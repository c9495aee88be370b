// ray-engine: the program that users, mpirun and srun start. See engine/launch/command.h for its forms.

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "engine/base/version.h"
#include "engine/launch/bootstrap.h"
#include "engine/launch/children.h"
#include "engine/launch/command.h"
#include "engine/launch/launch.h"
#include "engine/launch/supervisor.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {
namespace {

int PrintHelp() {
  fmt::print("{}", HelpText());
  return 0;
}

// The engine itself says what it is linked with, and what it would do.
void AskEngine(const Installation& installation, const std::string& question) {
  std::fflush(stdout);
  SpawnRequest request;
  request.argv = {installation.node_program, question};
  request.environment = Environment::OfThisProcess();
  if (const absl::StatusOr<pid_t> child = Spawn(request); child.ok()) waitpid(*child, nullptr, 0);
}

int PrintVersion() {
  fmt::print("ray-engine {} (commit {})\n", Version(), Commit());
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) {
    SayToUser(std::string(installation.status().message()));
    return kCannotStart;
  }
  fmt::print("MPI: {}\n", BootstrapVersion(installation->mpi_library));
  fmt::print("PMIx: {}\n", BootstrapVersion(installation->pmix_library));
  AskEngine(*installation, "--version");
  return 0;
}

int PrintDoctor() {
  const int code = PrintVersion();
  if (code == 0) AskEngine(*FindInstallation(), "--doctor");
  return code;
}

int PrintSessions() {
  const std::vector<std::string> sockets = ListHeadSockets();
  if (sockets.empty()) fmt::print("no session of this user is running on this machine\n");
  for (const std::string& socket : sockets) fmt::print("{}\n", socket);
  return 0;
}

absl::StatusOr<int> AnswerQuestion(const Command& command) {
  const absl::StatusOr<Installation> installation = FindInstallation();
  if (!installation.ok()) return installation.status();
  const absl::StatusOr<SpawnRequest> request =
      QuestionRequest(command.program, *installation, command.options, Environment::OfThisProcess());
  if (!request.ok()) return request.status();
  const absl::StatusOr<pid_t> child = Spawn(*request);
  if (!child.ok()) return child.status();
  int status = 0;
  while (waitpid(*child, &status, 0) < 0 && errno == EINTR) {
  }
  return ExitCodeOf(status);
}

int Fail(const absl::Status& status, const Rank& rank, int code) {
  SayFailure(status, rank);
  return code;
}

int Run(Command command) {
  const Environment environment = Environment::OfThisProcess();
  const bool of_a_job = command.form == Command::kRun || command.form == Command::kStart;
  const absl::StatusOr<Rank> rank = of_a_job ? DetectRank(environment) : Rank{};
  if (!rank.ok()) return Fail(rank.status(), RankOfSlurm(environment), kCannotStart);
  absl::StatusOr<Launch> launch = PrepareLaunch(std::move(command), environment, *rank);
  if (!launch.ok()) return Fail(launch.status(), *rank, kUsageError);
  if (rank->rank == 0 && rank->size > 1 && !rank->OneMachine()) {
    if (const std::string notice = WhatALostNodeEnds(environment, *rank); !notice.empty()) SayToUser(notice);
  }
  return Supervisor(*std::move(launch)).Run();
}

int Main(const std::vector<std::string>& arguments) {
  absl::StatusOr<Command> command = ParseCommand(arguments);
  if (!command.ok())
    return Fail(command.status(), DetectRank(Environment::OfThisProcess()).value_or(Rank{}), kUsageError);
  if (!command->warnings.empty() && DetectRank(Environment::OfThisProcess()).value_or(Rank{}).rank == 0) {
    for (const std::string& warning : command->warnings) SayToUser(warning);
  }
  switch (command->form) {
    case Command::kHelp:
      return PrintHelp();
    case Command::kVersion:
      return PrintVersion();
    case Command::kSessions:
      return PrintSessions();
    case Command::kDoctor:
      return PrintDoctor();
    case Command::kQuestion: {
      const absl::StatusOr<int> code = AnswerQuestion(*command);
      return code.ok() ? *code : Fail(code.status(), Rank{}, kUsageError);
    }
    default:
      return Run(*std::move(command));
  }
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) { return ray_engine::Main(std::vector<std::string>(argv + 1, argv + argc)); }
