#include "engine/launch/introduction.h"

#include <absl/strings/str_cat.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <random>
#include <thread>

#include "engine/base/version.h"
#include "engine/launch/bootstrap.h"
#include "engine/wire/codec.h"

namespace ray_engine {
namespace {

namespace fs = std::filesystem;

constexpr auto kEnginePatience = std::chrono::seconds(60);

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string RandomSecret() {
  std::random_device random;
  std::string secret;
  for (int i = 0; i < 8; ++i) secret += fmt::format("{:08x}", random());
  return secret;
}

bool ByPmix(const Launch& launch) {
  const std::string how = launch.command.options.Text("bootstrap");
  return how == "pmix" || (how == "auto" && launch.rank.has_pmix && fs::exists(launch.installation.pmix_library));
}

std::string BootstrapLibrary(const Launch& launch) {
  return ByPmix(launch) ? launch.installation.pmix_library : launch.installation.mpi_library;
}

absl::Status Explain(const Launch& launch, const absl::Status& status) {
  if (!ByPmix(launch)) return absl::UnavailableError(absl::StrCat("MPI: ", status.message()));
  return absl::UnavailableError(
      absl::StrCat("PMIx: ", status.message(), " (--bootstrap=mpi: the ranks meet by MPI instead)"));
}

// Ends this process if it lives longer than the limit.
class TimeLimit {
 public:
  TimeLimit(std::chrono::seconds limit, const Launch& launch)
      : thread_([this, limit, &launch] {
          std::unique_lock lock(mutex_);
          if (over_.wait_for(lock, limit, [this] { return met_; })) return;
          SayToUser(
              fmt::format("{} on {}: the other ranks have not come within {} s; the job ends (more time: "
                          "--bootstrap-timeout)",
                          launch.Name(), HostName(), limit.count()));
          _exit(kCannotStart);
        }) {}
  ~TimeLimit() {
    {
      const std::lock_guard lock(mutex_);
      met_ = true;
    }
    over_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool met_ = false;
  std::thread thread_;
};

// The launcher and the library must agree on who we are.
absl::Status CheckPlace(const Launch& launch, const Bootstrap::Place& place) {
  if (place.size == launch.rank.size && place.rank == launch.rank.rank) return absl::OkStatus();
  const char* kind = ByPmix(launch) ? "PMIx" : "MPI";
  return absl::InvalidArgumentError(
      fmt::format("{} has started this process as rank {} of {}, but {} says rank {} of {}: {} is not the {} of that "
                  "launcher. It uses {}",
                  launch.rank.launcher, launch.rank.rank, launch.rank.size, kind, place.rank, place.size,
                  BootstrapLibrary(launch), kind, BootstrapVersion(BootstrapLibrary(launch))));
}

RankCard MakeCard(const Launch& launch, Family* family, absl::Status status) {
  RankCard card;
  card.build = BuildId();
  card.host = HostName();
  card.pid = static_cast<std::uint32_t>(getpid());
  card.has_engine = family->has_engine();
  card.secret = RandomSecret();
  if (status.ok() && family->has_engine()) {
    const absl::StatusOr<EngineUp> up = WaitForEngine(family);
    if (up.ok()) {
      card.fabric_address = up->fabric_address;
      card.socket_name = up->socket_name;
    }
    status = up.status();
  }
  if (!status.ok()) card.failure = std::string(status.message());
  card.ended = launch.HasDriver() && family->DriverHasEnded();
  return card;
}

std::vector<RankCard> ReadCards(const std::vector<std::string>& encoded) {
  std::vector<RankCard> cards(encoded.size());
  for (std::size_t i = 0; i < cards.size(); ++i) Decode(encoded[i], &cards[i]);  // of another build: as far as it goes
  return cards;
}

absl::StatusOr<ControlSocket> TakeForkserverTo(const std::string& socket, const Launch& launch, Family* family) {
  absl::StatusOr<ControlSocket> guest = ControlSocket::Connect(socket);
  if (!guest.ok()) return guest;
  if (absl::Status status = family->StartForkserver(); !status.ok()) return status;
  const ControlSocket forkserver = family->TakeForkserverSocket();
  Hello hello;
  hello.kind = Hello::kForkserver;
  hello.build = BuildId();
  hello.num_cpus = launch.plan.offer.num_cpus;
  if (absl::Status status = guest->Send(hello, {forkserver.fd()}); !status.ok()) return status;
  return guest;
}

// All ranks fail, as the cards say, and none leaves before all have spoken: once one has gone, its launcher ends the
// others.
absl::Status FailTogether(const Launch& launch, const absl::Status& status, Bootstrap* bootstrap) {
  SayFailure(status, launch.rank);
  bootstrap->Exchange("").IgnoreError();
  return absl::AbortedError(status.message());
}

absl::StatusOr<Introduction> Meet(const Launch& launch, Bootstrap* bootstrap, Family* family) {
  const TimeLimit limit(std::chrono::seconds(launch.command.options.Integer("bootstrap-timeout")), launch);
  absl::StatusOr<Bootstrap::Place> place = bootstrap->Start();
  if (!place.ok()) return Explain(launch, place.status());
  absl::Status status = CheckPlace(launch, *place);
  if (status.ok() && place->local_rank == 0 && !family->has_engine()) status = family->StartEngine();
  const int leader = family->has_engine() ? place->rank : place->local_leader;
  const absl::StatusOr<std::vector<std::string>> cards = bootstrap->Exchange(Encode(MakeCard(launch, family, status)));
  if (!cards.ok()) {
    bootstrap->Finish();
    return status.ok() ? Explain(launch, cards.status()) : status;
  }
  absl::StatusOr<Introduction> introduction = Arrange(ReadCards(*cards), place->rank, leader);
  if (!introduction.ok()) introduction = FailTogether(launch, status.ok() ? introduction.status() : status, bootstrap);
  bootstrap->Finish();
  return introduction;
}

}  // namespace

absl::StatusOr<EngineUp> WaitForEngine(Family* family) {
  const absl::StatusOr<ControlPacket> packet = family->control()->WaitReceive(kEnginePatience);
  EngineUp up;
  if (packet.ok() && packet->As(&up)) return up;
  return absl::UnavailableError("the node engine could not start");
}

absl::Status IntroduceAlone(Family* family) {
  Introduce introduce;
  introduce.secret = RandomSecret();
  return family->control()->Send(introduce);
}

absl::StatusOr<Introduced> IntroduceToRanks(const Launch& launch, Family* family) {
  absl::StatusOr<std::unique_ptr<Bootstrap>> bootstrap = LoadBootstrap(BootstrapLibrary(launch));
  if (!bootstrap.ok()) return Explain(launch, bootstrap.status());
  const absl::StatusOr<Introduction> introduction = Meet(launch, bootstrap->get(), family);
  if (!introduction.ok()) return introduction.status();
  Introduced introduced;
  introduced.over = introduction->ended;
  introduced.neighbours = introduction->neighbours;
  if (introduced.over) return introduced;
  if (family->has_engine()) {
    const absl::Status status =
        launch.one_shared_node ? absl::OkStatus() : family->control()->Send(introduction->introduce);
    return status.ok() ? absl::StatusOr<Introduced>(std::move(introduced)) : status;
  }
  absl::StatusOr<ControlSocket> guest = TakeForkserverTo(introduction->leader_socket, launch, family);
  introduced.over = absl::IsUnavailable(guest.status());  // a short program may have ended meanwhile
  if (introduced.over) return introduced;
  if (!guest.ok()) return guest.status();
  introduced.guest = *std::move(guest);
  return introduced;
}

}  // namespace ray_engine
