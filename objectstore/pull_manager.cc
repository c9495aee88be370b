#include "objectstore/pull_manager.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

std::uint64_t ChunkCount(std::uint64_t size) { return (size + kPullChunk - 1) / kPullChunk; }

}  // namespace

PullActions PullManager::OnWant(const ObjectId& object, ProcessId owner, std::uint32_t holder, std::uint64_t size,
                                ProcessId client, std::uint64_t token, std::uint64_t arrival, bool may_spill) {
  PullActions actions;
  Want(object, owner, {client, token, holder}, size, arrival, may_spill, &actions);
  return actions;
}

void PullManager::Want(const ObjectId& object, ProcessId owner, const Waiter& waiter, std::uint64_t size,
                       std::uint64_t arrival, bool may_spill, PullActions* actions) {
  const auto& [client, token, holder] = waiter;
  if (absl::StatusOr<Store::Location> here = store_->Pin(object, client); here.ok()) {
    return actions->pinned.push_back({client, token, object, *here});
  }
  const bool is_new = !pulls_.contains(object);
  if (is_new && holder == self_.node) {
    const std::string error = absl::StrCat("the object is not in the store of node ", holder, ", where it should be");
    return actions->failed.push_back({client, token, object, error});
  }
  if (const auto lost = lost_.find(holder); is_new && lost != lost_.end()) {
    return actions->failed.push_back({client, token, object, lost->second});
  }
  Pull& pull = pulls_[object];
  const bool under_way = pull.state == State::kActive || pull.state == State::kReturning;
  if (!under_way && holder != self_.node) {
    pull.owner = owner;
    pull.holder = holder;
    pull.size = size;
  }
  pull.waiters.push_back(waiter);
  pull.may_spill |= may_spill;
  if (is_new) {
    pull.arrival = arrival;
    queue_.push_back(object);
  }
  Admit(actions);
}

bool PullManager::IsArriving(const ObjectId& object) const {
  const auto found = pulls_.find(object);
  return found != pulls_.end() && found->second.state != State::kQueued;
}

bool PullManager::IsFetching(const ObjectId& object, std::uint32_t node) const {
  const auto found = pulls_.find(object);
  return found != pulls_.end() && found->second.state == State::kActive && found->second.source == node;
}

PullManager::Pulls::iterator PullManager::FindFrom(std::uint32_t node, const ObjectId& object) {
  return IsFetching(object, node) ? pulls_.find(object) : pulls_.end();
}

// Starts pulls in order of arrival until the limit or the end of the memory.
void PullManager::Admit(PullActions* actions) {
  while (!in_line_ && Next() && TryNext(actions)) {
  }
}

// Those that somebody here is writing wait for the end of that, and hold up nobody.
std::deque<ObjectId>::const_iterator PullManager::NextInQueue() const {
  const auto first = [this](bool may_spill) {
    return std::find_if(queue_.begin(), queue_.end(), [this, may_spill](const ObjectId& object) {
      return pulls_.find(object)->second.may_spill == may_spill && !store_->BeingWritten(object);
    });
  };
  const auto next = first(true);
  return next != queue_.end() ? next : first(false);
}

std::optional<PullManager::Request> PullManager::Next() const {
  const auto next = NextInQueue();
  if (next == queue_.end()) return std::nullopt;
  const Pull& pull = pulls_.find(*next)->second;
  if (bytes_in_flight_ > 0 && bytes_in_flight_ + pull.size > limits_.bytes_in_flight) return std::nullopt;
  return Request{pull.arrival, pull.size, pull.may_spill};
}

bool PullManager::TryNext(PullActions* actions) {
  const auto next = NextInQueue();
  const ObjectId object = *next;
  std::string error;
  if (TryStart(pulls_.find(object), actions, &error) == Start::kFull) return false;
  queue_.erase(std::find(queue_.begin(), queue_.end(), object));
  return true;
}

PullManager::Start PullManager::TryStart(Pulls::iterator pull, PullActions* actions, std::string* error) {
  const ObjectId object = pull->first;
  const std::uint64_t size = pull->second.size;
  absl::StatusOr<std::uint64_t> offset = store_->Create(object, size, self_, Store::Copy::kSecondary);
  if (offset.ok()) {
    StartTransfer(pull, *offset, actions);
  } else if (absl::IsAlreadyExists(offset.status())) {
    AnswerAll(pull, actions);
    pulls_.erase(pull);
  } else if (absl::IsFailedPrecondition(offset.status())) {
    return Start::kBusy;
  } else {
    *error = std::string(offset.status().message());
    if (store_->CouldHold(size)) return Start::kFull;
    AnswerWaiters(object, *error, true, actions);
    pulls_.erase(pull);
  }
  return Start::kDone;
}

void PullManager::StartTransfer(Pulls::iterator found, std::uint64_t offset, PullActions* actions) {
  Pull& pull = found->second;
  pull.state = State::kActive;
  pull.offset = offset;
  pull.total = pull.size;
  pull.chunks.assign(ChunkCount(pull.total), ChunkState::kMissing);
  pull.here = pull.leading = 0;
  bytes_in_flight_ += pull.total;
  starved_since_ms_.reset();
  if (pull.chunks.empty()) return Finish(found, actions);
  Ask(found, pull.holder, false, actions);
}

void PullManager::Ask(Pulls::iterator found, std::uint32_t node, bool direct, PullActions* actions) {
  found->second.source = node;
  actions->requests.push_back({node, found->first, found->second.leading * kPullChunk, direct});
}

PullActions PullManager::OnElsewhere(std::uint32_t node, const ObjectId& object, std::uint32_t next) {
  PullActions actions;
  const auto found = FindFrom(node, object);
  if (found == pulls_.end()) return actions;
  const bool reachable = next != self_.node && !lost_.contains(next);
  Ask(found, reachable ? next : found->second.holder, true, &actions);
  return actions;
}

std::optional<std::uint64_t> PullManager::OnChunk(std::uint32_t node, const BulkChunk& chunk) {
  const auto found = FindFrom(node, chunk.object);
  if (found == pulls_.end()) return std::nullopt;
  Pull& pull = found->second;
  if (chunk.total != pull.total) return std::nullopt;
  const std::uint64_t index = chunk.offset / kPullChunk;
  if (chunk.offset % kPullChunk != 0 || index >= pull.chunks.size()) return std::nullopt;
  if (chunk.size != std::min(kPullChunk, pull.total - chunk.offset)) return std::nullopt;
  if (pull.chunks[index] != ChunkState::kMissing) return std::nullopt;
  pull.chunks[index] = ChunkState::kArriving;
  ++pull.arriving;
  return pull.offset + chunk.offset;
}

PullActions PullManager::OnRefused(std::uint32_t node, const BulkChunk& chunk) {
  PullActions actions;
  const auto found = FindFrom(node, chunk.object);
  if (found == pulls_.end() || chunk.total == found->second.total) return actions;
  Leave(found, &actions);
  found->second.size = chunk.total;
  found->second.state = State::kDraining;
  EndIfDrained(found, &actions);
  Admit(&actions);
  return actions;
}

PullActions PullManager::OnChunkDone(std::uint32_t node, const BulkChunk& chunk, const absl::Status& status) {
  PullActions actions;
  const auto found = pulls_.find(chunk.object);
  Pull& pull = found->second;
  --pull.arriving;
  pull.chunks[chunk.offset / kPullChunk] = ChunkState::kMissing;
  if (status.ok()) TakeChunk(found, chunk.offset / kPullChunk);
  if (pull.state == State::kDraining) {
    EndIfDrained(found, &actions);
  } else if (pull.here == pull.chunks.size()) {
    Finish(found, &actions);
  } else if (pull.state == State::kReturning) {
    AskHolderIfQuiet(found, &actions);
  } else if (!status.ok()) {
    SourceFailed(found, absl::StrCat("the transfer from node ", node, " failed: ", status.message()), &actions);
  }
  Admit(&actions);
  return actions;
}

void PullManager::TakeChunk(Pulls::iterator found, std::uint64_t index) {
  Pull& pull = found->second;
  pull.chunks[index] = ChunkState::kHere;
  ++pull.here;
  if (index != pull.leading) return;
  while (pull.leading < pull.chunks.size() && pull.chunks[pull.leading] == ChunkState::kHere) ++pull.leading;
  store_->SetWritten(found->first, std::min(pull.leading * kPullChunk, pull.total));
}

void PullManager::Finish(Pulls::iterator pull, PullActions* actions) {
  bytes_in_flight_ -= pull->second.total;
  ++pulled_objects_;
  if (const absl::Status sealed = store_->Seal(pull->first, self_); sealed.ok() && store_->Contains(pull->first)) {
    actions->added.push_back({pull->first, pull->second.owner});
  }
  AnswerAll(pull, actions);
  pulls_.erase(pull);
}

void PullManager::AnswerAll(Pulls::iterator pull, PullActions* actions) {
  for (const Waiter& waiter : pull->second.waiters) {
    if (absl::StatusOr<Store::Location> pinned = store_->Pin(pull->first, waiter.client); pinned.ok()) {
      actions->pinned.push_back({waiter.client, waiter.token, pull->first, *pinned});
    } else {
      actions->failed.push_back({waiter.client, waiter.token, pull->first, "the object was freed by its owner"});
    }
  }
}

void PullManager::SourceFailed(Pulls::iterator found, const std::string& error, PullActions* actions, bool full) {
  Pull& pull = found->second;
  if (pull.source == pull.holder) return Fail(found->first, error, actions, full);
  Leave(found, actions);
  pull.state = State::kReturning;
  AskHolderIfQuiet(found, actions);
}

void PullManager::Leave(Pulls::iterator found, PullActions* actions) {
  const std::uint32_t source = found->second.source;
  if (!lost_.contains(source)) actions->cancels.push_back({source, found->first});
}

void PullManager::AskHolderIfQuiet(Pulls::iterator found, PullActions* actions) {
  Pull& pull = found->second;
  if (const auto lost = lost_.find(pull.holder); lost != lost_.end()) return Fail(found->first, lost->second, actions);
  if (pull.arriving > 0) return;
  pull.state = State::kActive;
  Ask(found, pull.holder, true, actions);
}

void PullManager::Fail(ObjectId object, const std::string& error, PullActions* actions, bool full) {
  const Pull failed = pulls_.find(object)->second;
  const auto hopes = [&](const Waiter& waiter) {
    return !full && waiter.holder != failed.holder && waiter.holder != self_.node && !lost_.contains(waiter.holder);
  };
  std::vector<Waiter>& waiters = pulls_.find(object)->second.waiters;
  waiters.erase(std::remove_if(waiters.begin(), waiters.end(), hopes), waiters.end());
  AnswerWaiters(object, error, full, actions);
  GiveUp(object, actions);
  for (const Waiter& waiter : failed.waiters) {
    if (hopes(waiter)) Want(object, failed.owner, waiter, failed.size, failed.arrival, failed.may_spill, actions);
  }
}

void PullManager::AnswerWaiters(const ObjectId& object, const std::string& error, bool full, PullActions* actions) {
  const std::vector<Waiter>& waiters = pulls_.find(object)->second.waiters;
  failed_ += !waiters.empty();
  for (const Waiter& waiter : waiters) actions->failed.push_back({waiter.client, waiter.token, object, error, full});
}

void PullManager::GiveUp(const ObjectId& object, PullActions* actions) {
  const auto found = pulls_.find(object);
  found->second.waiters.clear();
  if (found->second.state == State::kQueued) {
    queue_.erase(std::find(queue_.begin(), queue_.end(), object));
    pulls_.erase(found);
  } else {
    if (found->second.state == State::kActive) Leave(found, actions);
    found->second.state = State::kDraining;
    EndIfDrained(found, actions);
  }
}

// Gives the memory back once nothing writes to it any more; starts over if somebody has asked for the object since.
void PullManager::EndIfDrained(Pulls::iterator found, PullActions* actions) {
  Pull& pull = found->second;
  if (pull.arriving > 0) return;
  store_->Abort(found->first, self_);
  actions->aborted.push_back(found->first);
  bytes_in_flight_ -= pull.total;
  if (pull.waiters.empty()) {
    pulls_.erase(found);
  } else {
    pull.state = State::kQueued;
    queue_.push_back(found->first);
    if (const auto lost = lost_.find(pull.holder); lost != lost_.end()) Fail(found->first, lost->second, actions);
  }
}

PullActions PullManager::OnPullFailed(std::uint32_t node, const ObjectId& object, const std::string& error, bool full) {
  PullActions actions;
  const auto found = FindFrom(node, object);
  if (found == pulls_.end()) return actions;
  SourceFailed(found, error, &actions, full);
  Admit(&actions);
  return actions;
}

PullActions PullManager::OnNodeLost(std::uint32_t node, const std::string& reason) {
  PullActions actions;
  const std::string error = absl::StrCat("node ", node, ", which held the object, was lost: ", reason);
  lost_.emplace(node, error);
  std::vector<ObjectId> queued, active;
  for (const auto& [object, pull] : pulls_) {
    if (pull.state == State::kQueued && pull.holder == node) queued.push_back(object);
    if (pull.state == State::kActive && pull.source == node) active.push_back(object);
  }
  std::sort(queued.begin(), queued.end());  // both: repeatable
  std::sort(active.begin(), active.end());
  for (const ObjectId& object : queued) Fail(object, error, &actions);
  for (const ObjectId& object : active) SourceFailed(pulls_.find(object), error, &actions);
  Admit(&actions);
  return actions;
}

template <class Predicate>
PullActions PullManager::DropWaiters(Predicate gone) {
  PullActions actions;
  std::vector<ObjectId> unwanted;
  for (auto& [object, pull] : pulls_) {
    pull.waiters.erase(std::remove_if(pull.waiters.begin(), pull.waiters.end(), gone), pull.waiters.end());
    if (pull.waiters.empty() && pull.state != State::kDraining) unwanted.push_back(object);
  }
  std::sort(unwanted.begin(), unwanted.end());  // repeatable
  for (const ObjectId& object : unwanted) GiveUp(object, &actions);
  Admit(&actions);
  return actions;
}

PullActions PullManager::OnClientGone(ProcessId client) {
  return DropWaiters([client](const Waiter& waiter) { return waiter.client == client; });
}

PullActions PullManager::OnCancel(ProcessId client, std::uint64_t token) {
  std::optional<ObjectId> given_up;
  for (const auto& [object, pull] : pulls_) {
    for (const Waiter& waiter : pull.waiters) {
      if (waiter.client == client && waiter.token == token) given_up = object;
    }
  }
  if (!given_up) return {};
  PullActions actions =
      DropWaiters([&](const Waiter& waiter) { return waiter.client == client && waiter.token == token; });
  actions.failed.push_back({client, token, *given_up, "it is not waited for any more"});
  return actions;
}

PullActions PullManager::OnMemoryFreed() {
  PullActions actions;
  Admit(&actions);
  return actions;
}

PullActions PullManager::OnTick(std::uint64_t now_ms, bool helped) {
  PullActions actions = OnMemoryFreed();
  if (queue_.empty() || bytes_in_flight_ > 0 || helped) {
    starved_since_ms_.reset();
  } else if (!starved_since_ms_) {
    starved_since_ms_ = now_ms;
  } else if (now_ms - *starved_since_ms_ >= limits_.memory_wait_ms) {
    FailStarved(&actions);
  }
  return actions;
}

void PullManager::FailStarved(PullActions* actions) {
  const std::deque<ObjectId> waiting = std::exchange(queue_, {});
  for (const ObjectId& object : waiting) {
    std::string error;
    const Start start = TryStart(pulls_.find(object), actions, &error);
    if (start != Start::kDone) queue_.push_back(object);
    if (start != Start::kFull) continue;
    AnswerWaiters(object, error, true, actions);
    GiveUp(object, actions);
  }
}

PullStats PullManager::Stats() const {
  return {pulls_.size(), queue_.size(), bytes_in_flight_, pulled_objects_, failed_};
}

std::string PullManager::CheckInvariants() const {
  std::size_t queued = 0;
  std::uint64_t in_flight = 0;
  for (const auto& [object, pull] : pulls_) {
    if (std::string problem = CheckPull(object, pull); !problem.empty()) return problem;
    queued += pull.state == State::kQueued;
    in_flight += pull.state == State::kQueued ? 0 : pull.total;
  }
  if (in_flight != bytes_in_flight_) return "pulls: bytes in flight miscounted";
  return queued == queue_.size() ? "" : "pulls: queue and states differ";
}

std::string PullManager::CheckPull(const ObjectId& object, const Pull& pull) const {
  if (pull.waiters.empty() && pull.state != State::kDraining) return "pulls: nobody waits for a pull";
  const auto in_queue = std::count(queue_.begin(), queue_.end(), object);
  if (in_queue != (pull.state == State::kQueued ? 1 : 0)) return "pulls: a pull is queued wrongly";
  if (pull.state == State::kQueued) return "";
  const auto count = [&](ChunkState state) { return std::count(pull.chunks.begin(), pull.chunks.end(), state); };
  if (count(ChunkState::kArriving) != pull.arriving) return "pulls: arriving chunks miscounted";
  const auto missing =
      std::find_if(pull.chunks.begin(), pull.chunks.end(), [](ChunkState state) { return state != ChunkState::kHere; });
  if (missing - pull.chunks.begin() != pull.leading) return "pulls: leading chunks miscounted";
  if (pull.state == State::kReturning && pull.arriving == 0) return "pulls: nothing arrives, and nobody is asked";
  return count(ChunkState::kHere) == pull.here ? "" : "pulls: chunks here miscounted";
}

}  // namespace ray_engine
