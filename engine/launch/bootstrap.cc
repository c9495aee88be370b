#include "engine/launch/bootstrap.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

#include "engine/launch/bootstrap_library.h"

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

struct BootstrapFunctions {
  decltype(&ray_engine_bootstrap_start) start = nullptr;
  decltype(&ray_engine_bootstrap_exchange) exchange = nullptr;
  decltype(&ray_engine_bootstrap_finish) finish = nullptr;
  decltype(&ray_engine_bootstrap_version) version = nullptr;
};

template <class Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

absl::StatusOr<BootstrapFunctions> Load(const std::string& path) {
  BootstrapFunctions functions;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);  // plug-ins of Open MPI look for its symbols
  if (library == nullptr) return absl::UnavailableError(fmt::format("cannot be loaded: {}", dlerror()));
  const bool complete = Find(library, "ray_engine_bootstrap_start", &functions.start) &&
                        Find(library, "ray_engine_bootstrap_exchange", &functions.exchange) &&
                        Find(library, "ray_engine_bootstrap_finish", &functions.finish) &&
                        Find(library, "ray_engine_bootstrap_version", &functions.version);
  if (!complete) return absl::UnavailableError(fmt::format("{} is of another ray-engine", path));
  return functions;
}

class LibraryBootstrap : public Bootstrap {
 public:
  explicit LibraryBootstrap(BootstrapFunctions functions) : functions_(functions) {}

  absl::StatusOr<Place> Start() override {
    RayEnginePlace place{};
    if (const char* reason = functions_.start(&place)) return absl::UnavailableError(reason);
    size_ = place.size;
    return Place{place.rank, place.size, place.local_rank, place.local_leader};
  }

  absl::StatusOr<std::vector<std::string>> Exchange(const std::string& mine) override {
    std::vector<int> sizes(static_cast<std::size_t>(size_));
    const std::unique_ptr<char, decltype(&std::free)> all(functions_.exchange(mine.data(), mine.size(), sizes.data()),
                                                          &std::free);
    if (all == nullptr) return absl::UnavailableError("the ranks could not exchange their addresses");
    std::vector<std::string> cards;
    const char* at = all.get();
    for (const int size : sizes) {
      cards.emplace_back(at, static_cast<std::size_t>(size));
      at += size;
    }
    return cards;
  }

  void Finish() override { functions_.finish(); }

 private:
  BootstrapFunctions functions_;
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

absl::StatusOr<std::unique_ptr<Bootstrap>> LoadBootstrap(const std::string& path) {
  const absl::StatusOr<BootstrapFunctions> functions = Load(path);
  if (!functions.ok()) return functions.status();
  return std::make_unique<LibraryBootstrap>(*functions);
}

std::string BootstrapVersion(const std::string& path) {
  const absl::StatusOr<BootstrapFunctions> functions = Load(path);
  return functions.ok() ? functions->version() : std::string(functions.status().message());
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
