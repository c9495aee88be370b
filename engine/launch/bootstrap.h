// Bootstrap: how the ranks of a job get to know each other.
//
// A rank starts the bootstrap, gives its card and gets everyone's, by rank, and finishes it; afterwards nothing of it
// is left. With one rank there is nobody to meet; more ranks meet by the PMIx server of their launcher, or by MPI where
// it has none. The library for it is loaded only then.
//
// Thread-compatible.

#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/wire/codec.h"
#include "engine/wire/control.h"

namespace ray_engine {

class Bootstrap {
 public:
  struct Place {
    int rank = 0, size = 1;
    int local_rank = 0;
    int local_leader = 0;  // first rank on this machine
  };

  virtual ~Bootstrap() = default;
  virtual absl::StatusOr<Place> Start() = 0;
  virtual absl::StatusOr<std::vector<std::string>> Exchange(const std::string& mine) = 0;
  virtual void Finish() = 0;
};

std::unique_ptr<Bootstrap> MakeLoneBootstrap();
// `path`: a library with the interface of bootstrap_library.h.
absl::StatusOr<std::unique_ptr<Bootstrap>> LoadBootstrap(const std::string& path);

// Of the PMIx or MPI that the library runs with; what is wrong if it cannot be loaded.
std::string BootstrapVersion(const std::string& path);

// What a rank tells the others about itself.
struct RankCard {
  std::string build, host;  // first, so that other builds can read them
  std::uint32_t pid = 0;
  std::string failure;  // this rank cannot go on; the others need not say more
  bool ended = false;   // rank 0: the driver has ended already
  bool has_engine = false;
  std::string fabric_address, socket_name;
  std::string secret;  // rank 0's is the session's
  template <class A>
  void Fields(A& a) {
    a(build, host, pid, failure, ended, has_engine, fabric_address, socket_name, secret);
  }
};

// What the cards mean for one rank. Pure. An error is Aborted: all ranks find the same.
struct Introduction {
  bool ended = false;                     // the job is over
  Introduce introduce;                    // for a rank with an engine
  std::string leader_socket;              // for one without: where its forkserver is to join
  std::vector<std::uint32_t> neighbours;  // pids of the other ranks on this machine
};
// `leader` is the rank of this machine that has the engine. The cards of different builds need not be readable, but for
// the build itself.
absl::StatusOr<Introduction> Arrange(const std::vector<RankCard>& cards, int rank, int leader);

}  // namespace ray_engine
