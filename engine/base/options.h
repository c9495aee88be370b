// Options: the one table of what can be set, and the values that one run got.
//
// Every option has a name, a type, a default, a check and a line of help. A value comes from the command line, else
// from the environment (RAY_ENGINE_NUM_CPUS for --num-cpus), else from the file named by --config, else it is the
// default. ray-engine and ray-engine-node read the same table; what concerns the engine is passed on to it under the
// same name.
//
// The table is Immutable, Options is Thread-compatible.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/types/span.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/resources.h"

namespace ray_engine {

enum class OptionType : std::uint8_t {
  kFlag,
  kText,
  kInteger,  // >= 0
  kNumber,   // an amount of a resource: 0 to ResourceSet::kLargest
  kBytes,    // 4096, 512M, 2g, 1.5GiB: powers of 1024
  kAmounts,  // a=1,b=0.5; no name twice
  kLabels,   // zone=a,rack=7
};

enum class Program : std::uint8_t { kLauncher = 1, kEngine = 2 };
inline constexpr std::uint8_t kBothPrograms = 3;

struct OptionSpec {
  using Check = std::string (*)(std::string_view value);

  std::string_view name;  // "num-cpus"
  OptionType type;
  std::string_view default_value;  // empty: none, or chosen at run time as the help says
  std::string_view placeholder;    // "N"; empty for flags
  std::uint8_t programs;           // set of Program
  std::string_view help;           // empty: not for users; one of our processes says it to another
  Check check = nullptr;           // why a well-formed value cannot be used; an empty answer if it can

  bool IsFor(Program program) const { return (programs & static_cast<std::uint8_t>(program)) != 0; }
};

absl::Span<const OptionSpec> OptionTable();
// nullptr if the table has no such option of the program.
const OptionSpec* FindOption(std::string_view name, Program program);
// The option of the program for users that is most like `name`; empty if none is.
std::string_view NearestOption(std::string_view name, Program program);
// Says that `name` is unknown and which option of the program is most like it. `origin` is how the user wrote it.
absl::Status UnknownOption(std::string_view name, std::string_view origin, Program program);

class Options {
 public:
  // Stronger sources overrule weaker ones, whatever the order of calls.
  enum class Source : std::uint8_t { kFile, kEnvironment, kCommandLine };

  // Checks and keeps a value. `origin` names its place in messages: "--num-cpus", "RAY_ENGINE_NUM_CPUS".
  absl::Status Set(const OptionSpec& spec, std::string_view value, Source source, std::string_view origin);

  // True if anybody gave it.
  bool Given(std::string_view name) const { return values_.count(name) != 0; }

  // The value or its default; empty or zero if there is neither. REQUIRES: the table has `name` with that type.
  bool Flag(std::string_view name) const { return Text(name) == "true"; }
  std::string Text(std::string_view name) const;
  std::int64_t Integer(std::string_view name) const;
  double Number(std::string_view name) const;
  std::uint64_t Bytes(std::string_view name) const;
  ResourceSet Amounts(std::string_view name) const;
  std::vector<std::pair<std::string, std::string>> Labels(std::string_view name) const;

 private:
  struct Value {
    std::string text;
    Source source;
  };
  std::map<std::string, Value, std::less<>> values_;
};

// Reads the options of a command line that holds nothing else.
absl::Status ReadCommandLine(absl::Span<const std::string> arguments, Program program, Options* options);

// The option part of --help.
std::string OptionHelp(Program program);

absl::StatusOr<std::uint64_t> ParseBytes(std::string_view text);
absl::StatusOr<double> ParseNumber(std::string_view text);
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParsePairs(std::string_view text);

}  // namespace ray_engine
