// The worker's half of the runtime: getting tasks and ending them.

#include <algorithm>
#include <cstring>

#include "engine/base/clock.h"
#include "engine/core/runtime.h"

namespace ray_engine {
namespace {

std::uint32_t Microseconds(std::int64_t from_ns, std::int64_t to_ns) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>((to_ns - from_ns) / 1000, 0, UINT32_MAX));
}

// Of a task that ends now.
RunTime RanUntilNow(const ExecTask& task) {
  const std::int64_t now = NowNs(), called = task.called_at.count(), returned = task.returned_at.count();
  RunTime ran{UnixNs(task.started_at.count()), UnixNs(now)};
  if (called != 0) ran.args_us = Microseconds(task.started_at.count(), called);
  if (returned != 0) ran.results_us = Microseconds(returned, now);
  return ran;
}

}  // namespace

WaitResult Runtime::NextTask(ExecTask** task, int group) {
  std::unique_lock lock(mutex_);
  const WaitResult result = WaitFor(
      lock, [&] { return leaving_ ? !executor_->AnyLeaving() : executor_->HasWork(group); }, kNever);
  if (result != WaitResult::kReady) return result;
  if (leaving_) return WaitResult::kDisconnected;
  *task = executor_->Start(Nanoseconds(NowNs()), group);
  Context() = {*task, (*task)->header.task, 0};
  told_idle_ = false;
  depth_ = (*task)->header.depth;
  std::memcpy(job_.data(), (*task)->header.task.data() + TaskId::kSize - JobId::kSize, JobId::kSize);
  if (!executor_->IsEmpty()) Unpark();
  if (!executor_->IsEmpty() && waiters_ > 0) {  // threads of a threaded actor
    executor_->HasGroups() ? waiters_cv_.notify_all() : waiters_cv_.notify_one();
  }
  return WaitResult::kReady;
}

std::vector<ObjectEntry*> Runtime::ReceiveArgs(const TaskView& view) {
  const std::lock_guard lock(mutex_);
  return ownership_->ReceiveArgs(view);
}

WireValue Runtime::MakeResult(std::unique_lock<std::mutex>& lock, const ExecTask& task, std::uint32_t index,
                              const ValuePieces& pieces) {
  absl::StatusOr<WireValue> value = MakeValue(lock, ReturnObjectId(task.header.task, index), task.owner, pieces);
  if (!value.ok()) value = SystemError(StoreErrorName(value.status()), std::string(value.status().message()));
  ownership_->GrantContained(pieces.contained, task.owner, &*value);
  return *std::move(value);
}

WireValue Runtime::MakeResult(const ExecTask* task, std::uint32_t index, ValuePieces pieces) {
  std::unique_lock lock(mutex_);
  WireValue value = MakeResult(lock, *task, index, pieces);
  for (ObjectEntry* entry : pieces.contained) ownership_->Drop(entry);
  return value;
}

void Runtime::FinishTask(ExecTask* task, DoneHeader::Outcome outcome, std::vector<WireValue> made,
                         std::vector<ValuePieces> values, const std::vector<ObjectEntry*>& received) {
  std::unique_lock lock(mutex_);
  if (ended_) return EndUnanswered(task, received);
  DoneHeader done;
  done.slot = task->header.slot;
  done.attempt = task->header.attempt;
  done.num_returns = static_cast<std::uint16_t>(made.size() + values.size());
  done.outcome = outcome;
  std::string payload(sizeof done, '\0');
  Writer writer(&payload);
  const ProcessId owner = task->owner;
  for (WireValue& value : made) writer(value);
  for (std::size_t i = 0; i < values.size(); ++i) {
    writer(MakeResult(lock, *task, static_cast<std::uint32_t>(made.size() + i + 1), values[i]));
  }
  done.ran = RanUntilNow(*task);
  std::memcpy(payload.data(), &done, sizeof done);
  // The grants above keep what the result contains; what the program still holds is registered; then the reply may
  // leave.
  ownership_->CloseScope(received);
  ownership_->SendGuarded(owner, MessageType::kTaskDone, std::move(payload), false);
  for (const ValuePieces& value : values) {
    for (ObjectEntry* entry : value.contained) ownership_->Drop(entry);
  }
  executor_->Finished(task);
  Context() = {};
  Unpark();
}

bool Runtime::YieldItem(ExecTask* task, std::uint32_t index, ValuePieces pieces) {
  std::unique_lock lock(mutex_);
  if (ended_) return true;
  const StreamItem item{task->header.slot, task->header.attempt, index, MakeResult(lock, *task, index + 2, pieces)};
  ownership_->SendGuarded(task->owner, MessageType::kStreamItem, Encode(item), false);
  for (ObjectEntry* entry : pieces.contained) ownership_->Drop(entry);
  Unpark();
  return task->HasRoomAfter(index);
}

WaitResult Runtime::WaitForReader(ExecTask* task, std::uint32_t index) {
  std::unique_lock lock(mutex_);
  return WaitFor(
      lock, [&] { return task->HasRoomAfter(index); }, kNever, kPatienceNs);
}

void Runtime::FinishCreation(ExecTask* task, const std::string& error, bool args_lost,
                             const std::vector<ObjectEntry*>& received) {
  const std::lock_guard lock(mutex_);
  if (ended_) return EndUnanswered(task, received);
  const ActorReady ready{task->actor->spec.actor, task->actor->incarnation, error, static_cast<std::uint32_t>(getpid()),
                         args_lost};
  ownership_->CloseScope(received);
  ownership_->SendGuarded(kHead, MessageType::kActorReady, Encode(ready), true);
  executor_->Finished(task);
  Context() = {};
  Unpark();
}

void Runtime::Leave() {
  const std::lock_guard lock(mutex_);
  leaving_ = true;
  if (Context().task != nullptr) Context().task->leaving = true;
  waiters_cv_.notify_all();
  WakeSleeper(sleeper_.block());
}

void Runtime::FinishUnanswered(ExecTask* task, const std::vector<ObjectEntry*>& received) {
  const std::lock_guard lock(mutex_);
  EndUnanswered(task, received);
}

// Also of a worker that its engine has left, or told to end: what its task has made of that is nobody's result.
void Runtime::EndUnanswered(ExecTask* task, const std::vector<ObjectEntry*>& received) {
  ownership_->CloseScope(received);
  executor_->Finished(task);
  Context() = {};
  waiters_cv_.notify_all();
  WakeSleeper(sleeper_.block());
}

bool Runtime::HasEnded() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

bool Runtime::IsIdle() {
  const std::lock_guard lock(mutex_);
  return executor_->running().empty();
}

bool Runtime::WasCancelled(const ExecTask* task) {
  const std::lock_guard lock(mutex_);
  return task->cancelled;
}

bool Runtime::EndInterrupts(ExecTask* task) {
  const std::lock_guard lock(mutex_);
  task->interruptible = false;
  return task->cancelled;
}

}  // namespace ray_engine
