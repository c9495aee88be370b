// The command line reader of engine/base/options.h, on CLI11.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "engine/base/options.h"

namespace ray_engine {
namespace {

struct Given {
  const OptionSpec* spec;
  CLI::Option* option;
};

std::vector<Given> AddOptions(CLI::App* app, Program program) {
  std::vector<Given> all;
  for (const OptionSpec& spec : OptionTable()) {
    if (!spec.IsFor(program)) continue;
    const std::string name = fmt::format("--{}", spec.name);
    CLI::Option* option = spec.type == OptionType::kFlag ? app->add_flag(name) : app->add_option(name)->expected(1);
    all.push_back({&spec, option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)});
  }
  return all;
}

// CLI11 would take the next word for the value of "--resources=".
absl::Status CheckForValues(absl::Span<const std::string> arguments, Program program) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.compare(0, 2, "--") != 0) continue;
    const std::size_t equals = argument.find('=');
    const OptionSpec* spec = FindOption(argument.substr(2, equals - 2), program);
    if (spec == nullptr || spec->type == OptionType::kFlag) continue;
    const bool missing = equals == std::string::npos ? ++i == arguments.size() : equals + 1 == argument.size();
    if (missing)
      return absl::InvalidArgumentError(
          fmt::format("--{} lacks its value: --{}={}", spec->name, spec->name, spec->placeholder));
  }
  return absl::OkStatus();
}

absl::Status Unexpected(const std::string& argument, Program program) {
  const std::string name = argument.substr(0, argument.find('='));
  const std::size_t dashes = std::min(name.find_first_not_of('-'), name.size());
  if (dashes == 0) return absl::InvalidArgumentError(fmt::format("unexpected argument '{}'", argument));
  return UnknownOption(std::string_view(name).substr(dashes), name, program);
}

}  // namespace

absl::Status ReadCommandLine(absl::Span<const std::string> arguments, Program program, Options* options) {
  if (absl::Status status = CheckForValues(arguments, program); !status.ok()) return status;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  const std::vector<Given> all = AddOptions(&app, program);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // the order that CLI11 wants
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (const auto extras = app.remaining(); !extras.empty()) return Unexpected(extras.front(), program);
  for (const Given& given : all) {
    if (given.option->count() == 0) continue;
    const std::string& value = given.option->results().back();
    const std::string origin = given.option->get_name();
    if (absl::Status status = options->Set(*given.spec, value, Options::Source::kCommandLine, origin); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

}  // namespace ray_engine
