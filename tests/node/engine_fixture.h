// A real ray-engine-node, and what a test needs to play its supervisor, its forkserver and the processes of its node.
//
// Everything waits for conditions, with a generous limit after which the test fails.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/base/version.h"
#include "engine/transport/link.h"
#include "engine/wire/codec.h"
#include "engine/wire/control_socket.h"
#include "engine/wire/messages.h"
#include "objectstore/segment.h"

namespace ray_engine {

inline constexpr std::chrono::seconds kLimit{30};

// True once the condition holds; false after kLimit.
bool WaitUntil(const std::function<bool()>& condition);

// A process of the node, as far as the engine can tell.
class TestProcess {
 public:
  // Waits for the Welcome on the socket.
  explicit TestProcess(ControlSocket socket);

  const Welcome& welcome() const { return welcome_; }
  ProcessId id() const { return welcome_.process; }
  const Segment& store() const { return *store_; }
  ProcessBlock* engine_block() const { return links_[0]->peer(); }

  void SendReady(std::uint32_t pid) { Send(id().Engine(), Ready{pid}); }
  template <class Message>
  void Send(ProcessId to, const Message& message) {
    SendFrame(links_[0].get(), to, Message::kType, Encode(message));
  }
  // Over the direct link that Open() made.
  template <class Message>
  void SendDirect(ProcessId to, const Message& message) {
    SendFrame(links_.back().get(), to, Message::kType, Encode(message));
  }
  void Open(const LinkGrant& grant);

  // The next message of this type, from whatever link; those of other types before it are kept for later calls. A
  // default message, and a failed test, if none comes.
  template <class Message>
  Message Receive() {
    Message message;
    const bool came = WaitUntil([&] { return Take(&message); });
    if (!came) ReportMissing(Message::kType);
    return message;
  }
  // The same, if it is there already.
  template <class Message>
  bool Take(Message* message) {
    Drain();
    for (auto it = received_.begin(); it != received_.end(); ++it) {
      if (it->type != Message::kType) continue;
      last_from_ = it->from;
      const bool ok = Decode(it->payload, message);
      received_.erase(it);
      if constexpr (std::is_same_v<Message, LeaseGrant>) ++grants_[message->key];
      return ok;
    }
    return false;
  }
  ProcessId last_from() const { return last_from_; }
  // How many leases of its class `key` it has received.
  std::uint32_t grants(std::uint32_t key) const { return grants_.count(key) == 0 ? 0 : grants_.at(key); }

  // As a program does that writes over memory that is not its own.
  void DamageRing();
  // The engine has closed the socket.
  bool EngineGone();
  // As a dying process does.
  void CloseSocket() { socket_ = ControlSocket(); }

 private:
  struct Received {
    ProcessId from;
    MessageType type;
    std::string payload;
  };
  void SendFrame(Link* link, ProcessId to, MessageType type, const std::string& payload);
  void Drain();
  static void ReportMissing(MessageType type);

  ControlSocket socket_;
  Welcome welcome_;
  LinkSegment segment_;
  std::optional<Segment> store_;
  UniqueFd engine_eventfd_;
  std::vector<std::unique_ptr<Link>> links_;  // [0]: to the engine
  FrameJoiner joiner_;
  std::deque<Received> received_;
  std::map<std::uint32_t, std::uint32_t> grants_;  // by key
  ProcessId last_from_;
};

class TestEngine {
 public:
  explicit TestEngine(const std::vector<std::string>& more_arguments = {}, const std::string& session = NewSession());
  ~TestEngine();

  static std::string NewSession();

  // Supervisor.
  template <class Message>
  void Tell(const Message& message) {
    (void)control_.Send(message);
  }
  EngineUp WaitUp();
  void CloseControl() { control_ = ControlSocket(); }
  int WaitExit();  // the exit code; -1 if it does not end
  pid_t pid() const { return pid_; }

  // Driver: the one whose socket the engine got at start.
  std::unique_ptr<TestProcess> StartDriver();

  // Forkserver.
  template <class Message>
  void FromForkserver(const Message& message, absl::Span<const int> fds = {}) {
    (void)forkserver_.Send(message, fds);
  }
  // The next packet for the forkserver, which must be of this type.
  template <class Message>
  Message NextForForkserver(std::vector<UniqueFd>* fds = nullptr) {
    Message message;
    absl::StatusOr<ControlPacket> packet = forkserver_.WaitReceive(kLimit);
    if (!packet.ok() || !packet->As(&message)) {
      ReportUnexpected(Message::kType);
    } else if (fds != nullptr) {
      *fds = std::move(packet->fds);
    }
    return message;
  }
  bool ForkserverIsAsked();  // a packet waits for it
  void CloseForkserver() { forkserver_ = ControlSocket(); }
  // Answers the next Fork: a worker that is ready.
  std::unique_ptr<TestProcess> ForkWorker(std::uint32_t pid);

 private:
  static void ReportUnexpected(ControlType type);

  ControlSocket control_, forkserver_, driver_;
  pid_t pid_ = -1;
};

}  // namespace ray_engine
