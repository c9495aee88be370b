#include "engine/launch/installation.h"

#include <fmt/format.h>

#include <filesystem>

namespace ray_engine {
namespace {

namespace fs = std::filesystem;

std::string Beside(const fs::path& folder, const char* name) {
  const fs::path beside = folder / name, apart = folder.parent_path() / "libexec/ray-engine" / name;
  return fs::exists(beside) || !fs::exists(apart) ? beside.string() : apart.string();
}

}  // namespace

absl::StatusOr<Installation> FindInstallation() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path(), prefix = folder.parent_path();
  if (error) return absl::InternalError("cannot tell where this program is: " + error.message());
  Installation found;
  found.node_program = Beside(folder, "ray-engine-node");
  found.pmix_library = Beside(folder, "libray_engine_pmix.so");
  found.mpi_library = Beside(folder, "libray_engine_mpi.so");
  for (const fs::path& candidate : {prefix / "python", prefix / "lib/ray-engine/python", prefix.parent_path()}) {
    if (!fs::exists(candidate / "ray_engine/_forkserver.py")) continue;
    found.python_path = candidate;
    found.alias_path = candidate / "ray_engine/_alias";
    found.alias_programs = candidate / "ray_engine/_alias_programs";
    found.is_wheel = candidate == prefix.parent_path();
    break;
  }
  if (!fs::exists(found.node_program))
    return absl::FailedPreconditionError(
        fmt::format("{} is missing: the installation is not complete", found.node_program));
  if (found.python_path.empty())
    return absl::FailedPreconditionError(
        fmt::format("the Python package that belongs to {} is missing", folder.string()));
  return found;
}

}  // namespace ray_engine
