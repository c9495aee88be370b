// ControlChannel: a control socket on the loop.
//
// Calls on_packet for each packet, and on_gone once when the peer is gone. What the kernel does not take at once goes
// out when it can. The callbacks may call Close(), but not destroy the channel.
//
// Owns the socket. Loop-bound.

#pragma once

#include <absl/types/span.h>

#include <functional>
#include <utility>

#include "engine/node/event_loop.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {

class ControlChannel {
 public:
  using OnPacket = std::function<void(ControlPacket& packet)>;
  using OnGone = std::function<void()>;

  ControlChannel(EventLoop* loop, ControlSocket socket, OnPacket on_packet, OnGone on_gone);
  ~ControlChannel() { Close(); }

  // A peer that is gone is reported by on_gone, later.
  template <class Message>
  void Send(const Message& message, absl::Span<const int> fds = {}) {
    if (!socket_.valid()) return;
    (void)socket_.Send(message, fds);
    if (socket_.HasBacklog()) loop_->WatchWritable(socket_.fd(), true);
  }
  void Close();
  // Gives the socket away; like Close().
  ControlSocket Release();

 private:
  void OnEvent();
  void Flush();

  EventLoop* loop_;
  ControlSocket socket_;
  OnPacket on_packet_;
  OnGone on_gone_;
};

}  // namespace ray_engine
