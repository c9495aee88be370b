#include "engine/node/gate.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <utility>

#include "engine/base/version.h"

namespace ray_engine {
namespace {

bool IsOfOurVersion(const Hello& hello) {
  if (hello.build != BuildId()) return false;
  return hello.kind != Hello::kDriver || (hello.ray == RayVersion() && hello.python == PythonVersion());
}

std::string VersionMismatch(const Hello& hello) {
  const auto describe = [](std::string_view build, std::string_view ray, std::string_view python) {
    std::string text = fmt::format("ray-engine {}", build);
    if (!ray.empty()) text += fmt::format(" (Ray {}, Python {})", ray, python);
    return text;
  };
  return fmt::format(
      "version mismatch: this session runs {}, but the process that wants to join is {}; start both from the same "
      "installation, with the same Python",
      describe(BuildId(), RayVersion(), PythonVersion()), describe(hello.build, hello.ray, hello.python));
}

}  // namespace

Gate::~Gate() {
  if (listener_.fd() >= 0) loop_->Unwatch(listener_.fd());
}

absl::Status Gate::Bind(const std::string& name) {
  absl::StatusOr<ControlListener> listener = ControlListener::Bind(name);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  return absl::OkStatus();
}

void Gate::Open() {
  loop_->Watch(listener_.fd(), [this](std::uint32_t) { Accept(); });
}

void Gate::Accept() {
  while (std::optional<ControlSocket> socket = listener_.Accept()) {
    const std::uint64_t id = next_id_++;
    guests_by_id_[id].channel = std::make_unique<ControlChannel>(
        loop_, *std::move(socket), [this, id](ControlPacket& packet) { HandleHello(id, packet); },
        [this, id] { Gone(id); });
  }
}

void Gate::HandleHello(std::uint64_t id, ControlPacket& packet) {
  if (guests_by_id_[id].admitted) return;
  Hello hello;
  if (!packet.As(&hello)) return Refuse(id, "the first packet must be a Hello of this build");
  if (!shut_.empty()) return Refuse(id, shut_);
  if (!IsOfOurVersion(hello)) return Refuse(id, VersionMismatch(hello), true);
  ControlChannel* channel = guests_by_id_[id].channel.get();
  if (hello.kind == Hello::kDriver) {
    guests_.driver(channel->Release());
    Drop(id);
  } else if (hello.kind == Hello::kNode) {
    AdmitNode(id, hello);
  } else if (packet.fds.empty()) {
    Refuse(id, "a forkserver's socket must travel beside its Hello");
  } else {
    guests_by_id_[id].admitted = true;
    channel->Send(guests_.forkserver(ControlSocket(std::move(packet.fds.front())), hello.num_cpus));
  }
}

void Gate::Refuse(std::uint64_t id, const std::string& reason, bool is_other_version) {
  ControlChannel* channel = guests_by_id_[id].channel.get();
  channel->Send(Refused{reason, !shut_.empty(), is_other_version});
  channel->Close();
  Drop(id);
}

void Gate::AdmitNode(std::uint64_t id, const Hello& hello) {
  const absl::StatusOr<Introduce> introduce = guests_.node(hello);
  if (!introduce.ok()) return Refuse(id, std::string(introduce.status().message()));
  Guest& guest = guests_by_id_[id];
  guest.admitted = guest.is_node = true;
  guest.index = introduce->index;
  guest.channel->Send(*introduce);
}

void Gate::TurnOut(std::uint32_t index, const std::string& reason) {
  for (const auto& [id, guest] : guests_by_id_) {
    if (guest.is_node && guest.index == index) return Refuse(id, reason);
  }
}

void Gate::Gone(std::uint64_t id) {
  const Guest& guest = guests_by_id_[id];
  const bool is_node = guest.is_node;
  const std::uint32_t index = guest.index;
  Drop(id);
  if (is_node) guests_.node_gone(index);
}

void Gate::Drop(std::uint64_t id) {
  auto guest = std::make_shared<Guest>(std::move(guests_by_id_[id]));
  guests_by_id_.erase(id);
  loop_->After({}, [guest] {});  // this is called by its channel
}

}  // namespace ray_engine
