#include "engine/launch/bootstrap.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "engine/launch/mpi_library.h"

namespace ray_engine {
namespace {

class LoneBootstrap : public Bootstrap {
 public:
  absl::StatusOr<Place> Start() override { return Place{}; }
  absl::StatusOr<std::vector<std::string>> Exchange(const std::string& mine) override {
    return std::vector<std::string>{mine};
  }
  void Finish() override {}
};

// The functions of libray_engine_mpi.so.
struct MpiFunctions {
  decltype(&ray_engine_mpi_start) start = nullptr;
  decltype(&ray_engine_mpi_exchange) exchange = nullptr;
  decltype(&ray_engine_mpi_finish) finish = nullptr;
  decltype(&ray_engine_mpi_version) version = nullptr;
};

template <class Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

absl::StatusOr<MpiFunctions> Load(const std::string& path) {
  MpiFunctions mpi;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);  // Open MPI's own plug-ins look for its symbols
  if (library == nullptr) return absl::UnavailableError(fmt::format("MPI cannot be loaded: {}", dlerror()));
  const bool complete =
      Find(library, "ray_engine_mpi_start", &mpi.start) && Find(library, "ray_engine_mpi_exchange", &mpi.exchange) &&
      Find(library, "ray_engine_mpi_finish", &mpi.finish) && Find(library, "ray_engine_mpi_version", &mpi.version);
  if (!complete) return absl::UnavailableError(fmt::format("{} is of another ray-engine", path));
  return mpi;
}

class MpiBootstrap : public Bootstrap {
 public:
  explicit MpiBootstrap(MpiFunctions mpi) : mpi_(mpi) {}

  absl::StatusOr<Place> Start() override {
    RayEngineMpiRank rank{};
    mpi_.start(&rank);
    size_ = rank.size;
    return Place{rank.rank, rank.size, rank.local_rank, rank.local_leader};
  }

  absl::StatusOr<std::vector<std::string>> Exchange(const std::string& mine) override {
    std::vector<int> sizes(static_cast<std::size_t>(size_));
    const std::unique_ptr<char, decltype(&std::free)> all(mpi_.exchange(mine.data(), mine.size(), sizes.data()),
                                                          &std::free);
    if (all == nullptr) return absl::ResourceExhaustedError("the ranks could not exchange their addresses");
    std::vector<std::string> cards;
    const char* at = all.get();
    for (const int size : sizes) {
      cards.emplace_back(at, static_cast<std::size_t>(size));
      at += size;
    }
    return cards;
  }

  void Finish() override { mpi_.finish(); }

 private:
  MpiFunctions mpi_;
  int size_ = 1;
};

absl::Status CheckBuilds(const std::vector<RankCard>& cards) {
  for (std::size_t rank = 1; rank < cards.size(); ++rank) {
    if (cards[rank].build == cards[0].build) continue;
    return absl::AbortedError(
        fmt::format("the ranks run different builds of ray-engine: rank 0 on {} has {}, rank {} on {} has {}",
                    cards[0].host, cards[0].build, rank, cards[rank].host, cards[rank].build));
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Bootstrap> MakeLoneBootstrap() { return std::make_unique<LoneBootstrap>(); }

absl::StatusOr<std::unique_ptr<Bootstrap>> MakeMpiBootstrap(const std::string& library) {
  const absl::StatusOr<MpiFunctions> mpi = Load(library);
  if (!mpi.ok()) return mpi.status();
  return std::make_unique<MpiBootstrap>(*mpi);
}

std::string MpiVersion(const std::string& library) {
  const absl::StatusOr<MpiFunctions> mpi = Load(library);
  return mpi.ok() ? mpi->version() : std::string(mpi.status().message());
}

absl::StatusOr<Introduction> Arrange(const std::vector<RankCard>& cards, int rank, int leader) {
  if (absl::Status status = CheckBuilds(cards); !status.ok()) return status;
  Introduction result;
  for (std::size_t i = 0; i < cards.size(); ++i) {
    if (!cards[i].failure.empty())
      return absl::AbortedError(fmt::format("rank {} on {}: {}", i, cards[i].host, cards[i].failure));
    result.ended = result.ended || cards[i].ended;
    const bool neighbour = static_cast<int>(i) != rank && cards[i].host == cards[static_cast<std::size_t>(rank)].host;
    if (neighbour) result.neighbours.push_back(cards[i].pid);
  }
  result.introduce.node_count = 0;
  for (std::size_t i = 0; i < cards.size(); ++i) {
    if (static_cast<int>(i) == rank) result.introduce.index = result.introduce.node_count;
    if (cards[i].has_engine) ++result.introduce.node_count;
  }
  result.introduce.head_fabric_address = cards[0].fabric_address;
  result.introduce.secret = cards[0].secret;
  result.leader_socket = cards[static_cast<std::size_t>(leader)].socket_name;
  return result;
}

}  // namespace ray_engine
