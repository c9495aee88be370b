#include "engine/launch/rank.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace ray_engine {
namespace {

std::optional<int> Number(const Environment& environment, const char* name) {
  const std::string text = environment.Get(name);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

std::optional<int> FirstNumber(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const auto number = Number(environment, name)) return number;
  }
  return std::nullopt;
}

// Entry `node` of a list like "2(x3),1": 2 2 2 1.
std::optional<int> TasksOfNode(const std::string& list, int node) {
  const char* at = list.c_str();
  while (*at != '\0') {
    int tasks = 0, repeat = 1, used = 0;
    if (sscanf(at, "%d%n", &tasks, &used) != 1) return std::nullopt;
    at += used;
    if (sscanf(at, "(x%d)%n", &repeat, &used) == 1) at += used;
    if (node < repeat) return tasks;
    node -= repeat;
    if (*at == ',') ++at;
  }
  return std::nullopt;
}

void AddSlurmPlace(const Environment& environment, Rank* rank) {
  rank->local_rank = Number(environment, "SLURM_LOCALID");
  const auto node = Number(environment, "SLURM_NODEID");
  if (node) rank->local_size = TasksOfNode(environment.Get("SLURM_STEP_TASKS_PER_NODE"), *node);
}

constexpr double kLargestStep = 4294967280.0;  // above are the batch, interactive and external steps

bool IsSlurmTask(const Environment& environment) {
  const std::string step = environment.Get("SLURM_STEP_ID");
  return environment.Has("SLURM_PROCID") && !step.empty() && atof(step.c_str()) < kLargestStep;
}

bool IsSlurmShell(const Environment& environment) {
  return atof(environment.Get("SLURM_STEP_ID").c_str()) >= kLargestStep;
}

std::optional<Rank> FromOpenMpi(const Environment& environment) {
  const auto rank = Number(environment, "OMPI_COMM_WORLD_RANK"), size = Number(environment, "OMPI_COMM_WORLD_SIZE");
  if (!rank || !size) return std::nullopt;
  return Rank{*rank, *size, Number(environment, "OMPI_COMM_WORLD_LOCAL_RANK"),
              Number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE"), "Open MPI's mpirun"};
}

std::optional<Rank> FromPmix(const Environment& environment) {
  const auto rank = Number(environment, "PMIX_RANK");
  const auto size = FirstNumber(environment, {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
  if (!rank || !size || !IsSlurmTask(environment)) return std::nullopt;
  Rank found{*rank, *size, std::nullopt, std::nullopt, "srun --mpi=pmix"};
  AddSlurmPlace(environment, &found);
  return found;
}

std::optional<Rank> FromPmi(const Environment& environment) {
  const auto rank = Number(environment, "PMI_RANK");
  const auto size = FirstNumber(environment, {"PMI_SIZE", "SLURM_STEP_NUM_TASKS"});
  if (!rank || !size) return std::nullopt;
  Rank found{*rank, *size, FirstNumber(environment, {"MPI_LOCALRANKID", "PMI_LOCAL_RANK", "PALS_LOCAL_RANKID"}),
             FirstNumber(environment, {"MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "PALS_LOCAL_SIZE"}), "a launcher with PMI"};
  if (!found.local_rank && IsSlurmTask(environment)) AddSlurmPlace(environment, &found);
  return found;
}

absl::Status StrayRank(const Environment& environment, const std::string& variable, const std::string& lacking) {
  return absl::FailedPreconditionError(fmt::format(
      "{}={} in the environment says that this process is one of several ranks, but {}; start it by the launcher of "
      "the MPI that ray-engine uses (see ray-engine --version), or unset {} to run alone",
      variable, environment.Get(variable), lacking, variable));
}

// Ranks that nobody here understands would each run the whole program.
absl::Status CheckForStrayRank(const Environment& environment) {
  if (IsSlurmShell(environment)) return absl::OkStatus();  // it may have the variables of a job step
  for (const char* job : {"OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_"}) {
    const std::string rank = fmt::format("{}RANK", job), size = fmt::format("{}SIZE", job);
    const char* problem = environment.Has(rank) ? "{} is not understood" : "there is no {}";
    if (Number(environment, size.c_str()).value_or(1) > 1)
      return StrayRank(environment, size, fmt::format(fmt::runtime(problem), rank));
    if (Number(environment, rank.c_str()).value_or(0) > 0)
      return StrayRank(environment, rank, fmt::format("there is no {}", size));
  }
  if (!environment.Has("PMIX_RANK")) return absl::OkStatus();
  return StrayRank(environment, "PMIX_RANK", "nothing says of how many");
}

}  // namespace

absl::StatusOr<Rank> DetectRank(const Environment& environment) {
  for (const auto detect : {FromOpenMpi, FromPmix, FromPmi}) {
    if (std::optional<Rank> rank = detect(environment)) {
      rank->has_pmix = environment.Has("PMIX_RANK");
      if (rank->rank < rank->size) return *rank;
      return absl::InvalidArgumentError(fmt::format("the environment says rank {} of {}", rank->rank, rank->size));
    }
  }
  const int tasks = Number(environment, "SLURM_STEP_NUM_TASKS").value_or(1);
  if (IsSlurmTask(environment) && tasks > 1) {
    return absl::InvalidArgumentError(
        fmt::format("srun has started {} tasks without MPI, so each would be a job of its own; use srun --mpi=pmix "
                    "(srun --mpi=list shows what there is) or mpirun",
                    tasks));
  }
  if (absl::Status status = CheckForStrayRank(environment); !status.ok()) return status;
  return Rank{};
}

Rank RankOfSlurm(const Environment& environment) {
  Rank rank;
  rank.rank = Number(environment, "SLURM_PROCID").value_or(0);
  rank.size = std::max(Number(environment, "SLURM_STEP_NUM_TASKS").value_or(1), rank.rank + 1);
  AddSlurmPlace(environment, &rank);
  return rank;
}

std::string SessionName(const Environment& environment, const std::string& fallback) {
  std::string seed;
  for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_hnp_uri", "PMI_JOBID",
                           "SLURM_JOB_ID", "SLURM_STEP_ID"}) {
    seed += environment.Get(name) + "\n";
  }
  if (seed.find_first_not_of('\n') == std::string::npos) return fallback;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : seed) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::string job = "mpi";
  if (environment.Has("SLURM_JOB_ID")) {
    job = fmt::format("{}.{}", environment.Get("SLURM_JOB_ID"),
                      environment.Has("SLURM_STEP_ID") ? environment.Get("SLURM_STEP_ID") : "batch");
  }
  return fmt::format("{}-{:010x}", job, hash >> 24);
}

std::string WhatALostNodeEnds(const Environment& environment, const Rank& rank) {
  const auto is_on = [&environment](const char* name) {
    const std::string value = environment.Get(name);
    return value == "1" || value == "true" || value == "yes";
  };
  if (environment.Has("OMPI_COMM_WORLD_RANK")) {
    if (is_on("OMPI_MCA_orte_enable_recovery") || is_on("PRTE_MCA_prte_enable_recovery")) return "";
    return "the loss of a node will end the job: mpirun was started without --enable-recovery";
  }
  if (!IsSlurmTask(environment) || rank.launcher.empty()) return "";
  if (environment.Has("SLURM_NO_KILL") && environment.Get("SLURM_KILL_BAD_EXIT") == "0") return "";
  return "the loss of a node will end the job, unless srun was started with --no-kill --kill-on-bad-exit=0 and the "
         "batch "
         "script says --no-kill (export SLURM_NO_KILL=set SLURM_KILL_BAD_EXIT=0 does the same for srun, and ends this "
         "notice)";
}

void DropLauncherVariables(Environment* environment) {
  for (const char* prefix : {"OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "HYDI_", "PALS_", "MV2_COMM_WORLD_"})
    environment->DropPrefix(prefix);
}

}  // namespace ray_engine
