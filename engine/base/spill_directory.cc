#include "engine/base/spill_directory.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace ray_engine {
namespace {

bool LiesInMemory(const std::string& path) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
}

bool IsUsable(const std::string& path) {
  std::error_code error;
  return !path.empty() && std::filesystem::is_directory(path, error) && access(path.c_str(), W_OK | X_OK) == 0;
}

}  // namespace

std::string DefaultSpillDirectory(const Environment& environment) {
  std::string in_memory;
  for (const std::string& path :
       {environment.Get("SLURM_TMPDIR"), environment.Get("TMPDIR"), std::string("/tmp"), std::string("/var/tmp")}) {
    if (!IsUsable(path)) continue;
    if (!LiesInMemory(path)) return std::filesystem::absolute(path).string();
    if (in_memory.empty()) in_memory = path;
  }
  return in_memory.empty() ? "/tmp" : in_memory;
}

absl::Status CheckSpillDirectory(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    return absl::PermissionDeniedError(fmt::format("--spill-directory: cannot spill to {}: {}", path, why));
  };
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return refuse(error ? error.message() : "it is not a folder");
  if (access(path.c_str(), W_OK | X_OK) != 0) return refuse(std::strerror(errno));
  struct statvfs space {};
  if (statvfs(path.c_str(), &space) == 0 && space.f_bavail == 0) return refuse("there is no space left");
  return absl::OkStatus();
}

}  // namespace ray_engine
