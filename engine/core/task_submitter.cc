#include "engine/core/task_submitter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/wire/error_report.h"

namespace ray_engine {
namespace {

constexpr std::int64_t kAheadNs = 1'000'000;         // work queued ahead on one worker
constexpr std::int64_t kWorkPerLeaseNs = 2'000'000;  // more queued work than this deserves another worker
constexpr std::size_t kMaxAhead = 256;

std::size_t Depth(const CallOptions& options) {
  if (options.mean_ns < 0 || options.mean_ns > kAheadNs / 2) return 1;
  return std::min<std::size_t>(kMaxAhead,
                               static_cast<std::size_t>(kAheadNs / std::max<std::int64_t>(options.mean_ns, 1000)));
}

void Measure(CallOptions* options, const RunTime& ran) {
  const std::int64_t last = ran.ended_ns - ran.started_ns;
  options->mean_ns = options->mean_ns < 0 ? last : options->mean_ns + (last - options->mean_ns) / 8;
}

// Only short tasks are there: what is queued behind them starts soon, or comes back.
bool IsQuick(const LeasedWorker& worker) {
  return !worker.stalled && !worker.reclaimed && worker.calls_left > 0 &&
         (worker.pushed.empty() || Depth(*worker.pushed.back()->options) > 1);
}

bool StartsOver(const TaskRecord& record) {
  return record.rare != nullptr && record.rare->starts_over && !record.cancelled;
}

// Its lease goes back. (Where tasks are to be spread, the next one is to run elsewhere.)
bool IsDone(const LeasedWorker& worker) {
  const LeaseQueue& queue = *worker.queue;
  const bool spreads = queue.lease_class.strategy == LeaseClass::kSpread && queue.ready.empty();
  return worker.pushed.empty() && (worker.reclaimed || worker.calls_left == 0 || spreads);
}

}  // namespace

void TaskSubmitter::Submit(TaskRecord* record) {
  LeaseQueue* queue = QueueFor(record->options);
  if (record->IsResolved()) {
    if (queue->ready.empty()) {  // the fast path: straight to a worker that has room
      if (LeasedWorker* worker = Choose(queue, *record->options)) {
        Push(worker, record);
        return;
      }
    }
    Enqueue(record, false);
    UpdateDemand(queue, false);
    return;
  }
  tasks_->ResolveArgs(record, [this](TaskRecord* ready, ObjectEntry* failed) {
    if (failed != nullptr) return tasks_->FinishWithErrorOf(ready, failed);
    LeaseQueue* queue = QueueOf(*ready);
    Enqueue(ready, false);
    Pump(queue);
    UpdateDemand(queue, false);
  });
}

LeaseQueue* TaskSubmitter::QueueFor(CallOptions* options) {
  if (options->queue != nullptr) return options->queue;
  std::string key = Encode(options->lease_class);
  if (options->max_calls > 0) key += std::string(options->function.Binary()) + std::to_string(options->max_calls);
  LeaseQueue*& queue = by_class_[key];
  if (queue == nullptr) queue = NewQueue(*options, kNoNode);
  return options->queue = queue;
}

LeaseQueue* TaskSubmitter::NewQueue(const CallOptions& options, std::uint32_t locality) {
  queues_.push_back(std::make_unique<LeaseQueue>());
  LeaseQueue* queue = queues_.back().get();
  queue->key = static_cast<std::uint32_t>(queues_.size() - 1);
  queue->lease_class = options.lease_class;
  queue->max_calls = options.max_calls;
  queue->locality = locality;
  return queue;
}

// This node comes first anyway. Where a task shall run by its strategy does not depend on its arguments.
LeaseQueue* TaskSubmitter::QueueOf(const TaskRecord& record) {
  LeaseQueue* queue = QueueFor(record.options);
  const bool is_free = queue->lease_class.strategy == LeaseClass::kDefault;
  const std::uint32_t locality = record.Locality();
  if (locality == kNoNode || locality == sender_->self().node || !is_free) return queue;
  LeaseQueue*& near = queue->near[locality];
  if (near == nullptr) near = NewQueue(*record.options, locality);
  return near;
}

void TaskSubmitter::Enqueue(TaskRecord* record, bool front) {
  LeaseQueue* queue = QueueOf(*record);
  queue->name = record->options->name;
  if (queue->ready.empty()) queue->full_to = 0;  // who became idle meanwhile was not looked for
  front ? queue->ready.push_front(record) : queue->ready.push_back(record);
}

// The first idle worker (the one used last is still awake), else the one with the fewest tasks, if it has room. Behind
// a long or unknown task nothing is queued.
LeasedWorker* TaskSubmitter::Choose(LeaseQueue* queue, const CallOptions& options) {
  LeasedWorker* best = nullptr;
  for (const auto& worker : queue->workers) {
    if (!IsQuick(*worker)) continue;
    if (worker->pushed.empty()) return worker.get();
    if (best == nullptr || worker->pushed.size() < best->pushed.size()) best = worker.get();
  }
  return best != nullptr && best->pushed.size() < Depth(options) ? best : nullptr;
}

void TaskSubmitter::Push(LeasedWorker* worker, TaskRecord* record) {
  tasks_->BeginAttempt(record, worker->channel->peer(), worker->lease);
  record->worker = worker;
  worker->pushed.push_back(record);
  worker->idle_since = Nanoseconds(0);
  if (worker->queue->max_calls > 0) --worker->calls_left;
  worker->channel->Send(MessageType::kPushTask, record->payload, false);
}

void TaskSubmitter::PushNext(LeasedWorker* worker) {
  TaskRecord* record = worker->queue->ready.front();
  worker->queue->ready.pop_front();
  Push(worker, record);
}

void TaskSubmitter::Pump(LeaseQueue* queue) {
  while (!queue->ready.empty()) {
    const CallOptions& options = *queue->ready.front()->options;
    LeasedWorker* worker = Choose(queue, options);
    if (worker == nullptr) return void(queue->full_to = Depth(options));
    PushNext(worker);
  }
  queue->full_to = 0;
}

// A worker has ended a task. As long as no other has room they need not be looked at.
void TaskSubmitter::PumpTo(LeasedWorker* worker) {
  LeaseQueue* queue = worker->queue;
  while (!queue->ready.empty()) {
    const std::size_t depth = Depth(*queue->ready.front()->options);
    if (depth > queue->full_to) return Pump(queue);
    if (!IsQuick(*worker) || worker->pushed.size() >= depth) return;
    PushNext(worker);
  }
}

// How many more workers the queued work deserves. Unknown and long tasks want one each.
std::uint32_t TaskSubmitter::Wanted(const LeaseQueue& queue) const {
  if (queue.ready.empty()) return 0;
  std::uint32_t wanted = 0;
  std::int64_t short_work_ns = 0;
  std::size_t looked_at = 0;
  for (const TaskRecord* record : queue.ready) {
    if (++looked_at > 1000) break;  // nobody has more CPUs than that to give at once
    const std::int64_t mean = record->options->mean_ns;
    mean<0 || mean> kAheadNs / 2 ? void(++wanted) : void(short_work_ns += mean);
  }
  wanted += static_cast<std::uint32_t>(short_work_ns / kWorkPerLeaseNs);
  // A worker with a long task does not count: it may be waiting for these.
  const auto quick = [](const auto& worker) { return IsQuick(*worker); };
  return wanted == 0 && std::none_of(queue.workers.begin(), queue.workers.end(), quick) ? 1 : wanted;
}

// While a program submits in a loop the demand is told when it has doubled; `exact` tells it as it is.
void TaskSubmitter::UpdateDemand(LeaseQueue* queue, bool exact) {
  if (!exact && queue->ready.size() > 1 && queue->ready.size() < 2 * std::size_t{queue->demanded}) {
    dirty_ = true;
    return;
  }
  const std::uint32_t wanted = Wanted(*queue);
  if (wanted != queue->demanded) Demand(queue, wanted);
}

void TaskSubmitter::Demand(LeaseQueue* queue, std::uint32_t wanted) {
  queue->demanded = wanted;
  LeaseDemand demand;
  demand.key = queue->key;
  demand.count = wanted;
  demand.received = queue->received;
  demand.name = queue->name;
  demand.lease_class = queue->lease_class;
  demand.locality = queue->locality;
  sender_->SendToHead(demand);
}

void TaskSubmitter::FlushDemands() {
  if (!dirty_) return;
  dirty_ = false;
  for (const auto& queue : queues_) UpdateDemand(queue.get(), true);
}

void TaskSubmitter::On(const LeaseGrant& message, Nanoseconds now) {
  if (message.key >= queues_.size()) return;
  LeaseQueue* queue = queues_[message.key].get();
  if (queue->demanded > 0) --queue->demanded;
  ++queue->received;
  Channel* channel = sender_->To(message.worker);
  if (channel->gone()) return UpdateDemand(queue, true);  // the worker died first, and its engine has ended the lease
  auto worker = std::make_unique<LeasedWorker>();
  worker->lease = message.lease;
  worker->channel = channel;
  worker->queue = queue;
  worker->idle_since = now;
  if (queue->max_calls > 0) worker->calls_left = queue->max_calls;
  queue->workers.push_back(std::move(worker));
  ++lease_count_;
  Pump(queue);
  UpdateDemand(queue, true);
}

LeasedWorker* TaskSubmitter::FindLease(LeaseId lease) const {
  for (const auto& queue : queues_) {
    for (const auto& worker : queue->workers) {
      if (worker->lease == lease) return worker.get();
    }
  }
  return nullptr;
}

void TaskSubmitter::On(const LeaseReclaim& message) {
  LeasedWorker* worker = FindLease(message.lease);
  if (worker == nullptr) return;
  worker->reclaimed = true;
  LeaseQueue* queue = worker->queue;
  if (worker->pushed.empty()) {
    ReturnLease(worker);
  } else {
    worker->channel->Send(MessageType::kReturnYourQueue, Encode(ReturnYourQueue{worker->lease}), true);
  }
  Pump(queue);
  UpdateDemand(queue, true);
}

// The head has asked, so it is told though nothing may have changed.
void TaskSubmitter::On(const LeasesLost& message) {
  if (message.key >= queues_.size()) return;
  LeaseQueue* queue = queues_[message.key].get();
  Demand(queue, Wanted(*queue));
}

void TaskSubmitter::OnGroupRemoved(const PlacementGroupId& id) {
  std::vector<LeaseId> held;
  for (const auto& queue : queues_) {
    if (queue->lease_class.group != id) continue;
    for (const auto& worker : queue->workers) held.push_back(worker->lease);
  }
  for (const LeaseId lease : held) On(LeaseReclaim{lease});
}

void TaskSubmitter::On(const LeaseFailed& message) {
  if (message.key >= queues_.size()) return;
  LeaseQueue* queue = queues_[message.key].get();
  queue->demanded = 0;
  const WireValue error =
      SystemError(message.group_removed ? "TaskPlacementGroupRemoved" : "TaskUnschedulableError", message.error);
  for (TaskRecord* record : std::exchange(queue->ready, {})) tasks_->FinishWithError(record, error);
}

void TaskSubmitter::ReturnLease(LeasedWorker* worker) {
  LeaseQueue* queue = worker->queue;
  if (!worker->channel->gone())
    sender_->Send(worker->channel->peer().Engine(), LeaseReturn{worker->lease, queue->max_calls > 0});
  queue->workers.erase(std::find_if(queue->workers.begin(), queue->workers.end(),
                                    [worker](const auto& owned) { return owned.get() == worker; }));
  --lease_count_;
}

void TaskSubmitter::OnDone(TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values, Nanoseconds now) {
  LeasedWorker* worker = record->worker;
  if (done.outcome != DoneHeader::kCancelled && done.outcome != DoneHeader::kArgsLost)
    Measure(record->options, done.ran);
  worker->pushed.front() == record
      ? worker->pushed.pop_front()
      : void(worker->pushed.erase(std::find(worker->pushed.begin(), worker->pushed.end(), record)));
  record->worker = nullptr;
  if (worker->pushed.empty()) {
    worker->stalled = false;
    worker->idle_since = now;
  }
  LeaseQueue* queue = worker->queue;
  const bool returned = IsDone(*worker);
  if (returned) ReturnLease(worker);
  if (done.outcome == DoneHeader::kUserError && record->options->retry_exceptions && record->retries_left != 0 &&
      !record->cancelled) {
    tasks_->TakeRetry(record, std::move(values));
    RetryLater(record, now);
  } else if (done.outcome == DoneHeader::kArgsLost) {
    TaskTable::Reopen(record);
    record->cancelled ? tasks_->FinishWithError(record, SystemError("TaskCancelledError", "")) : Submit(record);
  } else if (done.outcome == DoneHeader::kCancelled && StartsOver(*record)) {
    record->rare->starts_over = false;
    TaskTable::TakeRetry(record);
    Enqueue(record, true);
  } else {
    tasks_->Finish(record, std::move(values), done.ran);
  }
  if (queue->ready.empty() && queue->demanded == 0) return;
  returned ? Pump(queue) : PumpTo(worker);
  queue->ready.empty() ? UpdateDemand(queue, true) : void(dirty_ = true);
}

// What made a task raise may pass, but hardly within the microseconds that an attempt takes.
void TaskSubmitter::RetryLater(TaskRecord* record, Nanoseconds now) {
  const std::uint32_t doublings = std::min(record->Extra().raised++, 16u);
  delayed_.emplace(now + std::min(kFirstDelay * (1u << doublings), kLongestDelay), record);
}

void TaskSubmitter::RetryDue(Nanoseconds now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    TaskRecord* record = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    LeaseQueue* queue = QueueOf(*record);
    Enqueue(record, false);
    Pump(queue);
    UpdateDemand(queue, true);
  }
}

void TaskSubmitter::DropDelayed(const TaskRecord* record) {
  const auto it =
      std::find_if(delayed_.begin(), delayed_.end(), [record](const auto& entry) { return entry.second == record; });
  if (it != delayed_.end()) delayed_.erase(it);
}

void TaskSubmitter::On(ProcessId from, const TasksReturned& message, Nanoseconds now) {
  LeasedWorker* worker = nullptr;
  for (std::size_t i = message.slots.size(); i-- > 0;) {  // backwards, so that the first comes to the front last
    TaskRecord* record = tasks_->Get(message.slots[i]);
    if (record == nullptr || i >= message.attempts.size() || record->attempt != message.attempts[i]) continue;
    if (record->worker == nullptr || record->worker->channel->peer() != from) continue;
    worker = record->worker;
    worker->pushed.erase(std::find(worker->pushed.begin(), worker->pushed.end(), record));
    worker->stalled = !worker->pushed.empty();
    if (worker->queue->max_calls > 0) ++worker->calls_left;
    record->worker = nullptr;
    if (record->cancelled) {
      tasks_->FinishWithError(record, SystemError("TaskCancelledError", ""));
    } else {
      Enqueue(record, true);
    }
  }
  if (worker == nullptr) return;
  if (worker->pushed.empty()) worker->idle_since = now;
  LeaseQueue* queue = worker->queue;
  if (IsDone(*worker)) ReturnLease(worker);
  Pump(queue);
  UpdateDemand(queue, true);
}

void TaskSubmitter::OnProcessGone(ProcessId process, const std::string& cause) {
  for (const auto& queue : queues_) {
    for (std::size_t i = 0; i < queue->workers.size();) {
      LeasedWorker* worker = queue->workers[i].get();
      if (worker->channel->peer() != process) {
        ++i;
        continue;
      }
      const std::deque<TaskRecord*> lost = std::move(worker->pushed);
      worker->pushed.clear();
      ReturnLease(worker);
      if (!lost.empty() && !lost.front()->cancelled) ReportLost(*lost.front(), cause);
      for (std::size_t k = lost.size(); k-- > 0;) Retry(lost[k], k == 0, cause);
    }
    if (queue->ready.empty()) continue;
    Pump(queue.get());
    UpdateDemand(queue.get(), true);
  }
}

void TaskSubmitter::ReportLost(const TaskRecord& running, const std::string& cause) {
  const std::string what = running.retries_left == 0 ? "It is not tried again." : "It is tried again.";
  const std::string text = fmt::format("A worker died or was killed while executing the task {} ({}): {}. {}",
                                       running.options->name, running.id.Hex(), cause, what);
  sender_->SendToHead(ErrorReport(running.options->lease_class.job, kWorkerDied, text));
}

// Only the first of a worker's tasks was running; the others cost no retry.
void TaskSubmitter::Retry(TaskRecord* record, bool was_running, const std::string& cause) {
  record->worker = nullptr;
  if (record->cancelled) {
    tasks_->FinishWithError(
        record, was_running ? SystemError("WorkerCrashedError", cause) : SystemError("TaskCancelledError", ""));
  } else if (was_running && record->retries_left == 0) {
    tasks_->FinishWithError(record, SystemError("WorkerCrashedError", cause));
  } else {
    if (was_running) TaskTable::TakeRetry(record);
    Enqueue(record, true);
  }
}

void TaskSubmitter::Cancel(TaskRecord* record, bool force, bool recursive) {
  record->cancelled = true;
  if (record->worker != nullptr) {
    record->worker->channel->Send(MessageType::kCancelTask, Encode(CancelTask{record->id, force, recursive}), true);
    return;
  }
  LeaseQueue* queue = QueueOf(*record);
  DropDelayed(record);
  const auto it = std::find(queue->ready.begin(), queue->ready.end(), record);
  if (it != queue->ready.end()) queue->ready.erase(it);
  tasks_->FinishWithError(record, SystemError("TaskCancelledError", ""));
  UpdateDemand(queue, true);
}

void TaskSubmitter::Tick(Nanoseconds now) {
  RetryDue(now);
  for (const auto& queue : queues_) {  // a function may have turned out to be short where it runs from another queue
    if (!queue->ready.empty()) Pump(queue.get());
  }
  FlushDemands();
  for (const auto& queue : queues_) {
    for (std::size_t i = queue->workers.size(); i-- > 0;) {
      LeasedWorker* worker = queue->workers[i].get();
      RecallIfOverrun(worker);
      if (!worker->pushed.empty()) continue;
      if (worker->idle_since.count() == 0) worker->idle_since = now;
      if (now - worker->idle_since >= kLinger) ReturnLease(worker);
    }
  }
}

// What a worker runs has lasted from one tick to the next: what is queued behind it is better off elsewhere.
void TaskSubmitter::RecallIfOverrun(LeasedWorker* worker) {
  if (worker->pushed.size() < 2 || worker->stalled || worker->reclaimed) return;
  const std::uint32_t running = worker->pushed.front()->attempt;
  if (std::exchange(worker->running_at_tick, running) != running) return;
  worker->channel->Send(MessageType::kReturnYourQueue, Encode(ReturnYourQueue{worker->lease}), true);
}

TaskSubmitter::Counts TaskSubmitter::Stats() const {
  Counts counts;
  counts.leases = lease_count_;
  for (const auto& queue : queues_) counts.queued += queue->ready.size();
  return counts;
}

}  // namespace ray_engine
