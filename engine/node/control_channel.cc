#include "engine/node/control_channel.h"

#include <optional>

namespace ray_engine {

ControlChannel::ControlChannel(EventLoop* loop, ControlSocket socket, OnPacket on_packet, OnGone on_gone)
    : loop_(loop), socket_(std::move(socket)), on_packet_(std::move(on_packet)), on_gone_(std::move(on_gone)) {
  loop_->Watch(socket_.fd(), [this](std::uint32_t) { OnEvent(); });
}

void ControlChannel::Close() {
  if (!socket_.valid()) return;
  loop_->Unwatch(socket_.fd());
  socket_ = ControlSocket();
}

ControlSocket ControlChannel::Release() {
  if (socket_.valid()) loop_->Unwatch(socket_.fd());
  return std::exchange(socket_, ControlSocket());
}

void ControlChannel::OnEvent() {
  Flush();
  while (socket_.valid()) {
    absl::StatusOr<std::optional<ControlPacket>> packet = socket_.Receive();
    if (!packet.ok()) {
      Close();
      on_gone_();
      return;
    }
    if (!packet->has_value()) return;
    on_packet_(**packet);
  }
}

void ControlChannel::Flush() {
  if (!socket_.HasBacklog()) return;
  (void)socket_.Flush();
  if (!socket_.HasBacklog()) loop_->WatchWritable(socket_.fd(), false);
}

}  // namespace ray_engine
