#include "engine/base/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace ray_engine {
namespace {

constexpr std::uint8_t kLauncher = static_cast<std::uint8_t>(Program::kLauncher);
constexpr std::uint8_t kEngine = static_cast<std::uint8_t>(Program::kEngine);

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

std::string CheckName(std::string_view name) {
  if (name.empty() || name.size() > 48) return "a name has 1 to 48 characters";
  if (!std::all_of(name.begin(), name.end(), IsNameCharacter))
    return "a name consists of letters, digits, '.', '-' and '_'";
  return "";
}

std::string CheckStoreSize(std::string_view text) {
  constexpr std::uint64_t kLeast = 1 << 20;
  return ParseBytes(text).value_or(0) < kLeast ? "the object store needs at least 1 MiB" : "";
}

std::string CheckMemory(std::string_view text) {
  const auto bytes = static_cast<double>(ParseBytes(text).value_or(0));
  return bytes > ResourceSet::kLargest ? fmt::format("no node has more than {}", BytesText(ResourceSet::kLargest)) : "";
}

std::string CheckAddress(std::string_view text) {
  constexpr std::string_view kStart = "ray-engine/";
  std::string_view name = text;
  if (!name.empty() && name.front() == '@') name.remove_prefix(1);
  if (text == "auto" || (name.substr(0, kStart.size()) == kStart && std::count(name.begin(), name.end(), '/') == 3))
    return "";
  return "an address looks like ray-engine/UID/SESSION/0, as 'ray-engine sessions' lists it; 'auto' finds the one "
         "running";
}

std::string CheckBootstrap(std::string_view text) {
  return text == "auto" || text == "pmix" || text == "mpi" ? "" : "it is auto, pmix or mpi";
}

std::string CheckBootstrapTimeout(std::string_view text) {
  const long seconds = std::strtol(std::string(text).c_str(), nullptr, 10);
  return seconds >= 1 && seconds <= 3600 ? "" : "it is 1 to 3600 seconds";
}

std::string CheckHeartbeat(std::string_view text) {
  const double seconds = ParseNumber(text).value_or(0);
  return seconds >= 0.01 && seconds <= 3600 ? "" : "it is 0.01 to 3600 seconds";
}

std::string CheckCustomResources(std::string_view text) {
  const auto pairs = ParsePairs(text);
  if (!pairs.ok()) return std::string(pairs.status().message());
  for (const auto& [name, amount] : *pairs) {
    if (name == "CPU" || name == "GPU" || name == "memory" || name == "object_store_memory") {
      return fmt::format("{} has an option of its own", name);
    }
  }
  return "";
}

constexpr OptionSpec kTable[] = {
    {"num-cpus", OptionType::kNumber, "", "N", kBothPrograms,
     "CPUs that tasks of this rank's workers may use (default: this rank's part of the allocation)"},
    {"num-gpus", OptionType::kNumber, "", "N", kBothPrograms, "GPUs of this rank's node (default: those visible)"},
    {"memory", OptionType::kBytes, "", "BYTES", kBothPrograms,
     "memory that tasks may ask for (default: the node's memory without the object store)", CheckMemory},
    {"object-store-memory", OptionType::kBytes, "", "BYTES", kBothPrograms,
     "size of the node's object store (default: 30 % of the node's memory)", CheckStoreSize},
    {"spill-directory", OptionType::kText, "", "DIR", kBothPrograms,
     "node-local folder for what a full object store spills (default: SLURM_TMPDIR, TMPDIR or /tmp)"},
    {"spill-limit", OptionType::kBytes, "", "BYTES", kBothPrograms,
     "most that is spilled there; 0: nothing (default: what the file system has room for)"},
    {"resources", OptionType::kAmounts, "", "NAME=N,..", kBothPrograms, "custom resources of this rank's node",
     CheckCustomResources},
    {"labels", OptionType::kLabels, "", "KEY=VALUE,..", kBothPrograms, "labels of this rank's node"},
    {"node-name", OptionType::kText, "", "NAME", kBothPrograms, "name of this rank's node (default: the host name)"},
    {"virtual-nodes", OptionType::kFlag, "false", "", kLauncher,
     "every rank is a node of its own, also on one machine"},
    {"bootstrap", OptionType::kText, "auto", "HOW", kLauncher,
     "how the ranks meet: pmix, mpi, or auto: by PMIx where the launcher has it", CheckBootstrap},
    {"bootstrap-timeout", OptionType::kInteger, "300", "SECONDS", kLauncher,
     "how long the ranks may take to meet before the job ends", CheckBootstrapTimeout},
    {"heartbeat-interval", OptionType::kNumber, "1", "SECONDS", kBothPrograms,
     "how often the head looks for a sign of life of each node", CheckHeartbeat},
    {"heartbeat-limit", OptionType::kNumber, "5", "SECONDS", kBothPrograms,
     "how long a node may be silent before the session goes on without it", CheckHeartbeat},
    {"session-name", OptionType::kText, "", "NAME", kLauncher,
     "name by which others find the session (default: from the job id)", CheckName},
    {"python", OptionType::kText, "python3", "FILE", kLauncher, "interpreter of driver and workers"},
    {"log-dir", OptionType::kText, "", "DIR", kBothPrograms,
     "write one log file per node there (default: no log files)"},
    {"exit-file", OptionType::kText, "", "FILE", kLauncher, "write the driver's exit code there at the end"},
    {"config", OptionType::kText, "", "FILE", kLauncher, "read options from this file, one 'name = value' a line"},
    {"join", OptionType::kText, "", "ADDRESS", kBothPrograms,
     "with 'node': the session to join, as 'start' prints it; 'auto': the one running", CheckAddress},
    // What our processes tell each other.
    {"solo", OptionType::kFlag, "false", "", kLauncher, ""},
    {"driver-fd", OptionType::kInteger, "", "FD", kBothPrograms, ""},
    {"ready-fd", OptionType::kInteger, "", "FD", kLauncher,
     ""},  // told when the node is up; it ends when that is closed
    {"control-fd", OptionType::kInteger, "", "FD", kEngine, ""},
    {"forkserver-fd", OptionType::kInteger, "", "FD", kEngine, ""},
    {"forkserver-cpus", OptionType::kNumber, "", "N", kEngine,
     ""},  // of num-cpus, those that this forkserver's workers use
    {"head", OptionType::kFlag, "false", "", kEngine, ""},
    {"virtual", OptionType::kFlag, "false", "", kEngine, ""},  // other nodes share this machine
    {"fabric", OptionType::kFlag, "false", "", kEngine, ""},   // there are other nodes from the start
    {"session", OptionType::kText, "", "NAME", kEngine, "", CheckName},
    {"socket", OptionType::kText, "", "NAME", kEngine, ""},  // abstract name to listen at
    {"python-path", OptionType::kText, "", "PATHS", kEngine, ""},
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

absl::Status Invalid(std::string_view what, std::string_view value) {
  return absl::InvalidArgumentError(fmt::format("'{}' is not {}", value, what));
}

absl::Status CheckAmount(std::string_view text) {
  const absl::StatusOr<double> amount = ParseNumber(text);
  if (amount.ok() && *amount > ResourceSet::kLargest)
    return absl::InvalidArgumentError(fmt::format("'{}' is too large; {} is the most", text, ResourceSet::kLargest));
  return amount.status();
}

absl::Status CheckAmounts(std::string_view text) {
  const auto pairs = ParsePairs(text);
  if (!pairs.ok()) return pairs.status();
  for (const auto& [name, amount] : *pairs) {
    if (absl::Status status = CheckAmount(amount); !status.ok())
      return absl::InvalidArgumentError(fmt::format("the amount of '{}': {}", name, std::string(status.message())));
  }
  return absl::OkStatus();
}

absl::Status CheckType(OptionType type, std::string_view value) {
  if (value.empty()) return absl::InvalidArgumentError("the value is empty");
  switch (type) {
    case OptionType::kFlag:
      return value == "true" || value == "false" ? absl::OkStatus() : Invalid("'true' or 'false'", value);
    case OptionType::kText:
      return absl::OkStatus();
    case OptionType::kInteger: {
      const auto number = ParseNumber(value);
      return number.ok() && *number == std::floor(*number) ? absl::OkStatus()
                                                           : Invalid("a whole number, 0 or more", value);
    }
    case OptionType::kNumber:
      return CheckAmount(value);
    case OptionType::kBytes:
      return ParseBytes(value).status();
    case OptionType::kAmounts:
      return CheckAmounts(value);
    case OptionType::kLabels:
      return ParsePairs(value).status();
  }
  return absl::OkStatus();
}

// Other spellings of flags, as environments and files have them.
std::string Canonical(OptionType type, std::string_view value) {
  std::string text(Trim(value));
  if (type != OptionType::kFlag) return text;
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (text == "1" || text == "yes" || text == "on") return "true";
  if (text == "0" || text == "no" || text == "off") return "false";
  return text;
}

std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row[b.size()];
}

}  // namespace

absl::Span<const OptionSpec> OptionTable() { return kTable; }

const OptionSpec* FindOption(std::string_view name, Program program) {
  for (const OptionSpec& spec : kTable) {
    if (spec.name == name && spec.IsFor(program)) return &spec;
  }
  return nullptr;
}

std::string_view NearestOption(std::string_view name, Program program) {
  std::string_view nearest;
  std::size_t best = std::max<std::size_t>(2, name.size() / 2) + 1;
  for (const OptionSpec& spec : kTable) {
    if (!spec.IsFor(program) || spec.help.empty()) continue;
    const std::size_t distance = EditDistance(name, spec.name);
    if (distance < best) {
      best = distance;
      nearest = spec.name;
    }
  }
  return nearest;
}

absl::Status UnknownOption(std::string_view name, std::string_view origin, Program program) {
  const std::string_view nearest = NearestOption(name, program);
  const std::string hint = nearest.empty() ? "see ray-engine --help" : fmt::format("did you mean '{}'?", nearest);
  return absl::InvalidArgumentError(fmt::format("unknown option {}; {}", origin, hint));
}

absl::Status Options::Set(const OptionSpec& spec, std::string_view value, Source source, std::string_view origin) {
  std::string text = Canonical(spec.type, value);
  if (absl::Status status = CheckType(spec.type, text); !status.ok()) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", origin, std::string(status.message())));
  }
  if (spec.check != nullptr) {
    if (std::string reason = spec.check(text); !reason.empty()) {
      return absl::InvalidArgumentError(fmt::format("{}: cannot use '{}': {}", origin, text, reason));
    }
  }
  const auto found = values_.find(spec.name);
  if (found == values_.end() || found->second.source <= source) {
    values_.insert_or_assign(std::string(spec.name), Value{std::move(text), source});
  }
  return absl::OkStatus();
}

std::string Options::Text(std::string_view name) const {
  if (const auto found = values_.find(name); found != values_.end()) return found->second.text;
  for (const OptionSpec& spec : kTable) {
    if (spec.name == name) return std::string(spec.default_value);
  }
  return "";
}

std::int64_t Options::Integer(std::string_view name) const { return std::llround(Number(name)); }
double Options::Number(std::string_view name) const { return ParseNumber(Text(name)).value_or(0); }
std::uint64_t Options::Bytes(std::string_view name) const { return ParseBytes(Text(name)).value_or(0); }

ResourceSet Options::Amounts(std::string_view name) const {
  ResourceSet amounts;
  for (const auto& [resource, amount] : Labels(name)) {
    amounts.Set(resource, ResourceSet::FromDouble(ParseNumber(amount).value_or(0)));
  }
  return amounts;
}

std::vector<std::pair<std::string, std::string>> Options::Labels(std::string_view name) const {
  return ParsePairs(Text(name)).value_or(std::vector<std::pair<std::string, std::string>>());
}

absl::StatusOr<double> ParseNumber(std::string_view text) {
  text = Trim(text);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(number) || number < 0) return Invalid("a number, 0 or more", text);
  return number;
}

absl::StatusOr<std::uint64_t> ParseBytes(std::string_view text) {
  constexpr std::string_view kUnits = "KMGTP";
  std::string_view digits = Trim(text);
  const auto drop_suffix = [&digits](char c) {
    if (!digits.empty() && std::tolower(static_cast<unsigned char>(digits.back())) == c) digits.remove_suffix(1);
  };
  drop_suffix('b');
  drop_suffix('i');
  std::size_t unit = std::string_view::npos;
  if (!digits.empty()) unit = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(digits.back()))));
  if (unit != std::string_view::npos) digits.remove_suffix(1);
  const absl::StatusOr<double> number = ParseNumber(digits);
  if (!number.ok()) return Invalid("a number of bytes (such as 4096, 512M or 2G)", text);
  const double bytes = *number * std::pow(1024.0, unit == std::string_view::npos ? 0 : static_cast<double>(unit) + 1);
  if (bytes >= 9.2e18) return Invalid("a possible number of bytes", text);
  return static_cast<std::uint64_t>(bytes);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParsePairs(std::string_view text) {
  const std::string_view all = text;
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    const std::string_view name = Trim(item.substr(0, equals));
    if (equals == std::string_view::npos || name.empty()) return Invalid("of the form name=value", item);
    const auto same = [name](const auto& pair) { return pair.first == name; };
    if (std::any_of(pairs.begin(), pairs.end(), same))
      return absl::InvalidArgumentError(fmt::format("'{}' is given twice in '{}'", name, all));
    pairs.emplace_back(name, Trim(item.substr(equals + 1)));
  }
  return pairs;
}

std::string OptionHelp(Program program) {
  std::string help;
  for (const OptionSpec& spec : kTable) {
    if (!spec.IsFor(program) || spec.help.empty()) continue;
    const std::string left = fmt::format("  --{} {}", spec.name, spec.placeholder);
    const bool shown_default = !spec.default_value.empty() && spec.type != OptionType::kFlag;
    help += fmt::format("{:<34} {}{}\n", left, spec.help,
                        shown_default ? fmt::format(" (default: {})", spec.default_value) : "");
  }
  return help;
}

}  // namespace ray_engine
