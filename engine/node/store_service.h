// StoreService: the node's object store as processes and other engines see it.
//
// Turns messages into calls of the store, the pull manager, the pull server and the spill manager, and their actions
// into messages, bulk chunks and jobs for the disk. Whoever finds no room stands in the memory line. An object that is
// here already and is sealed again (by a second attempt of its task) is thrown away. Objects whose owner is gone are
// freed.
//
// The engine hears of an object with its seal. Who knows of it earlier, by a direct link from its writer, may ask for
// it before: then those who may have written it are asked to answer behind their seals.
//
// Owns the disk. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/node/gather.h"
#include "engine/node/loop.h"
#include "engine/node/router.h"
#include "engine/transport/fabric.h"
#include "objectstore/memory_line.h"
#include "objectstore/pull_manager.h"
#include "objectstore/pull_server.h"
#include "objectstore/segment.h"
#include "objectstore/spill_job.h"
#include "objectstore/spill_manager.h"
#include "objectstore/store.h"

namespace ray_engine {

class StoreService : private MemoryLine::Giver {
 public:
  // Registers its messages at the router, whose self() must be known. The pointers must outlive this. Without a disk
  // nothing is spilled.
  StoreService(Loop* loop, Router* router, const Segment* segment, std::unique_ptr<SpillDisk> disk);

  void SetFabric(Fabric* fabric) { fabric_ = fabric; }
  // How messages to people name a process.
  void NameBy(std::function<std::string(ProcessId)> name) { name_ = std::move(name); }

  // From the fabric.
  char* OnBulk(std::uint32_t node, const BulkChunk& chunk);
  void OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status);
  void OnNodeLost(std::uint32_t node, const std::string& reason);

  // A process of this node is dead: it holds nothing any more.
  void OnClientGone(ProcessId client);
  // A process that this engine watches is dead: what it owned is freed.
  void OnOwnerGone(ProcessId owner);

  StoreInfo Describe() const;
  // Are chunks on their way from or to other nodes?
  bool MovesChunks() const { return pulls_.bytes_in_flight() > 0 || server_.transfers() > 0; }
  const Store& store() const { return store_; }
  const PullManager& pulls() const { return pulls_; }
  const PullServer& server() const { return server_; }
  // The objects that lie on disk alone.
  std::vector<SpilledInfo> Spilled() const;

 private:
  // What processes of this node write: store_writes.cc.
  void HandleReserve(ProcessId from, const StoreReserve& reserve);
  void HandleSeal(ProcessId from, const StoreSeal& seal);
  bool TryCreate(const MemoryLine::Request& create);
  void GiveChunk(const MemoryLine::Request& chunk);
  bool ReclaimChunks();
  bool MayBeSealedSoon(const ObjectId& object) const;
  void AwaitSeal(const ObjectId& object);
  void AskForSeals();
  void ServeEarly(const ObjectId& object);
  void ServeSettled();

  void HandlePin(ProcessId from, const StorePin& pin);
  void HandleUnpin(ProcessId from, const StoreUnpin& unpin);
  void HandleFree(const StoreFree& free);

  void HandlePullRequest(std::uint32_t node, const PullRequest& request);
  // Queues the object to be restored; for an engine, to be sent there then.
  void WantBack(const ObjectId& object, ProcessId client, std::uint64_t token);
  void FreeObject(const ObjectId& object);

  bool TryRequest(const MemoryLine::Request& request) override;
  bool TryPull() override;
  std::optional<PullManager::Request> NextPull() override { return pulls_.Next(); }
  void Relieve(std::uint64_t size) override {
    if (!ReclaimChunks()) Perform(spilling_.Relieve(size));
  }
  bool MoreIsComing() override { return spilling_.Writing() || store_.being_written() > 0 || reclaiming_; }

  void Refuse(const MemoryLine::Request& request);
  StoreProblem WhyFull() const;
  std::string FullText(std::uint64_t size) const;
  std::string HoldersText() const;
  void WatchOwner(ProcessId owner);
  void MemoryFreed();
  void OnSpillDone();
  // Since the last call.
  bool DiskGetsOn();
  void WarnOnce();
  void Perform(const PullActions& actions);
  void Perform(const ServeActions& actions);
  void Perform(const SpillActions& actions);
  void Pinned(ProcessId client, std::uint64_t token, const Store::Location& location);
  void NotPinned(ProcessId client, std::uint64_t token, const ObjectId& object, const std::string& error, bool full);
  void SendChunk(const ServeActions::Chunk& chunk);
  std::uint64_t NowMilliseconds() const;
  void ScheduleTick();
  void Tick();

  Loop* loop_;
  Router* router_;
  const Segment* segment_;
  Fabric* fabric_ = nullptr;
  Store store_;
  PullManager pulls_;
  PullServer server_;
  std::unique_ptr<SpillDisk> disk_;  // may be none
  SpillManager spilling_;
  MemoryLine line_{this};
  absl::flat_hash_set<ProcessId> owners_;  // of what has been here; they are watched
  std::function<std::string(ProcessId)> name_;
  bool warned_ = false;
  std::uint64_t moved_ = 0;  // by the disk until the last tick
  bool tick_scheduled_ = false;

  // What is asked of objects that are not sealed yet.
  struct Early {
    enum Wait : std::uint8_t { kForWriter, kToAsk, kAsked };  // somebody here writes it; or the clients are asked
    Wait wait = kForWriter;
    std::vector<std::pair<ProcessId, StorePin>> pins;
    std::vector<std::pair<std::uint32_t, PullRequest>> pulls;
    bool freed = false;
  };
  absl::flat_hash_map<ObjectId, Early> early_;
  ObjectId settled_;  // being served: it is sealed, or will not be
  Gather<bool> reclaims_;
  bool asking_ = false;                // for seals, shortly
  bool reclaiming_ = false;            // chunks
  std::uint64_t reclaimed_at_ms_ = 0;  // when they were asked for last
};

}  // namespace ray_engine
