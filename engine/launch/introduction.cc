#include "engine/launch/introduction.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <random>

#include "engine/base/version.h"
#include "engine/launch/bootstrap.h"
#include "engine/wire/codec.h"

namespace ray_engine {
namespace {

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

// The launcher and MPI must agree on who we are.
absl::Status CheckPlace(const Launch& launch, const Bootstrap::Place& place) {
  if (place.size == launch.rank.size && place.rank == launch.rank.rank) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} has started this process as rank {} of {}, but MPI says rank {} of {}: {} is not the MPI of that "
                  "launcher. It uses {}",
                  launch.rank.launcher, launch.rank.rank, launch.rank.size, place.rank, place.size,
                  launch.installation.mpi_library, MpiVersion(launch.installation.mpi_library)));
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

absl::StatusOr<Introduction> Meet(const Launch& launch, Bootstrap* bootstrap, Family* family) {
  absl::StatusOr<Bootstrap::Place> place = bootstrap->Start();
  if (!place.ok()) return place.status();
  absl::Status status = CheckPlace(launch, *place);
  if (status.ok() && place->local_rank == 0 && !family->has_engine()) status = family->StartEngine();
  const int leader = family->has_engine() ? place->rank : place->local_leader;
  const absl::StatusOr<std::vector<std::string>> cards = bootstrap->Exchange(Encode(MakeCard(launch, family, status)));
  bootstrap->Finish();
  if (!status.ok()) return status;
  if (!cards.ok()) return cards.status();
  return Arrange(ReadCards(*cards), place->rank, leader);
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

absl::StatusOr<Introduced> IntroduceByMpi(const Launch& launch, Family* family) {
  absl::StatusOr<std::unique_ptr<Bootstrap>> bootstrap = MakeMpiBootstrap(launch.installation.mpi_library);
  if (!bootstrap.ok()) return bootstrap.status();
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
