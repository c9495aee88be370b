#include "engine/launch/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

namespace ray_engine {
namespace {

// Index of the first argument that is no option of ours: the script, "-m" or a command.
std::size_t EndOfOptions(absl::Span<const std::string> arguments) {
  std::size_t at = 0;
  while (at < arguments.size()) {
    const std::string& argument = arguments[at];
    if (argument.compare(0, 2, "--") != 0 || argument == "--") break;
    const std::size_t equals = argument.find('=');
    const OptionSpec* spec = FindOption(argument.substr(2, equals - 2), Program::kLauncher);
    const bool has_value_beside = spec != nullptr && spec->type != OptionType::kFlag && equals == std::string::npos;
    at += has_value_beside ? 2 : 1;
  }
  return std::min(at, arguments.size());
}

bool IsOneOf(const std::string& word, std::initializer_list<const char*> words) {
  for (const char* candidate : words) {
    if (word == candidate) return true;
  }
  return false;
}

// Commands whose options may also come after their name.
absl::StatusOr<Command::Form> NamedForm(const std::string& word) {
  if (word == "start") return Command::kStart;
  if (word == "node") return Command::kNode;
  if (word == "sessions") return Command::kSessions;
  if (word == "doctor") return Command::kDoctor;
  if (IsOneOf(word, {"status", "list", "summary", "memory", "timeline"})) return Command::kQuestion;
  return absl::NotFoundError("not a command");
}

absl::Status ReadOptions(absl::Span<const std::string> arguments, Command* command) {
  Options* options = &command->options;
  if (absl::Status status = ReadCommandLine(arguments, Program::kLauncher, options); !status.ok()) return status;
  if (absl::Status status = ReadEnvironment(options, &command->warnings); !status.ok()) return status;
  return options->Given("config") ? ReadConfigFile(options->Text("config"), options) : absl::OkStatus();
}

// kHelp or kVersion if that is asked for before a program or after a command, else kRun.
Command::Form Question(absl::Span<const std::string> arguments) {
  for (const std::string& word : arguments.first(std::min(EndOfOptions(arguments) + 1, arguments.size()))) {
    if (IsOneOf(word, {"--help", "-h"})) return Command::kHelp;
    if (IsOneOf(word, {"--version", "-V"})) return Command::kVersion;
  }
  return Command::kRun;
}

// What stands after the options: the program, or nothing in the forms that need none.
absl::Status TakeProgram(absl::Span<const std::string> rest, Command* command) {
  if (!rest.empty() && rest.front() == "--") rest.remove_prefix(1);
  if (command->options.Flag("solo")) {
    command->form = Command::kSolo;
    if (!rest.empty()) return absl::InvalidArgumentError("--solo goes without a program");
    return command->options.Given("driver-fd") ? absl::OkStatus()
                                               : absl::InvalidArgumentError("--solo needs --driver-fd");
  }
  if (rest.empty())
    return absl::InvalidArgumentError(
        "nothing to run: name a Python program, -m MODULE or a command; see ray-engine --help");
  if (rest.front() == "-m" && rest.size() == 1) return absl::InvalidArgumentError("-m needs the name of a module");
  if (rest.front()[0] == '-' && rest.front() != "-m") {
    return UnknownOption(rest.front().substr(1), fmt::format("'{}'", rest.front()), Program::kLauncher);
  }
  command->program.assign(rest.begin(), rest.end());
  return absl::OkStatus();
}

absl::StatusOr<Command> ParseQuestion(absl::Span<const std::string> options, absl::Span<const std::string> words) {
  Command command;
  command.form = Command::kQuestion;
  if (absl::Status status = ReadOptions(options, &command); !status.ok()) return status;
  command.program.assign(words.begin(), words.end());
  return command;
}

absl::StatusOr<Command> ParseNamed(Command::Form form, absl::Span<const std::string> before,
                                   absl::Span<const std::string> after) {
  Command command;
  command.form = Question(after);
  if (command.form != Command::kRun) return command;
  command.form = form;
  std::vector<std::string> options(before.begin(), before.end());
  options.insert(options.end(), after.begin(), after.end());
  if (absl::Status status = ReadOptions(options, &command); !status.ok()) return status;
  if (form == Command::kNode && !command.options.Given("join"))
    return absl::InvalidArgumentError("'node' needs --join=ADDRESS, as 'ray-engine sessions' lists it, or --join=auto");
  return command;
}

}  // namespace

absl::StatusOr<Command> ParseCommand(absl::Span<const std::string> arguments) {
  Command command;
  const std::size_t end = EndOfOptions(arguments);
  const absl::Span<const std::string> options = arguments.first(end), rest = arguments.subspan(end);
  command.form = Question(arguments);
  if (command.form != Command::kRun) return command;
  if (!rest.empty()) {
    const auto form = NamedForm(rest.front());
    if (form.ok() && *form == Command::kQuestion) return ParseQuestion(options, rest);
    if (form.ok()) return ParseNamed(*form, options, rest.subspan(1));
  }
  if (absl::Status status = ReadOptions(options, &command); !status.ok()) return status;
  if (absl::Status status = TakeProgram(rest, &command); !status.ok()) return status;
  return command;
}

std::string HelpText() {
  return fmt::format(
      R"(ray-engine runs Python programs that use Ray's API over the ranks of an MPI job, or on this machine alone.

  ray-engine [options] app.py arguments...     run a program; under mpirun or srun over all ranks
  ray-engine [options] -m module arguments...  run a module
  ray-engine [options] start                   run an engine without a program; it prints the address to join
  ray-engine [options] node --join=ADDRESS     add a node on this machine to a running session
  ray-engine sessions                          list the running sessions of this user
  ray-engine status                            nodes, resources in use and what waits, of the running session
  ray-engine list KIND | summary KIND | memory | timeline   more of it; each knows --help
  ray-engine doctor                            networks and memory that nodes on machines like this would use
  ray-engine --help | --version                -h, -V

Everything after the program's name belongs to it. Options:
{}
Each option can also stand in the environment, as RAY_ENGINE_NUM_CPUS for --num-cpus, or in the file that --config names.
The command line is stronger than the environment, the environment stronger than the file.
Sizes are in bytes, with K, M, G or T for powers of 1024. The exit code is that of the program; 128 + N if signal N ended
it, 2 for a wrong command line, 70 if an engine was lost, 72 if the engine could not start.
)",
      OptionHelp(Program::kLauncher));
}

}  // namespace ray_engine
