// FabricLink: this engine's place on the fabric.
//
// The fabric is made when the session gets a second node. Frames to a node whose address is not known yet wait for it;
// frames to a node that has left or is lost are refused.
//
// Owns the fabric. Loop-bound.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/node/event_loop.h"
#include "engine/node/router.h"
#include "engine/node/store_service.h"
#include "engine/transport/fabric.h"

namespace ray_engine {

class FabricLink : public FabricHandler, public EventLoop::Source {
 public:
  using Factory = std::function<absl::StatusOr<std::unique_ptr<Fabric>>(FabricHandler*)>;
  using OnLost = std::function<void(std::uint32_t node, const std::string& reason)>;

  FabricLink(Loop* loop, Factory factory) : loop_(loop), factory_(std::move(factory)) {}
  ~FabricLink() override { Close(); }

  // Makes the fabric if there is none yet.
  absl::Status Open();
  // Closes the connections; what was sent goes out first. Chunks under way come back to the store service.
  void Close();
  // Of the fabric; zeros as long as there is none.
  FabricStats Stats() const { return fabric_ == nullptr ? FabricStats() : fabric_->Stats(); }
  std::string Address() const { return fabric_ == nullptr ? "" : fabric_->Address(); }

  // Who this engine is. REQUIRES: once, after Open().
  void Introduce(std::uint32_t self, const std::string& secret);
  // Where frames and chunks go, and who hears of losses. REQUIRES: before the first Poll().
  void Connect(Router* router, StoreService* store, OnLost on_lost);

  absl::Status AddNode(std::uint32_t node, const std::string& address);
  // The node has left or is given up: nothing is sent to it or taken from it any more.
  void RemoveNode(std::uint32_t node);
  // False if the node has left.
  bool Send(std::uint32_t node, const FrameHeader& header, std::string_view payload);

  void OnFrame(std::uint32_t node, const FrameHeader& frame, std::string_view payload) override;
  char* OnBulk(std::uint32_t node, const BulkChunk& chunk) override;
  void OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) override;
  void OnPeerLost(std::uint32_t node, const std::string& reason) override;

  bool Poll() override;
  bool PrepareToSleep() override;

 private:
  void Connected(std::uint32_t node);

  Loop* loop_;
  Factory factory_;
  std::unique_ptr<Fabric> fabric_;
  bool introduced_ = false;
  Loop::Time moved_at_{};  // when something last came or left while chunks were on their way
  Router* router_ = nullptr;
  StoreService* store_ = nullptr;
  OnLost on_lost_;
  std::set<std::uint32_t> nodes_, gone_;
  std::map<std::uint32_t, std::vector<std::pair<FrameHeader, std::string>>> waiting_;  // for the node's address
};

}  // namespace ray_engine
