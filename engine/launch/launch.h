// Launch: everything a rank knows before it starts its first process.
//
// Immutable once made.

#pragma once

#include <absl/status/statusor.h>

#include "engine/base/process.h"
#include "engine/launch/children.h"
#include "engine/launch/command.h"
#include "engine/launch/installation.h"
#include "engine/launch/lifecycle.h"
#include "engine/launch/rank.h"

namespace ray_engine {

struct Launch {
  Command command;
  Environment environment;
  Rank rank;
  Installation installation;
  NodePlan plan;
  // The node of rank 0 is the whole session and its workers are as good as those of the other ranks: it need not wait
  // for them, and they leave the machine to it while it starts.
  bool one_shared_node = false;

  bool HasDriver() const { return command.form == Command::kRun && rank.rank == 0; }
  // Whether this rank starts a node engine, where the launcher tells enough to know.
  bool StartsEngine() const { return rank.rank == 0 || plan.virtual_nodes || rank.local_rank == 0; }
  // Virtual nodes share the CPUs of a machine, and what the first task needs comes first: the driver, the head, and a
  // worker of rank 0 or, where that one keeps its only CPU for the driver, of rank 1. Most of what another rank costs
  // until it is there is its forkserver, which is started when its engine wants a worker.
  bool StartsForkserverLate() const { return plan.virtual_nodes && rank.rank > 1; }
  Lifecycle::Role Role() const;
  std::string Name() const;  // "rank 3", "this session"
};

// Looks at machine and installation and checks that the program can be run.
absl::StatusOr<Launch> PrepareLaunch(Command command, Environment environment, Rank rank);

// Writes "ray-engine: ..." to standard error, as one line.
void SayToUser(const std::string& text);

// Tells why this rank cannot go on, unless another rank says the same: what is wrong with the command or the launcher
// is said by one rank of each machine, what the ranks have found out together (Aborted) by rank 0.
void SayFailure(const absl::Status& status, const Rank& rank);

}  // namespace ray_engine
