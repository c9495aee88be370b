// The config file and environment readers of engine/launch/command.h, on Boost.Program_options.

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "engine/base/process.h"
#include "engine/launch/command.h"

namespace ray_engine {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kPrefix = "RAY_ENGINE_";

bool IsForUsers(const OptionSpec& spec) { return spec.IsFor(Program::kLauncher) && !spec.help.empty(); }

po::options_description Description() {
  po::options_description description;
  for (const OptionSpec& spec : OptionTable()) {
    if (IsForUsers(spec)) description.add_options()(std::string(spec.name).c_str(), po::value<std::string>());
  }
  return description;
}

std::string VariableOf(std::string_view option) {
  std::string name(kPrefix);
  for (const char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// The option that an environment variable stands for; empty if none.
std::string OptionOf(const std::string& variable) {
  for (const OptionSpec& spec : OptionTable()) {
    if (IsForUsers(spec) && variable == VariableOf(spec.name)) return std::string(spec.name);
  }
  return "";
}

bool StartsWith(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

// Named like an option's variable, but nobody reads it.
bool IsStray(const std::string& variable) {
  if (!StartsWith(variable, kPrefix) || !OptionOf(variable).empty()) return false;
  for (const std::string_view ours : {"PROGRAM", "ADDRESS", "DRIVER_FD"}) {  // the Python package's
    if (std::string_view(variable).substr(kPrefix.size()) == ours) return false;
  }
  return !StartsWith(variable, "RAY_ENGINE_TEST_") && !StartsWith(variable, "RAY_ENGINE_SIM_");
}

std::string StrayWarning(const std::string& variable) {
  std::string name = variable.substr(kPrefix.size());
  for (char& c : name) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const std::string_view nearest = NearestOption(name, Program::kLauncher);
  const std::string hint =
      nearest.empty() ? "see ray-engine --help" : fmt::format("did you mean {}?", VariableOf(nearest));
  return fmt::format("warning: the environment variable {} is unknown and ignored; {}", variable, hint);
}

}  // namespace

absl::Status ReadConfigFile(const std::string& path, Options* options) {
  std::ifstream file(path);
  if (!file || (file.peek(), file.bad()))  // a folder can be opened, but not read
    return absl::NotFoundError(fmt::format("--config: cannot read {}: {}", path, std::strerror(errno)));
  try {
    const auto parsed = po::parse_config_file(file, Description(), /*allow_unregistered=*/true);
    for (const auto& option : parsed.options) {
      const std::string origin = fmt::format("{}: {}", path, option.string_key);
      const OptionSpec* spec = FindOption(option.string_key, Program::kLauncher);
      if (spec == nullptr || !IsForUsers(*spec))
        return UnknownOption(option.string_key, fmt::format("'{}' in {}", option.string_key, path), Program::kLauncher);
      if (spec->name == "config")
        return absl::InvalidArgumentError(fmt::format("{}: a config file cannot name another", origin));
      const std::string value = option.value.empty() ? "" : option.value.front();
      if (absl::Status status = options->Set(*spec, value, Options::Source::kFile, origin); !status.ok()) return status;
    }
  } catch (const po::error& error) {
    return absl::InvalidArgumentError(fmt::format("--config: {}: {}", path, error.what()));
  }
  return absl::OkStatus();
}

absl::Status ReadEnvironment(Options* options, std::vector<std::string>* warnings) {
  for (const std::string& entry : Environment::OfThisProcess().Entries()) {
    const std::string variable = entry.substr(0, entry.find('='));
    if (IsStray(variable)) warnings->push_back(StrayWarning(variable));
  }
  const auto parsed = po::parse_environment(Description(), OptionOf);
  for (const auto& option : parsed.options) {
    const OptionSpec* spec = FindOption(option.string_key, Program::kLauncher);
    const std::string value = option.value.empty() ? "" : option.value.front();
    if (absl::Status status = options->Set(*spec, value, Options::Source::kEnvironment, VariableOf(spec->name));
        !status.ok())
      return status;
  }
  return absl::OkStatus();
}

}  // namespace ray_engine
