// The part of engine/launch/allocation.h that looks at the machine.

#include <sched.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/base/accelerators.h"
#include "engine/launch/allocation.h"

namespace ray_engine {
namespace {

namespace fs = std::filesystem;

// ---- CPU masks -----------------------------------------------------------------------------------------------------

constexpr std::size_t kMaxCpus = 8192;
struct Mask {
  std::array<cpu_set_t, kMaxCpus / CPU_SETSIZE> sets{};
  int Count() const { return CPU_COUNT_S(sizeof sets, sets.data()); }
};

bool ReadMask(pid_t process, Mask* mask) {
  return sched_getaffinity(process, sizeof mask->sets, mask->sets.data()) == 0;
}

std::string Contents(const fs::path& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return text;
}

// The daemon that has started the ranks of this machine: our parent, or above a wrapper such as a shell.
pid_t LauncherDaemon() {
  static constexpr std::string_view kDaemons[] = {"mpirun", "mpiexec", "orterun",    "orted",          "prte",
                                                  "prted",  "prterun", "slurmstepd", "hydra_pmi_proxy"};
  pid_t process = getppid();
  for (int height = 0; height < 4 && process > 1; ++height) {
    const std::string name = Contents(fs::path("/proc") / std::to_string(process) / "comm");
    if (std::find(std::begin(kDaemons), std::end(kDaemons), name) != std::end(kDaemons)) return process;
    process = ParentOf(process);
  }
  return getppid();
}

// Counts CPUs; leaves this process with the mask that it and its children are to have.
void ReadCpus(const Rank& rank, MachineFacts* facts) {
  Mask own, daemon, allowed;
  if (!ReadMask(0, &own)) return;
  facts->own_cpus = facts->allowed_cpus = own.Count();
  if (!rank.Launched() || !ReadMask(LauncherDaemon(), &daemon)) return;
  if (sched_setaffinity(0, sizeof daemon.sets, daemon.sets.data()) != 0) return;  // the kernel cuts it to our cpuset
  if (ReadMask(0, &allowed)) facts->allowed_cpus = allowed.Count();
}

void RestoreMask(const Mask& mask) { sched_setaffinity(0, sizeof mask.sets, mask.sets.data()); }

// ---- cgroups -------------------------------------------------------------------------------------------------------

// The folders of this process's cgroup and its ancestors, of version 2 or of a version 1 controller.
std::vector<fs::path> CgroupFolders(const std::string& controller) {
  std::vector<fs::path> folders;
  std::ifstream table("/proc/self/cgroup");
  for (std::string line; std::getline(table, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && ("," + controllers + ",").find("," + controller + ",") == std::string::npos) continue;
    const fs::path root = unified ? fs::path("/sys/fs/cgroup") : fs::path("/sys/fs/cgroup") / controllers;
    for (fs::path at = fs::path(line.substr(second + 1)).relative_path();; at = at.parent_path()) {
      folders.push_back(root / at);
      if (at.empty()) break;
    }
  }
  return folders;
}

double QuotaOf(const fs::path& folder) {
  double quota = 0, period = 0;
  std::ifstream unified(folder / "cpu.max");
  if (unified >> quota >> period && period > 0) return quota / period;  // "max 100000" is no number
  std::ifstream quota_file(folder / "cpu.cfs_quota_us"), period_file(folder / "cpu.cfs_period_us");
  return quota_file >> quota && period_file >> period && quota > 0 && period > 0 ? quota / period : 0;
}

double CpuQuota() {
  double least = 0;
  for (const fs::path& folder : CgroupFolders("cpu")) {
    const double quota = QuotaOf(folder);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
  }
  return least;
}

std::uint64_t CgroupMemory() {
  std::uint64_t least = ~0ull;
  for (const fs::path& folder : CgroupFolders("memory")) {
    for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
      std::uint64_t limit = 0;
      std::ifstream file(folder / name);
      if (file >> limit && limit > 0) least = std::min(least, limit);
    }
  }
  return least;
}

// ---- the rest ------------------------------------------------------------------------------------------------------

std::uint64_t SlurmMemory(const Environment& environment, int cpus) {
  const auto megabytes = [&environment](const char* name) {
    return ParseNumber(environment.Get(name)).value_or(0) * (1 << 20);
  };
  double bytes = megabytes("SLURM_MEM_PER_NODE");
  if (bytes == 0) bytes = megabytes("SLURM_MEM_PER_CPU") * cpus;
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : ~0ull;
}

std::uint64_t Memory(const Environment& environment, int cpus) {
  struct sysinfo machine {};
  sysinfo(&machine);
  return std::min({std::uint64_t{machine.totalram} * machine.mem_unit, CgroupMemory(), SlurmMemory(environment, cpus)});
}

}  // namespace

MachineFacts ReadMachine(const Environment& environment, const Rank& rank) {
  MachineFacts facts;
  Mask own;
  const bool know_mask = ReadMask(0, &own);
  ReadCpus(rank, &facts);
  facts.cpu_quota = CpuQuota();
  facts.slurm_cpus = static_cast<int>(ParseNumber(environment.Get("SLURM_CPUS_ON_NODE")).value_or(0));
  const AcceleratorFamily gpu = Accelerators(environment).front();
  facts.gpus = CountGpus(environment);
  facts.gpu_variable = gpu.variable;
  facts.visible_gpus = VisibleIds(gpu, environment);
  facts.memory_bytes = Memory(environment, facts.slurm_cpus > 0 ? facts.slurm_cpus : facts.allowed_cpus);
  if (know_mask && KeepsOwnMask(facts, rank)) RestoreMask(own);
  return facts;
}

}  // namespace ray_engine
