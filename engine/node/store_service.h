// StoreService: the node's object store as processes and other engines see it.
//
// Turns messages into calls of the store, the pull manager and the pull server, and their actions into messages and
// bulk chunks. A create that finds no room waits, in order, until something is freed, kCreatePatience at most. An
// object that is here already and is written again (by a second attempt of its task) is written beside the first and
// thrown away. Objects whose owner is gone are freed.
//
// Owns the segment. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "engine/node/event_loop.h"
#include "engine/node/owned_objects.h"
#include "engine/node/router.h"
#include "engine/transport/fabric.h"
#include "objectstore/pull_manager.h"
#include "objectstore/pull_server.h"
#include "objectstore/segment.h"
#include "objectstore/store.h"

namespace ray_engine {

class StoreService {
 public:
  static constexpr std::chrono::seconds kCreatePatience{5};

  // Registers its messages at the router, whose self() must be known. The pointers must outlive this.
  StoreService(EventLoop* loop, Router* router, const Segment* segment);

  void SetFabric(Fabric* fabric) { fabric_ = fabric; }

  // From the fabric.
  char* OnBulk(std::uint32_t node, const BulkChunk& chunk);
  void OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status);
  void OnNodeLost(std::uint32_t node, const std::string& reason);

  // A process of this node is dead: it holds nothing any more.
  void OnClientGone(ProcessId client);
  // A process that this engine watches is dead: what it owned is freed.
  void OnOwnerGone(ProcessId owner);

  StoreStats Stats() const { return store_.Stats(); }

 private:
  struct Waiting {
    ProcessId client;
    StoreCreate create;
    EventLoop::Clock::time_point until;
  };

  void HandleCreate(ProcessId from, const StoreCreate& create);
  void HandleSeal(ProcessId from, const StoreSeal& seal);
  void HandlePin(ProcessId from, const StorePin& pin);
  void ServeEarlyPins(const ObjectId& object);
  void HandleUnpin(ProcessId from, const StoreUnpin& unpin);
  void HandleFree(const StoreFree& free);

  // False: there is no room now. Otherwise the client has its answer.
  bool TryCreate(ProcessId client, const StoreCreate& create);
  absl::StatusOr<std::uint64_t> CreateIn(ProcessId client, const StoreCreate& create);
  void WatchOwner(const ObjectId& object, ProcessId owner);
  void MemoryFreed();
  void ServeWaiting();
  void Perform(const PullActions& actions);
  void Perform(const ServeActions& actions);
  void SendChunk(const ServeActions::Chunk& chunk);
  void ScheduleTick();
  void Tick();

  EventLoop* loop_;
  Router* router_;
  const Segment* segment_;
  Fabric* fabric_ = nullptr;
  Store store_;
  PullManager pulls_;
  PullServer server_;
  OwnedObjects owned_;
  std::deque<Waiting> waiting_;
  std::map<std::pair<ProcessId, ObjectId>, ObjectId> duplicates_;  // (writer, object) -> what it writes instead
  bool tick_scheduled_ = false;
  absl::flat_hash_map<ObjectId, std::vector<std::pair<ProcessId, StorePin>>> early_pins_;  // of objects not sealed yet
};

}  // namespace ray_engine
