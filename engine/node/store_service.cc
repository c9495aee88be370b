#include "engine/node/store_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {
namespace {

constexpr auto kTick = std::chrono::milliseconds(500);

std::string Size(std::uint64_t bytes) { return BytesText(static_cast<double>(bytes)); }

}  // namespace

StoreService::StoreService(Loop* loop, Router* router, const Segment* segment, std::unique_ptr<SpillDisk> disk)
    : loop_(loop),
      router_(router),
      segment_(segment),
      store_(segment->size()),
      pulls_(&store_, router->self()),
      server_(&store_, router->self()),
      disk_(std::move(disk)),
      spilling_(&store_, router->self(), disk_ != nullptr) {
  pulls_.UseLine();
  if (disk_ != nullptr) loop_->Watch(disk_->EventFd(), [this](std::uint32_t) { OnSpillDone(); });
  router_->On<StoreReserve>([this](ProcessId from, const StoreReserve& reserve) { HandleReserve(from, reserve); });
  router_->On<StoreSeal>([this](ProcessId from, const StoreSeal& seal) { HandleSeal(from, seal); });
  router_->On<StoreReturn>([this](ProcessId from, const StoreReturn& rest) {
    store_.Return({rest.offset, rest.size}, from);
    MemoryFreed();
  });
  router_->On<StoreReclaimed>(
      [this](ProcessId from, const StoreReclaimed& reclaimed) { reclaims_.OnAnswer(reclaimed.round, from, true); });
  router_->On<StorePin>([this](ProcessId from, const StorePin& pin) { HandlePin(from, pin); });
  router_->On<StorePinCancel>([this](ProcessId from, const StorePinCancel& cancel) {
    Perform(pulls_.OnCancel(from, cancel.token));
    MemoryFreed();
  });
  router_->On<StoreUnpin>([this](ProcessId from, const StoreUnpin& unpin) { HandleUnpin(from, unpin); });
  router_->On<StoreKeep>([this](ProcessId, const StoreKeep& keep) { store_.MakePrimary(keep.object); });
  router_->On<StoreFree>([this](ProcessId, const StoreFree& free) { HandleFree(free); });
  router_->On<PullRequest>(
      [this](ProcessId from, const PullRequest& request) { HandlePullRequest(from.node, request); });
  router_->On<PullElsewhere>([this](ProcessId from, const PullElsewhere& answer) {
    Perform(pulls_.OnElsewhere(from.node, answer.object, answer.node));
  });
  router_->On<PullCancel>([this](ProcessId from, const PullCancel& cancel) {
    server_.OnPullCancel(from.node, cancel.object);
    MemoryFreed();
  });
  router_->On<PullFailed>([this](ProcessId from, const PullFailed& failed) {
    Perform(pulls_.OnPullFailed(from.node, failed.object, failed.error, failed.full));
    MemoryFreed();
  });
}

std::uint64_t StoreService::NowMilliseconds() const {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(loop_->Now()).count());
}

bool StoreService::TryRequest(const MemoryLine::Request& request) {
  if (request.kind == MemoryLine::Kind::kCreate) {
    const bool served = TryCreate(request);
    if (served) Perform(spilling_.KeepReserve());
    return served;
  }
  SpillActions actions;
  const bool served = spilling_.TryRestore(request.object, &actions);
  Perform(actions);
  return served;
}

bool StoreService::TryPull() {
  PullActions actions;
  const bool served = pulls_.TryNext(&actions);
  Perform(actions);
  return served;
}

void StoreService::WatchOwner(ProcessId owner) {
  if (owners_.insert(owner).second) router_->Send(router_->self(), Watch{owner});
}

void StoreService::HandlePin(ProcessId from, const StorePin& pin) {
  if (spilling_.Away(pin.object)) return WantBack(pin.object, from, pin.token);
  if (pin.node == router_->self().node && (store_.BeingWritten(pin.object) || MayBeSealedSoon(pin.object))) {
    early_[pin.object].pins.emplace_back(from, pin);
    return AwaitSeal(pin.object);
  }
  if (const std::string lost = spilling_.WhyLost(pin.object); !lost.empty() && !store_.Contains(pin.object))
    return NotPinned(from, pin.token, pin.object, lost, false);
  Perform(pulls_.OnWant(pin.object, pin.owner, pin.node, pin.size, from, pin.token, line_.NewArrival(), pin.may_spill));
  if (pulls_.queued() > 0) line_.Serve();
  if (pulls_.pulls() > 0) ScheduleTick();
}

void StoreService::HandlePullRequest(std::uint32_t node, const PullRequest& request) {
  const ObjectId& object = request.object;
  if (spilling_.Away(object)) return WantBack(object, ProcessId{node, 0}, 0);
  if (MayBeSealedSoon(object)) {
    early_[object].pulls.emplace_back(node, request);
    return AwaitSeal(object);
  }
  const std::string lost = spilling_.WhyLost(object);
  if (!lost.empty() && !store_.Contains(object)) return NotPinned(ProcessId{node, 0}, 0, object, lost, false);
  // A node that was not sent by the holder was told that the object is here. It was: of nodes that were told so of each
  // other, each would wait for the next one.
  if (pulls_.IsFetching(object, node) || (!request.direct && pulls_.IsArriving(object))) {
    return NotPinned(ProcessId{node, 0}, 0, object, "it is being fetched from another node", false);
  }
  Perform(server_.OnPullRequest(node, object, request.from, request.direct));
}

void StoreService::WantBack(const ObjectId& object, ProcessId client, std::uint64_t token) {
  if (!spilling_.OnWant(object, client, token)) return;
  MemoryLine::Request request;
  request.kind = MemoryLine::Kind::kRestore;
  request.object = object;
  request.size = spilling_.SizeOf(object);
  line_.Add(request, NowMilliseconds());
  line_.Serve();
  ScheduleTick();
}

void StoreService::HandleUnpin(ProcessId from, const StoreUnpin& unpin) {
  for (const ObjectId& object : unpin.objects) store_.Unpin(object, from);
  MemoryFreed();
}

void StoreService::HandleFree(const StoreFree& free) {
  for (const ObjectId& object : free.objects) {
    if (MayBeSealedSoon(object)) {
      early_[object].freed = true;
      AwaitSeal(object);
    } else {
      FreeObject(object);
    }
  }
  MemoryFreed();
}

void StoreService::FreeObject(const ObjectId& object) {
  store_.Free(object);
  Perform(spilling_.OnFree(object));
}

void StoreService::MemoryFreed() {
  if (!early_.empty()) ServeSettled();
  if (!line_.empty() || pulls_.queued() > 0) line_.Serve();
}

void StoreService::OnSpillDone() {
  for (const SpillDone& done : disk_->TakeDone()) {
    Perform(spilling_.OnDone(done, NowMilliseconds()));
    if (done.job.kind != SpillJob::kRead) continue;
    ServeEarly(done.job.object);
    Perform(done.status.ok() ? server_.OnMoreWritten(done.job.object) : server_.OnAborted(done.job.object));
  }
  WarnOnce();
  MemoryFreed();
}

bool StoreService::DiskGetsOn() {
  const std::uint64_t before = disk_ == nullptr ? moved_ : std::exchange(moved_, disk_->Moved());
  // On a full disk something may be written and given up again and again.
  return moved_ != before && spilling_.trouble() == SpillManager::Trouble::kNone;
}

void StoreService::WarnOnce() {
  if (warned_ || spilling_.trouble() != SpillManager::Trouble::kUnusable) return;
  warned_ = true;
  spdlog::warn("node {}: the object store is full: {}; --spill-directory names another folder", router_->self().node,
               spilling_.trouble_text());
}

void StoreService::Perform(const PullActions& actions) {
  for (const auto& cancel : actions.cancels) router_->Send(ProcessId{cancel.node, 0}, PullCancel{cancel.object});
  for (const auto& request : actions.requests) {
    router_->Send(ProcessId{request.node, 0}, PullRequest{request.object, request.from, request.direct});
  }
  for (const auto& pinned : actions.pinned) Pinned(pinned.client, pinned.token, pinned.location);
  for (const auto& failed : actions.failed) {
    const std::string error = failed.full ? failed.error + HoldersText() : failed.error;
    NotPinned(failed.client, failed.token, failed.object, error, failed.full);
  }
  for (const auto& added : actions.added) {
    store_.SetOwner(added.object, added.owner);
    WatchOwner(added.owner);
    router_->Send(added.owner, CopyAdded{added.object, router_->self().node});
  }
  for (const ObjectId& object : actions.aborted) Perform(server_.OnAborted(object));
}

void StoreService::Perform(const ServeActions& actions) {
  for (const auto& elsewhere : actions.elsewheres) {
    router_->Send(ProcessId{elsewhere.node, 0}, PullElsewhere{elsewhere.object, elsewhere.next});
  }
  for (const auto& refusal : actions.refusals) {
    router_->Send(ProcessId{refusal.node, 0}, PullFailed{refusal.object, refusal.error, false});
  }
  for (const auto& chunk : actions.chunks) SendChunk(chunk);
}

void StoreService::Perform(const SpillActions& actions) {
  if (!actions.jobs.empty()) disk_->Submit(actions.jobs);
  for (const auto& pinned : actions.pinned) Pinned(pinned.client, pinned.token, pinned.location);
  for (const auto& failed : actions.failed)
    NotPinned(failed.client, failed.token, failed.object, failed.error, failed.full);
  for (const auto& here : actions.here) Perform(server_.OnPullRequest(here.client.node, here.object, 0, false));
}

void StoreService::Pinned(ProcessId client, std::uint64_t token, const Store::Location& location) {
  router_->Send(client, StorePinned{token, location.offset, location.size, StoreProblem::kNone, ""}, true);
}

void StoreService::NotPinned(ProcessId client, std::uint64_t token, const ObjectId& object, const std::string& error,
                             bool full) {
  if (client.IsEngine()) {
    router_->Send(client, PullFailed{object, error, full});
  } else {
    router_->Send(client, StorePinned{token, 0, 0, full ? WhyFull() : StoreProblem::kLost, error}, true);
  }
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
  if (offset) return segment_->data() + *offset;
  Perform(pulls_.OnRefused(node, chunk));
  MemoryFreed();
  return nullptr;
}

void StoreService::OnBulkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) {
  Perform(pulls_.OnChunkDone(node, chunk, status));
  Perform(server_.OnMoreWritten(chunk.object));
  MemoryFreed();
}

void StoreService::OnNodeLost(std::uint32_t node, const std::string& reason) {
  server_.OnNodeLost(node);
  for (auto& [object, early] : early_) {
    const auto its = [node](const auto& pull) { return pull.first == node; };
    early.pulls.erase(std::remove_if(early.pulls.begin(), early.pulls.end(), its), early.pulls.end());
  }
  spilling_.OnClientGone(ProcessId{node, 0});
  Perform(pulls_.OnNodeLost(node, reason));
  MemoryFreed();
}

void StoreService::OnClientGone(ProcessId client) {
  line_.OnClientGone(client);
  spilling_.OnClientGone(client);
  store_.OnClientGone(client);
  for (auto& [object, early] : early_) {
    const auto its = [client](const auto& pin) { return pin.first == client; };
    early.pins.erase(std::remove_if(early.pins.begin(), early.pins.end(), its), early.pins.end());
  }
  reclaims_.OnGone(client);
  Perform(pulls_.OnClientGone(client));
  MemoryFreed();
}

void StoreService::OnOwnerGone(ProcessId owner) {
  if (owners_.erase(owner) == 0) return;
  for (const ObjectId& object : store_.ObjectsOf(owner)) FreeObject(object);
  for (const ObjectId& object : spilling_.ObjectsOf(owner)) FreeObject(object);
  MemoryFreed();
}

void StoreService::ScheduleTick() {
  if (tick_scheduled_) return;
  tick_scheduled_ = true;
  loop_->After(kTick, [this] { Tick(); });
}

void StoreService::Tick() {
  tick_scheduled_ = false;
  const std::uint64_t now = NowMilliseconds();
  spilling_.OnTick(now);
  const bool gets_on = DiskGetsOn();
  if (gets_on) line_.OnProgress(now);
  Perform(pulls_.OnTick(now, gets_on));
  for (const MemoryLine::Request& late : line_.TakeLate(now)) Refuse(late);
  MemoryFreed();
  if (!line_.empty() || pulls_.pulls() > 0) ScheduleTick();
}

void StoreService::Refuse(const MemoryLine::Request& request) {
  const std::string error = FullText(request.size);
  if (request.kind == MemoryLine::Kind::kRestore)
    Perform(spilling_.GiveUpRestore(request.object, error));
  else
    router_->Send(request.client, StoreReserved{request.token, 0, WhyFull(), error}, true);
}

StoreProblem StoreService::WhyFull() const {
  return spilling_.trouble() == SpillManager::Trouble::kDiskFull ? StoreProblem::kOutOfDisk : StoreProblem::kFull;
}

std::string StoreService::FullText(std::uint64_t size) const {
  const StoreStats stats = store_.Stats();
  std::string text = fmt::format(
      "the local object store is full of objects that are still in scope and cannot be evicted: {} asked for, {} of {} "
      "in use",
      Size(size), Size(stats.memory.used), Size(segment_->size()));
  text += HoldersText();
  if (WhyFull() == StoreProblem::kOutOfDisk) {
    text += fmt::format(
        "; {} lie on disk, and no more can be spilled: {}. Make room there, or name another folder or limit with "
        "--spill-directory and --spill-limit",
        Size(spilling_.Stats().on_disk_bytes), spilling_.trouble_text());
  } else if (spilling_.trouble() == SpillManager::Trouble::kUnusable) {
    text += "; " + spilling_.trouble_text();
  }
  return text;
}

std::string StoreService::HoldersText() const {
  constexpr std::size_t kNamed = 5;
  const auto holders = store_.Holders();
  std::string text;
  for (std::size_t i = 0; i < std::min(kNamed, holders.size()); ++i) {
    const auto& [process, bytes] = holders[i];
    text += fmt::format("{} {} by {}", i == 0 ? "; pinned:" : ",", Size(bytes),
                        process == router_->self() ? "the engine"
                        : name_                    ? name_(process)
                                                   : ToString(process));
  }
  return holders.size() > kNamed ? fmt::format("{} and {} more", text, holders.size() - kNamed) : text;
}

StoreInfo StoreService::Describe() const {
  const StoreStats store = store_.Stats();
  const SpillStats spill = spilling_.Stats();
  const PullStats pulls = pulls_.Stats();
  const ServeStats serve = server_.Stats();
  const MemoryLineStats line = line_.Stats();
  StoreInfo info;
  info.size = store.memory.size;
  info.used = store.memory.used;
  info.primary = store.primary_bytes;
  info.secondary = store.secondary_bytes;
  info.pinned = store.pinned_bytes;
  info.objects = store.objects;
  info.spilled = spill.spilled_bytes;
  info.spilled_objects = spill.spilled_objects;
  info.restored = spill.restored_bytes;
  info.restored_objects = spill.restored_objects;
  info.on_disk = spill.on_disk_bytes;
  info.on_disk_objects = spill.on_disk_objects;
  info.spill_ns = spill.spill_ns;
  info.restore_ns = spill.restore_ns;
  info.file = disk_ == nullptr ? 0 : disk_->Stats().extent;
  info.directory = disk_ == nullptr ? "" : disk_->Directory();
  struct stat memory {};
  if (fstat(segment_->fd(), &memory) == 0) info.resident = static_cast<std::uint64_t>(memory.st_blocks) * 512;
  info.in_chunks = store.in_chunks;
  info.in_arrays = store.in_arrays;
  info.free_ranges = store.memory.free_ranges;
  info.largest_free = store.memory.largest_free;
  info.creates_queued = line.creates;
  info.fetches_queued = line.restores + pulls.queued;
  info.pulled_objects = pulls.pulled_objects;
  info.pulls_failed = pulls.failed;
  info.served_objects = serve.served_objects;
  info.sent_on = serve.sent_on;
  info.problem = spilling_.trouble() == SpillManager::Trouble::kNone ? "" : spilling_.trouble_text();
  return info;
}

std::vector<SpilledInfo> StoreService::Spilled() const {
  std::vector<SpilledInfo> spilled;
  for (const ObjectId& object : spilling_.AwayObjects()) spilled.push_back({object, router_->self().node});
  return spilled;
}

}  // namespace ray_engine
