#include "engine/core/executor.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "engine/base/clock.h"

namespace ray_engine {

TaskInfo DescribeRunning(const ExecTask& task) {
  TaskInfo info;
  info.task = task.header.task;
  info.state = TaskInfo::kRunning;
  info.owner = task.owner;
  info.started_ns = UnixNs(task.started_at.count());
  if (task.actor) info.actor = task.actor->spec.actor;
  TaskView view;
  if (ParseTask(task.payload, &view)) info.name = std::string(view.name);
  return info;
}

void Executor::OnPushTask(ProcessId owner, std::string_view payload) {
  if (payload.size() < sizeof(TaskHeader)) return;
  if (pool_.empty()) pool_.push_back(std::make_unique<ExecTask>());
  std::unique_ptr<ExecTask> task = std::move(pool_.back());
  pool_.pop_back();
  task->owner = owner;
  task->payload.assign(payload);
  std::memcpy(static_cast<void*>(&task->header), payload.data(), sizeof(TaskHeader));
  const bool beside = task->header.concurrency_group == kSystemGroup && !runs_coroutines_;
  (beside ? system_queue_ : queue_).push_back(std::move(task));
}

void Executor::On(const StartActor& message) {
  if (message.spec.creation_task.size() < sizeof(TaskHeader)) return;
  OnPushTask(message.spec.creator, message.spec.creation_task);
  queue_.back()->actor = message;
  actor_lease_ = message.lease;
  has_groups_ = !message.spec.concurrency_groups.empty();
  runs_coroutines_ = message.spec.is_async;
}

void Executor::OnProcessGone(ProcessId process) {
  const auto lost = [process](const auto& task) { return task->owner == process && !task->actor.has_value(); };
  for (Queue* queue : {&queue_, &system_queue_}) {
    queue->erase(std::remove_if(queue->begin(), queue->end(), lost), queue->end());
  }
}

bool Executor::TakeNeedOfSystemThread() {
  if (system_thread_ || system_queue_.empty()) return false;
  has_groups_ = true;
  return system_thread_ = true;
}

Executor::Queue::const_iterator Executor::First(int group) const {
  if (group == kAnyGroup) return queue_.begin();
  if (group == kSystemGroup) return system_queue_.begin();
  return std::find_if(queue_.begin(), queue_.end(),
                      [group](const auto& task) { return task->header.concurrency_group == group; });
}

ExecTask* Executor::Start(Nanoseconds now, int group) {
  Queue& line = group == kSystemGroup ? system_queue_ : queue_;
  const auto first = line.begin() + (First(group) - line.cbegin());
  running_.push_back(std::move(*first));
  line.erase(first);
  running_.back()->started_at = now;
  return running_.back().get();
}

void Executor::Finished(ExecTask* task) {
  const auto it =
      std::find_if(running_.begin(), running_.end(), [task](const auto& owned) { return owned.get() == task; });
  std::unique_ptr<ExecTask> done = std::move(*it);
  running_.erase(it);
  done->actor.reset();
  done->cancelled = false;
  done->interruptible = true;
  done->leaving = false;
  done->consumed = 0;
  done->called_at = done->returned_at = Nanoseconds(0);
  pool_.push_back(std::move(done));
}

void Executor::GiveBack() {
  std::map<ProcessId, TasksReturned> by_owner;
  for (auto it = queue_.begin(); it != queue_.end();) {
    if ((*it)->header.kind != TaskKind::kNormal) {
      ++it;
      continue;
    }
    TasksReturned& returned = by_owner[(*it)->owner];
    returned.slots.push_back((*it)->header.slot);
    returned.attempts.push_back((*it)->header.attempt);
    it = queue_.erase(it);
  }
  for (const auto& [owner, returned] : by_owner) sender_->Send(owner, returned);
}

void Executor::GiveBackIfOverrun(Nanoseconds now) {
  if (queue_.empty() || running_.empty() || now - running_.front()->started_at < kOverrun) return;
  GiveBack();
}

void Executor::On(const StreamConsumed& message) {
  for (const auto& task : running_) {
    if (task->header.task == message.task) task->consumed = std::max(task->consumed, message.count);
  }
}

ExecTask* Executor::Cancel(const TaskId& id) {
  const auto is_it = [&id](const auto& task) { return task->header.task == id; };
  const auto running = std::find_if(running_.begin(), running_.end(), is_it);
  if (running != running_.end()) {
    (*running)->cancelled = true;
    return running->get();
  }
  for (Queue* queue : {&queue_, &system_queue_}) {
    const auto queued = std::find_if(queue->begin(), queue->end(), is_it);
    if (queued == queue->end()) continue;
    TellCancelled(**queued);
    queue->erase(queued);
  }
  return nullptr;
}

void Executor::TellCancelled(const ExecTask& task) {
  DoneHeader done;
  done.slot = task.header.slot;
  done.attempt = task.header.attempt;
  done.num_returns = task.header.num_returns;
  done.outcome = DoneHeader::kCancelled;
  std::string payload;
  AppendPlain(&payload, done);
  Writer writer(&payload);
  for (std::uint32_t i = 0; i < task.header.num_returns; ++i) writer(SystemError("TaskCancelledError", ""));
  sender_->To(task.owner)->Send(MessageType::kTaskDone, payload, true);
}

bool Executor::AnyLeaving() const {
  return std::any_of(running_.begin(), running_.end(), [](const auto& task) { return task->leaving; });
}

bool Executor::IsRunning(const TaskId& id) const {
  return std::any_of(running_.begin(), running_.end(), [&id](const auto& task) { return task->header.task == id; });
}

}  // namespace ray_engine
