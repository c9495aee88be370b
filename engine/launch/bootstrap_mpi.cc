// The only user of mpi.h, where the launcher has no PMIx. MPI introduces the ranks to each other and is finalised at
// once.

#define OMPI_SKIP_MPICXX 1  // the C interface only
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "engine/launch/bootstrap_library.h"

namespace {

int Rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int Size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

}  // namespace

extern "C" {

const char* ray_engine_bootstrap_start(RayEnginePlace* place) {
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);  // engines and driver start up beside it, perhaps on the same CPUs
  MPI_Init(nullptr, nullptr);
  place->rank = Rank();
  place->size = Size();
  MPI_Comm machine;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, place->rank, MPI_INFO_NULL, &machine);
  MPI_Comm_rank(machine, &place->local_rank);
  place->local_leader = place->rank;
  MPI_Bcast(&place->local_leader, 1, MPI_INT, 0, machine);
  MPI_Comm_free(&machine);
  return nullptr;  // MPI itself ends a process that it cannot serve
}

char* ray_engine_bootstrap_exchange(const char* mine, size_t size, int* sizes) {
  const int own = static_cast<int>(size);
  MPI_Allgather(&own, 1, MPI_INT, sizes, 1, MPI_INT, MPI_COMM_WORLD);
  std::vector<int> offsets(static_cast<size_t>(Size()));
  size_t total = 0;
  for (size_t i = 0; i < offsets.size(); ++i) {
    offsets[i] = static_cast<int>(total);
    total += static_cast<size_t>(sizes[i]);
  }
  if (total > 0x7fffffff) return nullptr;
  char* all = static_cast<char*>(malloc(total + 1));
  if (all == nullptr) return nullptr;
  MPI_Allgatherv(mine, own, MPI_CHAR, all, sizes, offsets.data(), MPI_CHAR, MPI_COMM_WORLD);
  return all;
}

void ray_engine_bootstrap_finish(void) { MPI_Finalize(); }

const char* ray_engine_bootstrap_version(void) {
  static char text[MPI_MAX_LIBRARY_VERSION_STRING + 1];
  int length = 0;
  MPI_Get_library_version(text, &length);
  text[strcspn(text, "\n,")] = '\0';  // some libraries tell a lot
  return text;
}

}  // extern "C"
