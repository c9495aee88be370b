// Command: what the user wants of ray-engine, from the command line, the environment and a config file.
//
//   ray-engine [options] app.py arguments...     run a driver
//   ray-engine [options] -m module arguments...
//   ray-engine [options] start                   an engine without a driver
//   ray-engine [options] node --join=ADDRESS     one more node for a running session of this machine
//   ray-engine sessions                          the running sessions of this user
//   ray-engine doctor                            what this machine's nodes would talk over
//   ray-engine status | list | summary | memory | timeline ...  questions to a running session
//
// Everything after the script or module, or the word of a question, belongs to it.
//
// Immutable value type.

#pragma once

#include <absl/status/statusor.h>
#include <absl/types/span.h>

#include <string>
#include <vector>

#include "engine/base/options.h"

namespace ray_engine {

struct Command {
  enum Form : std::uint8_t { kRun, kStart, kNode, kSolo, kSessions, kQuestion, kDoctor, kHelp, kVersion };
  Form form = kRun;
  Options options;
  std::vector<std::string> program;   // kRun: what the interpreter gets: the script or "-m" and the module, and
                                      // arguments; kQuestion: its words
  std::vector<std::string> warnings;  // what the user should hear before it runs

  bool IsModule() const { return !program.empty() && program.front() == "-m"; }
};

absl::StatusOr<Command> ParseCommand(absl::Span<const std::string> arguments);

std::string HelpText();

// Sources of options besides the command line (config_file.cc).
absl::Status ReadConfigFile(const std::string& path, Options* options);
// Adds a warning for each variable that is named like ours but is none.
absl::Status ReadEnvironment(Options* options, std::vector<std::string>* warnings);

}  // namespace ray_engine
