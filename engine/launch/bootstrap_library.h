// The interface of libray_engine_pmix.so and libray_engine_mpi.so: all that the launcher wants of PMIx or MPI, loaded
// only when there is more than one rank.
//
// C functions found by name, so that ray-engine itself runs where neither is. One start, any number of exchanges, one
// finish, all from one thread; each may block until all ranks have come.

#pragma once

#include <stddef.h>

extern "C" {

struct RayEnginePlace {
  int rank, size;
  int local_rank;    // among the ranks of this machine
  int local_leader;  // the rank whose local_rank is 0 there
};

// nullptr, or why it failed: text that stays.
const char* ray_engine_bootstrap_start(struct RayEnginePlace* place);
// Everybody's bytes, one after the other, in memory to be given to free(); sizes[rank] bytes each. nullptr: it failed.
char* ray_engine_bootstrap_exchange(const char* mine, size_t size, int* sizes);
void ray_engine_bootstrap_finish(void);
// Of the library behind it, one line. Needs no start.
const char* ray_engine_bootstrap_version(void);

}  // extern "C"
