#include "engine/node/store_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {
namespace {

constexpr auto kTick = std::chrono::milliseconds(500);

std::uint64_t NowMilliseconds() {
  const auto now = EventLoop::Clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

std::string Size(std::uint64_t bytes) { return BytesText(static_cast<double>(bytes)); }

}  // namespace

StoreService::StoreService(EventLoop* loop, Router* router, const Segment* segment)
    : loop_(loop),
      router_(router),
      segment_(segment),
      store_(segment->size()),
      pulls_(&store_, router->self()),
      server_(&store_, router->self()) {
  router_->On<StoreCreate>([this](ProcessId from, const StoreCreate& create) { HandleCreate(from, create); });
  router_->On<StoreSeal>([this](ProcessId from, const StoreSeal& seal) { HandleSeal(from, seal); });
  router_->On<StorePin>([this](ProcessId from, const StorePin& pin) { HandlePin(from, pin); });
  router_->On<StoreUnpin>([this](ProcessId from, const StoreUnpin& unpin) { HandleUnpin(from, unpin); });
  router_->On<StoreKeep>([this](ProcessId, const StoreKeep& keep) { store_.MakePrimary(keep.object); });
  router_->On<StoreFree>([this](ProcessId, const StoreFree& free) { HandleFree(free); });
  router_->On<PullRequest>([this](ProcessId from, const PullRequest& request) {
    Perform(server_.OnPullRequest(from.node, request.object, request.from, request.direct));
  });
  router_->On<PullElsewhere>([this](ProcessId from, const PullElsewhere& answer) {
    Perform(pulls_.OnElsewhere(from.node, answer.object, answer.node));
  });
  router_->On<PullCancel>([this](ProcessId from, const PullCancel& cancel) {
    server_.OnPullCancel(from.node, cancel.object);
    MemoryFreed();
  });
  router_->On<PullFailed>([this](ProcessId from, const PullFailed& failed) {
    Perform(pulls_.OnPullFailed(from.node, failed.object, failed.error));
  });
}

void StoreService::HandleCreate(ProcessId from, const StoreCreate& create) {
  if (waiting_.empty() && TryCreate(from, create)) return;
  if (!store_.CouldHold(create.size)) {
    TryCreate(from, create);
    return;
  }
  waiting_.push_back({from, create, EventLoop::Clock::now() + kCreatePatience});
  ScheduleTick();
}

bool StoreService::TryCreate(ProcessId client, const StoreCreate& create) {
  const absl::StatusOr<std::uint64_t> offset = CreateIn(client, create);
  if (absl::IsResourceExhausted(offset.status()) && store_.CouldHold(create.size)) return false;
  StoreCreated answer;
  answer.token = create.token;
  if (offset.ok()) {
    answer.offset = *offset;
  } else {
    answer.error = std::string(offset.status().message());
  }
  router_->Send(client, answer, true);
  return true;
}

absl::StatusOr<std::uint64_t> StoreService::CreateIn(ProcessId client, const StoreCreate& create) {
  absl::StatusOr<std::uint64_t> offset = store_.Create(create.object, create.size, client);
  if (offset.ok()) WatchOwner(create.object, create.owner);
  if (!absl::IsAlreadyExists(offset.status()) && !absl::IsFailedPrecondition(offset.status())) return offset;
  const ObjectId duplicate = ObjectId::Random();
  offset = store_.Create(duplicate, create.size, client);
  if (offset.ok()) duplicates_[{client, create.object}] = duplicate;
  return offset;
}

void StoreService::WatchOwner(const ObjectId& object, ProcessId owner) {
  if (owned_.Add(object, owner)) router_->Send(router_->self(), Watch{owner});
}

void StoreService::HandleSeal(ProcessId from, const StoreSeal& seal) {
  const auto duplicate = duplicates_.find({from, seal.object});
  if (duplicate != duplicates_.end()) {
    store_.Abort(duplicate->second, from);
    duplicates_.erase(duplicate);
  } else if (const absl::Status status = store_.Seal(seal.object, from); !status.ok()) {
    spdlog::warn("{} cannot seal {}: {}", ToString(from), seal.object.Hex(), std::string(status.message()));
  }
  ServeEarlyPins(seal.object);
  MemoryFreed();  // what was freed before its seal goes now
}

// The reply that names a result takes the direct link to its owner and may overtake the seal, which comes to the
// engine.
void StoreService::ServeEarlyPins(const ObjectId& object) {
  const auto found = early_pins_.find(object);
  if (found == early_pins_.end()) return;
  const std::vector<std::pair<ProcessId, StorePin>> pins = std::move(found->second);
  early_pins_.erase(found);
  for (const auto& [client, pin] : pins) HandlePin(client, pin);
}

void StoreService::HandlePin(ProcessId from, const StorePin& pin) {
  if (store_.BeingWritten(pin.object) && pin.node == router_->self().node) {
    early_pins_[pin.object].emplace_back(from, pin);
    return;
  }
  Perform(pulls_.OnWant(pin.object, pin.owner, pin.node, pin.size, from, pin.token));
  if (pulls_.pulls() > 0) ScheduleTick();
}

void StoreService::HandleUnpin(ProcessId from, const StoreUnpin& unpin) {
  for (const ObjectId& object : unpin.objects) store_.Unpin(object, from);
  MemoryFreed();
}

void StoreService::HandleFree(const StoreFree& free) {
  for (const ObjectId& object : free.objects) {
    owned_.Remove(object);
    store_.Free(object);
  }
  MemoryFreed();
}

void StoreService::MemoryFreed() {
  ServeWaiting();
  if (pulls_.pulls() > 0) Perform(pulls_.OnMemoryFreed());
}

void StoreService::ServeWaiting() {
  while (!waiting_.empty() && TryCreate(waiting_.front().client, waiting_.front().create)) waiting_.pop_front();
}

void StoreService::Perform(const PullActions& actions) {
  for (const auto& request : actions.requests) {
    router_->Send(ProcessId{request.node, 0}, PullRequest{request.object, request.from, request.direct});
  }
  for (const auto& cancel : actions.cancels) router_->Send(ProcessId{cancel.node, 0}, PullCancel{cancel.object});
  for (const auto& pinned : actions.pinned) {
    router_->Send(pinned.client, StorePinned{pinned.token, pinned.location.offset, pinned.location.size, "", false},
                  true);
  }
  for (const auto& failed : actions.failed)
    router_->Send(failed.client, StorePinned{failed.token, 0, 0, failed.error, failed.lost}, true);
  for (const auto& added : actions.added) {
    WatchOwner(added.object, added.owner);
    router_->Send(added.owner, CopyAdded{added.object, router_->self().node});
  }
  for (const ObjectId& object : actions.aborted) Perform(server_.OnAborted(object));
}

void StoreService::Perform(const ServeActions& actions) {
  for (const auto& elsewhere : actions.elsewheres) {
    router_->Send(ProcessId{elsewhere.node, 0}, PullElsewhere{elsewhere.object, elsewhere.next});
  }
  for (const auto& refusal : actions.refusals) {
    router_->Send(ProcessId{refusal.node, 0}, PullFailed{refusal.object, refusal.error});
  }
  for (const auto& chunk : actions.chunks) SendChunk(chunk);
}

void StoreService::SendChunk(const ServeActions::Chunk& chunk) {
  const auto sent = [this, node = chunk.node, part = chunk.chunk](const absl::Status&) {
    Perform(server_.OnChunkSent(node, part));
    MemoryFreed();
  };
  fabric_->SendBulk(chunk.node, chunk.chunk, segment_->data() + chunk.at, sent);
}

char* StoreService::OnBulk(std::uint32_t node, const BulkChunk& chunk) {
  const std::optional<std::uint64_t> offset = pulls_.OnChunk(node, chunk);
  return offset ? segment_->data() + *offset : nullptr;
}

void StoreService::OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) {
  Perform(pulls_.OnChunkDone(node, chunk, status));
  Perform(server_.OnMoreWritten(chunk.object));
  ServeWaiting();
}

void StoreService::OnNodeLost(std::uint32_t node, const std::string& reason) {
  server_.OnNodeLost(node);
  Perform(pulls_.OnNodeLost(node, reason));
  MemoryFreed();
}

void StoreService::OnClientGone(ProcessId client) {
  const auto gone = [client](const Waiting& waiting) { return waiting.client == client; };
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), gone), waiting_.end());
  duplicates_.erase(duplicates_.lower_bound({client, ObjectId::FromBinary(std::string(ObjectId::kSize, '\0'))}),
                    duplicates_.upper_bound({client, ObjectId()}));
  store_.OnClientGone(client);
  std::vector<ObjectId> awaited;
  for (const auto& [object, pins] : early_pins_) awaited.push_back(object);
  for (const ObjectId& object : awaited) ServeEarlyPins(object);
  Perform(pulls_.OnClientGone(client));
  MemoryFreed();
}

void StoreService::OnOwnerGone(ProcessId owner) {
  for (const ObjectId& object : owned_.Take(owner)) store_.Free(object);
  MemoryFreed();
}

void StoreService::ScheduleTick() {
  if (tick_scheduled_) return;
  tick_scheduled_ = true;
  loop_->After(kTick, [this] { Tick(); });
}

void StoreService::Tick() {
  tick_scheduled_ = false;
  Perform(pulls_.OnTick(NowMilliseconds()));
  while (!waiting_.empty() && waiting_.front().until < EventLoop::Clock::now()) {
    const Waiting late = std::move(waiting_.front());
    waiting_.pop_front();
    const StoreStats stats = store_.Stats();
    const std::string error = fmt::format(
        "the local object store is full of objects that are still in scope and cannot be evicted: {} asked for, {} of "
        "{} in use",
        Size(late.create.size), Size(stats.primary_bytes), Size(segment_->size()));
    router_->Send(late.client, StoreCreated{late.create.token, 0, error}, true);
    ServeWaiting();
  }
  if (!waiting_.empty() || pulls_.pulls() > 0) ScheduleTick();
}

}  // namespace ray_engine
