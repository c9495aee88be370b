// The part of StoreService for what the processes of this node write: room that they reserve, objects that they seal in
// it, and those who know of an object before its seal has come.

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/node/store_service.h"

namespace ray_engine {
namespace {

constexpr auto kSealsAreLate = std::chrono::milliseconds(2);
constexpr std::uint64_t kReclaimMs = 500;  // what has not come back then is in the hands of somebody who is stopped

}  // namespace

// ---- room ----------------------------------------------------------------------------------------------------------

void StoreService::HandleReserve(ProcessId from, const StoreReserve& reserve) {
  MemoryLine::Request request;
  request.kind = MemoryLine::Kind::kCreate;
  request.size = reserve.size;
  request.client = from;
  request.use = static_cast<Store::Use>(reserve.use);
  request.token = reserve.token;
  if (request.use == Store::Use::kChunk) return GiveChunk(request);
  if (!store_.CouldHold(reserve.size)) return (void)TryCreate(request);
  if (line_.empty() && pulls_.queued() == 0 && TryRequest(request)) return;
  line_.Add(request, NowMilliseconds());
  line_.Serve();
  ScheduleTick();
}

// False: there is no room now. Otherwise the client has its answer.
bool StoreService::TryCreate(const MemoryLine::Request& create) {
  const absl::StatusOr<std::uint64_t> offset = store_.Reserve(create.size, create.client, create.use);
  if (!offset.ok() && store_.CouldHold(create.size)) return false;
  StoreReserved answer;
  answer.token = create.token;
  if (offset.ok()) {
    answer.offset = *offset;
  } else {
    answer.problem = StoreProblem::kFull;
    answer.error = std::string(offset.status().message());
  }
  router_->Send(create.client, answer, true);
  return true;
}

// Without waiting, and not in front of those who wait.
void StoreService::GiveChunk(const MemoryLine::Request& chunk) {
  StoreReserved answer{chunk.token, 0, StoreProblem::kFull, ""};
  if (line_.empty() && pulls_.queued() == 0) {
    const absl::StatusOr<std::uint64_t> offset = store_.Reserve(chunk.size, chunk.client, chunk.use);
    if (offset.ok()) answer = {chunk.token, *offset, StoreProblem::kNone, ""};
  }
  router_->Send(chunk.client, answer, false);
  Perform(spilling_.KeepReserve());
}

// Memory is short. True: chunks that clients do not need at the moment will come back.
bool StoreService::ReclaimChunks() {
  const std::uint64_t now = NowMilliseconds();
  if (reclaiming_) return now < reclaimed_at_ms_ + kReclaimMs;
  if (store_.in_chunks() == 0) return false;
  if (now < reclaimed_at_ms_ + kReclaimMs) return false;  // what is left of them is being written
  reclaiming_ = true;
  reclaimed_at_ms_ = now;
  absl::btree_set<ProcessId> asked;
  for (const ProcessId client : store_.Reservers()) asked.insert(client);
  const auto done = [this](const std::vector<bool>&) {
    reclaiming_ = false;
    MemoryFreed();
  };
  const std::uint64_t round = reclaims_.Begin(asked, done);
  for (const ProcessId client : asked) router_->Send(client, StoreReclaim{round, true}, true);
  return true;
}

// ---- seals ---------------------------------------------------------------------------------------------------------

void StoreService::HandleSeal(ProcessId from, const StoreSeal& seal) {
  const Store::Location part{seal.offset, seal.size};
  if (spilling_.Away(seal.object)) {
    store_.Return(part, from);
  } else {
    const absl::Status status = store_.SealReserved(seal.object, part, from, seal.pin, seal.owner);
    if (status.ok()) WatchOwner(seal.owner);
    if (absl::IsInvalidArgument(status))
      spdlog::warn("{} cannot seal {}: {}", ToString(from), seal.object.Hex(), std::string(status.message()));
  }
  ServeEarly(seal.object);
  MemoryFreed();  // it can be written to disk now, and may be freed already
}

// Not known here, but somebody who has reserved room may have sealed it.
bool StoreService::MayBeSealedSoon(const ObjectId& object) const {
  if (!early_.empty()) {
    const auto early = early_.find(object);
    if (early != early_.end()) return early->second.wait != Early::kForWriter;
  }
  return object != settled_ && !store_.Knows(object) && store_.has_reservers() && !spilling_.OnDisk(object) &&
         spilling_.WhyLost(object).empty();
}

void StoreService::AwaitSeal(const ObjectId& object) {
  Early& early = early_[object];
  if (store_.BeingWritten(object) || early.wait != Early::kForWriter) return;
  early.wait = Early::kToAsk;
  if (std::exchange(asking_, true)) return;
  loop_->After(kSealsAreLate, [this] { AskForSeals(); });  // nearly always it comes at once
}

void StoreService::AskForSeals() {
  asking_ = false;
  std::vector<ObjectId> objects;
  for (auto& [object, early] : early_) {
    if (early.wait != Early::kToAsk) continue;
    early.wait = Early::kAsked;
    objects.push_back(object);
  }
  if (objects.empty()) return;
  absl::btree_set<ProcessId> asked;
  for (const ProcessId client : store_.Reservers()) asked.insert(client);
  const auto done = [this, objects = std::move(objects)](const std::vector<bool>&) {
    for (const ObjectId& object : objects) {
      const auto early = early_.find(object);
      if (early != early_.end() && early->second.wait == Early::kAsked) early->second.wait = Early::kForWriter;
    }
    ServeSettled();
  };
  const std::uint64_t round = reclaims_.Begin(asked, done);
  for (const ProcessId client : asked) router_->Send(client, StoreReclaim{round, false}, true);
}

// The object is sealed now, or nobody writes it.
void StoreService::ServeEarly(const ObjectId& object) {
  if (early_.empty()) return;
  const auto found = early_.find(object);
  if (found == early_.end()) return;
  const Early early = std::move(found->second);
  early_.erase(found);
  settled_ = object;
  for (const auto& [client, pin] : early.pins) HandlePin(client, pin);
  for (const auto& [node, request] : early.pulls) HandlePullRequest(node, request);
  settled_ = ObjectId();
  if (early.freed) FreeObject(object);
}

// Whoever waits for an object that was being written and is not any more, or that will not be sealed. Nodes do not wait
// for what this node pulls itself: it may come from one of them, which would wait for this one.
void StoreService::ServeSettled() {
  std::vector<ObjectId> settled, arriving;
  for (const auto& [object, early] : early_) {
    if (early.wait != Early::kForWriter) continue;
    if (!store_.BeingWritten(object)) settled.push_back(object);
    if (!early.pulls.empty() && pulls_.IsArriving(object)) arriving.push_back(object);
  }
  std::sort(settled.begin(), settled.end());  // both: repeatable
  std::sort(arriving.begin(), arriving.end());
  for (const ObjectId& object : settled) ServeEarly(object);
  for (const ObjectId& object : arriving) {
    const auto early = early_.find(object);
    if (early == early_.end()) continue;
    const auto requests = std::exchange(early->second.pulls, {});
    for (const auto& [node, request] : requests) HandlePullRequest(node, request);
  }
}

}  // namespace ray_engine
