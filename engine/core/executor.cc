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
  queue_.push_back(std::move(task));
}

void Executor::On(const StartActor& message) {
  if (message.spec.creation_task.size() < sizeof(TaskHeader)) return;
  OnPushTask(message.spec.creator, message.spec.creation_task);
  queue_.back()->actor = message;
  actor_lease_ = message.lease;
  has_groups_ = !message.spec.concurrency_groups.empty();
}

void Executor::OnProcessGone(ProcessId process) {
  const auto lost = [process](const auto& task) { return task->owner == process && !task->actor.has_value(); };
  queue_.erase(std::remove_if(queue_.begin(), queue_.end(), lost), queue_.end());
}

Executor::Queue::const_iterator Executor::First(int group) const {
  if (group == kAnyGroup) return queue_.begin();
  return std::find_if(queue_.begin(), queue_.end(),
                      [group](const auto& task) { return task->header.concurrency_group == group; });
}

ExecTask* Executor::Start(Nanoseconds now, int group) {
  const auto first = queue_.begin() + (First(group) - queue_.cbegin());
  running_.push_back(std::move(*first));
  queue_.erase(first);
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
  const auto queued = std::find_if(queue_.begin(), queue_.end(), is_it);
  if (queued == queue_.end()) return nullptr;
  DoneHeader done;
  done.slot = (*queued)->header.slot;
  done.attempt = (*queued)->header.attempt;
  done.num_returns = (*queued)->header.num_returns;
  done.outcome = DoneHeader::kCancelled;
  std::string payload;
  AppendPlain(&payload, done);
  Writer writer(&payload);
  for (std::uint32_t i = 0; i < (*queued)->header.num_returns; ++i) writer(SystemError("TaskCancelledError", ""));
  const ProcessId owner = (*queued)->owner;
  queue_.erase(queued);
  sender_->To(owner)->Send(MessageType::kTaskDone, payload, true);
  return nullptr;
}

bool Executor::AnyLeaving() const {
  return std::any_of(running_.begin(), running_.end(), [](const auto& task) { return task->leaving; });
}

bool Executor::IsRunning(const TaskId& id) const {
  return std::any_of(running_.begin(), running_.end(), [&id](const auto& task) { return task->header.task == id; });
}

}  // namespace ray_engine
