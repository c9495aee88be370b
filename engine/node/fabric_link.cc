#include "engine/node/fabric_link.h"

#include <spdlog/spdlog.h>

namespace ray_engine {
namespace {

constexpr auto kBetweenBytes = std::chrono::microseconds(50);

}  // namespace

void FabricLink::Close() {
  if (fabric_ == nullptr) return;
  loop_->Unwatch(fabric_->EventFd());
  introduced_ = false;
  fabric_.reset();
}

absl::Status FabricLink::Open() {
  if (fabric_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Fabric>> fabric = factory_(this);
  if (!fabric.ok()) return fabric.status();
  fabric_ = *std::move(fabric);
  if (store_ != nullptr) store_->SetFabric(fabric_.get());
  loop_->WatchWake(fabric_->EventFd());
  return absl::OkStatus();
}

void FabricLink::Introduce(std::uint32_t self, const std::string& secret) {
  fabric_->Introduce(self, secret);
  introduced_ = true;
}

void FabricLink::Connect(Router* router, StoreService* store, OnLost on_lost) {
  router_ = router;
  store_ = store;
  on_lost_ = std::move(on_lost);
  if (fabric_ != nullptr) store_->SetFabric(fabric_.get());
}

absl::Status FabricLink::AddNode(std::uint32_t node, const std::string& address) {
  if (gone_.count(node) != 0 || nodes_.count(node) != 0) return absl::OkStatus();
  if (absl::Status status = fabric_->Connect(node, address); !status.ok()) return status;
  Connected(node);
  return absl::OkStatus();
}

void FabricLink::Connected(std::uint32_t node) {
  if (!nodes_.insert(node).second) return;
  const auto waiting = waiting_.extract(node);
  if (waiting.empty()) return;
  for (const auto& [header, payload] : waiting.mapped()) fabric_->Send(node, header, payload);
}

void FabricLink::RemoveNode(std::uint32_t node) {
  gone_.insert(node);
  waiting_.erase(node);
  nodes_.erase(node);
  if (fabric_ != nullptr) fabric_->Fence(node);
}

bool FabricLink::Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  if (gone_.count(node) != 0 || fabric_ == nullptr) return false;
  if (nodes_.count(node) != 0) {
    fabric_->Send(node, header, payload);
  } else {
    waiting_[node].emplace_back(header, std::string(payload));
  }
  return true;
}

void FabricLink::OnFrame(std::uint32_t node, const FrameHeader& frame, std::string_view payload) {
  if (gone_.count(node) != 0) return;
  Connected(node);  // it came by itself and can be answered
  router_->OnFrame(frame, payload);
}

char* FabricLink::OnBulk(std::uint32_t node, const BulkChunk& chunk) {
  return gone_.count(node) != 0 ? nullptr : store_->OnBulk(node, chunk);
}

void FabricLink::OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) {
  store_->OnBulkDone(node, chunk, status);
}

void FabricLink::OnPeerLost(std::uint32_t node, const std::string& reason) {
  nodes_.erase(node);
  gone_.insert(node);
  waiting_.erase(node);
  on_lost_(node, reason);
}

// While chunks are on their way the next bytes are microseconds off: the loop looks again at once.
bool FabricLink::Poll() {
  if (!introduced_) return false;
  const bool worked = fabric_->Progress();
  if (!store_->MovesChunks()) return worked;
  const Loop::Time now = loop_->Now();
  if (worked) moved_at_ = now;
  return now - moved_at_ < kBetweenBytes;
}

bool FabricLink::PrepareToSleep() { return !introduced_ || fabric_->Arm(); }

}  // namespace ray_engine
