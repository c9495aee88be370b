// Rank: what the launcher's environment says about this process, before any MPI is loaded.
//
// Open MPI's mpirun, launchers with a PMI interface (MPICH, Intel MPI, srun --mpi=pmi2) and srun --mpi=pmix are known.
//
// Immutable value type.

#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>

#include "engine/base/process.h"

namespace ray_engine {

struct Rank {
  int rank = 0;
  int size = 1;
  std::optional<int> local_rank, local_size;  // among the ranks of this machine, where the launcher tells
  std::string launcher;                       // for people; empty: started by hand
  bool has_pmix = false;                      // the launcher serves PMIx

  bool Launched() const { return !launcher.empty(); }
  bool OneMachine() const { return local_size.has_value() && *local_size == size; }
};

// An error if the launcher has started several processes that cannot know of each other.
absl::StatusOr<Rank> DetectRank(const Environment& environment);

// What Slurm alone says, be there MPI or not: to know who speaks.
Rank RankOfSlurm(const Environment& environment);

// A name for the session that all ranks of the job agree on and no other job has: job and step id where there are any.
// `fallback` where the environment names no job.
std::string SessionName(const Environment& environment, const std::string& fallback);

// Why the launcher will end the whole job when a node of it is lost, and what it has to be told so that it does not.
// Empty if it has been told, or if nobody here knows such a launcher.
std::string WhatALostNodeEnds(const Environment& environment, const Rank& rank);

// Takes out what belongs to the launcher's own processes: a child that finds it would take itself for a rank.
void DropLauncherVariables(Environment* environment);

}  // namespace ray_engine
