#include "engine/wire/control_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>

namespace ray_engine {
namespace {

constexpr int kType = SOCK_SEQPACKET | SOCK_CLOEXEC;

struct AbstractAddress {
  sockaddr_un address{};
  socklen_t size = 0;
};

absl::StatusOr<AbstractAddress> MakeAddress(std::string_view name) {
  AbstractAddress made;
  if (name.empty() || name.size() + 1 > sizeof made.address.sun_path) {
    return absl::InvalidArgumentError(fmt::format("not a usable socket name: '{}'", name));
  }
  made.address.sun_family = AF_UNIX;
  std::memcpy(made.address.sun_path + 1, name.data(), name.size());
  made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return made;
}

bool PeerIsThisUser(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// A message header over one buffer, with room for descriptors.
struct Envelope {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * ControlSocket::kMaxFds)] = {};
  iovec part{};
  msghdr header{};

  Envelope(char* data, std::size_t size) : part{data, size} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
  }
  void AttachFds(absl::Span<const int> fds) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  void ExpectFds() {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
};

std::vector<UniqueFd> TakeFds(msghdr* header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* item = CMSG_FIRSTHDR(header); item != nullptr; item = CMSG_NXTHDR(header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

absl::Status PeerGone() { return absl::UnavailableError("the other side closed the connection"); }

}  // namespace

absl::StatusOr<std::pair<ControlSocket, ControlSocket>> ControlSocket::Pair() {
  int ends[2];
  if (socketpair(AF_UNIX, kType, 0, ends) != 0) return absl::ErrnoToStatus(errno, "socketpair");
  return std::pair(ControlSocket(UniqueFd(ends[0])), ControlSocket(UniqueFd(ends[1])));
}

absl::StatusOr<ControlSocket> ControlSocket::Connect(std::string_view name) {
  const absl::StatusOr<AbstractAddress> address = MakeAddress(name);
  if (!address.ok()) return address.status();
  UniqueFd fd(socket(AF_UNIX, kType, 0));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->address), address->size) != 0) {
    return absl::ErrnoToStatus(errno, fmt::format("no engine answers at '{}'", name));
  }
  if (!PeerIsThisUser(fd.get())) {
    return absl::PermissionDeniedError(fmt::format("the engine at '{}' belongs to another user", name));
  }
  return ControlSocket(std::move(fd));
}

absl::StatusOr<bool> ControlSocket::TrySend(const std::string& bytes, absl::Span<const int> fds) {
  Envelope envelope(const_cast<char*>(bytes.data()), bytes.size());
  if (!fds.empty()) envelope.AttachFds(fds);
  for (;;) {
    if (sendmsg(fd_.get(), &envelope.header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true;
    if (WouldBlock(errno)) return false;
    if (errno == EPIPE || errno == ECONNRESET) return PeerGone();
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "cannot send a control packet");
  }
}

absl::Status ControlSocket::SendBytes(std::string bytes, absl::Span<const int> fds) {
  if (fds.size() > kMaxFds) return absl::InvalidArgumentError("too many descriptors beside one packet");
  if (absl::Status status = Flush(); !status.ok()) return status;
  if (backlog_.empty()) {
    const absl::StatusOr<bool> sent = TrySend(bytes, fds);
    if (!sent.ok()) return sent.status();
    if (*sent) return absl::OkStatus();
  }
  Outgoing& kept = backlog_.emplace_back();
  kept.bytes = std::move(bytes);
  for (int fd : fds) kept.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return absl::OkStatus();
}

absl::Status ControlSocket::Flush() {
  while (!backlog_.empty()) {
    std::vector<int> fds;
    for (const UniqueFd& fd : backlog_.front().fds) fds.push_back(fd.get());
    const absl::StatusOr<bool> sent = TrySend(backlog_.front().bytes, fds);
    if (!sent.ok()) return sent.status();
    if (!*sent) return absl::OkStatus();
    backlog_.pop_front();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ControlPacket>> ControlSocket::Receive() {
  ssize_t size;
  do {
    size = recv(fd_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && WouldBlock(errno)) return std::nullopt;
  if (size <= 0) return PeerGone();

  std::string bytes(static_cast<std::size_t>(size), '\0');
  Envelope envelope(bytes.data(), bytes.size());
  envelope.ExpectFds();
  if (recvmsg(fd_.get(), &envelope.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != size) return PeerGone();
  ControlPacket packet;
  packet.fds = TakeFds(&envelope.header);
  Reader reader(bytes);
  reader(packet.type);
  if (!reader.ok()) return absl::DataLossError("a control packet without a type");
  packet.body = reader.rest();
  return packet;
}

absl::StatusOr<ControlPacket> ControlSocket::WaitReceive(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    absl::StatusOr<std::optional<ControlPacket>> packet = Receive();
    if (!packet.ok()) return packet.status();
    if (packet->has_value()) return std::move(**packet);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return absl::DeadlineExceededError("no answer on the control socket");
    pollfd waiting{fd_.get(), POLLIN, 0};
    poll(&waiting, 1, static_cast<int>(left.count()));
  }
}

absl::StatusOr<ControlListener> ControlListener::Bind(std::string_view name) {
  const absl::StatusOr<AbstractAddress> address = MakeAddress(name);
  if (!address.ok()) return address.status();
  UniqueFd fd(socket(AF_UNIX, kType | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "socket");
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address->address), address->size) != 0) {
    if (errno == EADDRINUSE) return absl::AlreadyExistsError(fmt::format("the socket name '{}' is taken", name));
    return absl::ErrnoToStatus(errno, fmt::format("cannot bind '{}'", name));
  }
  if (listen(fd.get(), SOMAXCONN) != 0) return absl::ErrnoToStatus(errno, "listen");
  return ControlListener(std::move(fd));
}

std::optional<ControlSocket> ControlListener::Accept() {
  for (;;) {
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) return std::nullopt;
    if (PeerIsThisUser(fd.get())) return ControlSocket(std::move(fd));
  }
}

std::string EngineSocketName(std::string_view session, std::string_view node) {
  return fmt::format("ray-engine/{}/{}/{}", geteuid(), session, node);
}

std::vector<std::string> ListHeadSockets() {
  const std::string prefix = fmt::format("@ray-engine/{}/", geteuid());
  std::vector<std::string> names;
  std::ifstream table("/proc/net/unix");
  for (std::string line; std::getline(table, line);) {
    const std::size_t at = line.rfind(' ') + 1;
    const bool is_head = line.compare(at, prefix.size(), prefix) == 0 && line.compare(line.size() - 2, 2, "/0") == 0;
    if (is_head) names.push_back(line.substr(at + 1));
  }
  // A name shows once for its listener and once for each accepted connection.
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace ray_engine
