// ControlSocket: a SOCK_SEQPACKET unix socket that carries control packets (engine/wire/control.h) and descriptors.
//
// One packet is a ControlType and the encoded struct; file descriptors travel beside it. Nothing here ever blocks but
// the functions called Wait...: what the kernel does not take at once is kept in order and goes out with the next
// Flush(). Every descriptor made or received is close-on-exec. Connections by name are accepted only between processes
// of one user; both sides check.
//
// Loop-bound: one thread uses a socket.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/types/span.h>

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/wire/codec.h"
#include "engine/wire/control.h"

namespace ray_engine {

struct ControlPacket {
  ControlType type{};
  std::string body;
  std::vector<UniqueFd> fds;

  // Decodes the body; false if the packet is another message or malformed.
  template <class Message>
  bool As(Message* message) const {
    return type == Message::kType && Decode(body, message);
  }
};

class ControlSocket {
 public:
  static constexpr std::size_t kMaxFds = 8;

  ControlSocket() = default;
  explicit ControlSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  static absl::StatusOr<std::pair<ControlSocket, ControlSocket>> Pair();
  // Connects to an abstract name (without the leading NUL). Fails if the listener belongs to another user.
  static absl::StatusOr<ControlSocket> Connect(std::string_view name);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  UniqueFd TakeFd() { return std::move(fd_); }

  // Sends, or keeps for Flush(). The caller keeps its descriptors. An error means that the peer is gone.
  template <class Message>
  absl::Status Send(const Message& message, absl::Span<const int> fds = {}) {
    std::string bytes;
    Writer writer(&bytes);
    writer(Message::kType, message);
    return SendBytes(std::move(bytes), fds);
  }
  absl::Status Flush();
  bool HasBacklog() const { return !backlog_.empty(); }  // then poll for POLLOUT too

  // The next packet; nullopt if none waits; an error once the peer is gone and everything it sent has been read.
  absl::StatusOr<std::optional<ControlPacket>> Receive();
  // Waits for the next packet; DeadlineExceeded after `timeout`.
  absl::StatusOr<ControlPacket> WaitReceive(std::chrono::milliseconds timeout);

 private:
  struct Outgoing {
    std::string bytes;
    std::vector<UniqueFd> fds;
  };
  absl::Status SendBytes(std::string bytes, absl::Span<const int> fds);
  // True if the kernel took the packet, false if its buffer is full.
  absl::StatusOr<bool> TrySend(const std::string& bytes, absl::Span<const int> fds);

  UniqueFd fd_;
  std::deque<Outgoing> backlog_;
};

class ControlListener {
 public:
  ControlListener() = default;
  // AlreadyExists if the name is taken.
  static absl::StatusOr<ControlListener> Bind(std::string_view name);

  int fd() const { return fd_.get(); }
  // The next connection of this user; nullopt if none waits. Connections of other users are closed.
  std::optional<ControlSocket> Accept();

 private:
  explicit ControlListener(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// The abstract name of a node engine: "ray-engine/<uid>/<session>/<node>". The head's `node` is "0".
std::string EngineSocketName(std::string_view session, std::string_view node);

// Head sockets of this user's running sessions, sorted (the names that address="auto" chooses from).
std::vector<std::string> ListHeadSockets();

}  // namespace ray_engine
