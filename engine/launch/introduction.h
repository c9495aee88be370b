// Introduction: from a started engine to a member of the session.
//
// A lone engine is told so at once, and so is that of rank 0 where it will be the only one. With more ranks each gives
// its card to all by PMIx or MPI, tells its engine what follows from all of them (Arrange in bootstrap.h), and a rank
// without an engine takes its forkserver to the engine of its machine. PMIx or MPI is finished before anything else
// happens.
//
// Loop-bound; blocks while the ranks meet, --bootstrap-timeout at most: then it says so and ends this process, as
// neither PMIx nor MPI can be told to give up.

#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <vector>

#include "engine/launch/family.h"
#include "engine/launch/launch.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {

struct Introduced {
  bool over = false;                      // the driver has ended before the ranks met
  std::vector<std::uint32_t> neighbours;  // pids of the other ranks on this machine
  ControlSocket guest;  // to the engine of this machine, for a rank without one; its Welcome is still to come
};

// An Aborted error is common to all ranks and has been said to the user.
absl::StatusOr<Introduced> IntroduceToRanks(const Launch& launch, Family* family);
absl::Status IntroduceAlone(Family* family);

// Waits until our engine is up.
absl::StatusOr<EngineUp> WaitForEngine(Family* family);

}  // namespace ray_engine
