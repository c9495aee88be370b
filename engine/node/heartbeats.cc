#include "engine/node/heartbeats.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

std::uint32_t TicksOf(const Heartbeats::Pace& pace) {
  const std::int64_t interval = pace.interval.count();
  return static_cast<std::uint32_t>(std::max<std::int64_t>(1, (pace.limit.count() + interval - 1) / interval));
}

}  // namespace

Heartbeats::Heartbeats(Loop* loop, Router* router, Pace pace, OnSilent on_silent)
    : loop_(loop), router_(router), pace_(pace), on_silent_(std::move(on_silent)), detector_(TicksOf(pace)) {
  router_->On<Heartbeat>([this](ProcessId from, const Heartbeat& beat) { HandleHeartbeat(from, beat); });
  loop_->After(pace_.interval, [this] { Tick(); });
}

void Heartbeats::HandleHeartbeat(ProcessId from, const Heartbeat& beat) {
  detector_.OnHeard(from.node);
  if (router_->self() != kHead) router_->Send(kHead, beat);
}

void Heartbeats::Tick() {
  loop_->After(pace_.interval, [this] { Tick(); });
  for (const std::uint32_t node : detector_.OnTick()) {
    on_silent_(node, fmt::format("no sign of life for {} s", static_cast<double>(pace_.limit.count()) / 1000));
  }
  if (router_->self() != kHead) return;
  ++beat_;
  for (const std::uint32_t node : detector_.Watched()) router_->Send(ProcessId{node, 0}, Heartbeat{beat_});
}

}  // namespace ray_engine
