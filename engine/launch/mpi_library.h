// The interface of libray_engine_mpi.so: all that the launcher wants of MPI, loaded only when there is more than one
// rank.
//
// C functions found by name, so that ray-engine itself runs where no MPI is. One start, any number of exchanges, one
// finish, all from one thread.

#pragma once

#include <stddef.h>

extern "C" {

struct RayEngineMpiRank {
  int rank, size;
  int local_rank;    // among the ranks that share memory with this one
  int local_leader;  // the rank whose local_rank is 0 there
};

void ray_engine_mpi_start(struct RayEngineMpiRank* rank);
// Everybody's bytes, one after the other, in memory to be given to free(); sizes[rank] bytes each. nullptr: it failed.
char* ray_engine_mpi_exchange(const char* mine, size_t size, int* sizes);
void ray_engine_mpi_finish(void);
// Of the MPI library that is loaded, one line. Needs no start.
const char* ray_engine_mpi_version(void);

}  // extern "C"
