// Allocation: which part of the machine this rank has.
//
// A rank's own CPU mask is not the allocation: Open MPI binds each rank to one core. The launcher's daemon, our parent,
// still has all CPUs of the job on this machine; they are cut by the cgroup's quota and divided among the ranks. Under
// Slurm a task may be confined to a cpuset of its own, which then is its part. A lone rank gives all its CPUs to tasks,
// else rank 0 keeps one for scheduler and driver; every other rank gives at least one.
//
// ReadMachine looks at the machine (and widens this process's CPU mask, see there); the rest is pure.

#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/options.h"
#include "engine/base/process.h"
#include "engine/launch/rank.h"

namespace ray_engine {

// Facts about the machine, as this job may use it.
struct MachineFacts {
  int own_cpus = 1;      // of this process's mask as it was started
  int allowed_cpus = 1;  // the launcher daemon's mask within our cpuset; without a launcher our own
  double cpu_quota = 0;  // of the cgroup, in CPUs; 0: none
  int slurm_cpus = 0;    // of the job on this machine; 0: not under Slurm
  int gpus = 0;
  std::string gpu_variable;                              // CUDA_VISIBLE_DEVICES, or that of another maker
  std::optional<std::vector<std::string>> visible_gpus;  // what it lists, if it is set
  std::uint64_t memory_bytes = 0;
};

// Reads the facts. Afterwards this process, and so all its children, may run on every CPU that KeepsOwnMask leaves it.
MachineFacts ReadMachine(const Environment& environment, const Rank& rank);

// CPUs that this rank gives to tasks. Local rank and size of `rank` are known.
int CpuShare(const MachineFacts& facts, const Rank& rank);
// True if the workers of all ranks of the machine may run on the same CPUs.
bool SharesCpus(const MachineFacts& facts, const Rank& rank);
// True if the mask that the process was started with is wide enough to be its part; else it is to use all allowed CPUs.
bool KeepsOwnMask(const MachineFacts& facts, const Rank& rank);

// What the engine of this rank offers, as options of ray-engine-node: the user's where given, else this rank's part.
struct Offer {
  double num_cpus = 0;   // that this rank's own workers may use
  double node_cpus = 0;  // that all ranks of the node may use
  double num_gpus = 0;
  std::pair<std::string, std::string> gpu_part;  // variable and list, if this node has only a part of what is visible
  std::uint64_t memory = 0, store = 0;
};
// An error if more is asked for than there is. `own_node`: every rank of the machine is a node of its own.
absl::StatusOr<Offer> MakeOffer(const Options& options, const MachineFacts& facts, const Rank& rank, bool own_node);

}  // namespace ray_engine
