#include "engine/core/actor_submitter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/wire/error_report.h"

namespace ray_engine {
namespace {

bool Remove(const TaskRecord* record, std::deque<TaskRecord*>* calls) {
  const auto it = std::find(calls->begin(), calls->end(), record);
  if (it == calls->end()) return false;
  calls->erase(it);
  return true;
}

// What is made again has had its turn, and those that wait for their arguments may wait for it.
bool MayOvertake(const TaskRecord& record) { return record.options->out_of_order || record.GetLineage() != nullptr; }

}  // namespace

ActorLine* ActorSubmitter::Line(const ActorId& actor) {
  auto& line = lines_[actor];
  if (line == nullptr) {
    line = std::make_unique<ActorLine>();
    line->actor = actor;
  }
  return line.get();
}

void ActorSubmitter::Create(TaskRecord* record, ActorSpec spec, std::uint64_t token, ObjectEntry* handle) {
  ActorLine* line = Line(spec.actor);
  line->handle = handle;
  by_handle_.emplace(handle->id, line);
  record->actor = line;
  ownership_->Hold(handle);  // until the head knows the actor
  tasks_->ResolveArgs(
      record, [this, line, token, handle, spec = std::move(spec)](TaskRecord* ready, ObjectEntry* failed) mutable {
        if (failed != nullptr) {
          FailCreation(line, spec.class_name, failed);
        } else {
          spec.creation_task = ready->payload;
          line->constructor = Constructor{ready->id, ready->options, spec.class_name, std::move(ready->Extra().remade),
                                          std::exchange(ready->holds, {})};
          sender_->SendToHead(ActorCreate{token, std::move(spec)});
          Watch(line);
        }
        tasks_->Finish(ready, {});
        ownership_->Drop(handle);
      });
}

// The actor has given its place up until they are there again.
void ActorSubmitter::On(const ActorArgsLost& message) {
  ActorLine* line = Line(message.actor);
  if (!line->constructor || line->constructor->args.payload.empty()) return;  // it is dead by now
  const Constructor& constructor = *line->constructor;
  TaskRecord* record = tasks_->New(constructor.task, constructor.options);
  record->actor = line;
  record->payload = constructor.args.payload;
  record->Extra().unresolved = constructor.args.unresolved;
  for (ObjectEntry* entry : constructor.holds) ownership_->Hold(entry);
  record->holds = constructor.holds;
  tasks_->ResolveArgs(record, [this, line, name = constructor.class_name](TaskRecord* ready, ObjectEntry* failed) {
    if (line->last.state != ActorState::kDead) {
      ActorArgs args{line->actor, ready->payload, "", ""};
      if (failed != nullptr) {
        FailCreation(line, name, failed);
        args = {line->actor, "", line->last.cause, line->last.init_error};
      }
      sender_->SendToHead(args);
    }
    tasks_->Finish(ready, {});
  });
}

// An argument of the constructor is an error: the actor does not come to be, or not again.
void ActorSubmitter::FailCreation(ActorLine* line, const std::string& class_name, ObjectEntry* failed) {
  const WireValue error = ownership_->ValueOf(failed);
  line->last.state = ActorState::kDead;
  line->last.cause = "an argument of the actor's constructor could not be computed";
  line->last.init_error = error.kind == WireValue::kInline
                              ? error.bytes.substr(1)  // without the byte of its kind
                              : ErrorOfDependant(class_name + ".__init__", error.bytes, failed->id).bytes;
  FailAll(line);
}

void ActorSubmitter::Watch(ActorLine* line) {
  if (std::exchange(line->watching, true)) return;
  sender_->SendToHead(ActorWatch{line->actor});
}

void ActorSubmitter::OnKillSent(const ActorId& actor) {
  ActorLine* line = Line(actor);
  line->channel = nullptr;
  Watch(line);
}

void ActorSubmitter::Submit(TaskRecord* record, const ActorId& actor) {
  ActorLine* line = Line(actor);
  record->actor = line;
  if (line->last.state == ActorState::kDead) {
    tasks_->FinishWithError(record, DeathError(*line));
    return;
  }
  if (line->sent.size() + line->waiting.size() >= line->warn_above) WarnOfMany(line);
  if (MayGo(*line, *record)) return Push(line, record);  // the fast path
  line->waiting.push_back(record);
  Watch(line);
  record->IsResolved() ? SendReady(line) : AwaitArgs(line, record);
}

void ActorSubmitter::AwaitArgs(ActorLine* line, TaskRecord* record) {
  tasks_->ResolveArgs(record, [this, line](TaskRecord* ready, ObjectEntry* failed) {
    if (failed != nullptr) {
      Remove(ready, &line->waiting);
      tasks_->FinishWithErrorOf(ready, failed);
    } else if (MayGo(*line, *ready)) {
      Remove(ready, &line->waiting);
      return Push(line, ready);
    }
    SendReady(line);
  });
}

void ActorSubmitter::WarnOfMany(ActorLine* line) {
  const std::string text = fmt::format(
      "Warning: More than {} tasks are pending submission to actor {}. Each takes memory here until it has ended: wait "
      "for some of their results before you submit more.",
      line->warn_above, line->actor.Hex());
  JobId job;
  std::memcpy(job.data(), line->actor.data() + ActorId::kSize - JobId::kSize, JobId::kSize);
  sender_->SendToHead(ErrorReport(job, kExcessQueueing, text));
  line->warn_above *= 2;
}

// Now, not waiting for others.
bool ActorSubmitter::MayGo(const ActorLine& line, const TaskRecord& record) {
  return record.IsResolved() && line.channel != nullptr && (line.waiting.empty() || MayOvertake(record));
}

void ActorSubmitter::Push(ActorLine* line, TaskRecord* record) {
  tasks_->BeginAttempt(record, line->channel->peer());
  line->sent.push_back(record);
  line->channel->Send(MessageType::kPushTask, record->payload, false);
}

void ActorSubmitter::SendReady(ActorLine* line) {
  if (line->last.state == ActorState::kRestarting) return FailUnretried(line);
  auto next = line->waiting.begin();
  while (line->channel != nullptr && next != line->waiting.end()) {
    TaskRecord* record = *next;
    if (record->IsResolved()) {
      next = line->waiting.erase(next);
      Push(line, record);
    } else if (MayOvertake(*record)) {
      ++next;
    } else {
      return;
    }
  }
}

void ActorSubmitter::OnDone(TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values) {
  ActorLine* line = record->actor;
  // It is among the waiting ones if the actor was lost: its result was under way already.
  if (!Remove(record, &line->sent)) Remove(record, &line->waiting);
  if (done.outcome == DoneHeader::kUserError && record->options->retry_exceptions && record->retries_left != 0 &&
      !record->cancelled) {
    tasks_->TakeRetry(record, std::move(values));
    line->waiting.push_front(record);  // those behind it may wait for its result
    SendReady(line);
    return;
  }
  if (done.outcome == DoneHeader::kArgsLost) {
    TaskTable::Reopen(record);
    if (record->cancelled) return tasks_->FinishWithError(record, SystemError("TaskCancelledError", ""));
    line->waiting.push_front(record);
    return AwaitArgs(line, record);
  }
  tasks_->Finish(record, std::move(values), done.ran);
}

void ActorSubmitter::On(const ActorUpdate& message) {
  ActorLine* line = Line(message.actor);
  if (line->last.state == ActorState::kDead || message.incarnation < line->last.incarnation) return;
  if (line->leaves && message.state != ActorState::kDead) return;
  const bool new_process = message.process != line->last.process;
  line->last = message;
  if (message.state == ActorState::kAlive) {
    if (new_process) ResendOrFail(line);
    Channel* channel = sender_->To(message.process);
    line->channel = channel->gone() ? nullptr : channel;  // the next update is on its way
    SendReady(line);
  } else if (message.state == ActorState::kRestarting) {
    line->channel = nullptr;
    ResendOrFail(line);
    FailUnretried(line);
  } else if (message.state == ActorState::kDead) {
    OnDead(line);
  }
}

void ActorSubmitter::OnDead(ActorLine* line) {
  line->channel = nullptr;
  line->leaves = false;
  const bool may_return = line->last.restartable && line->handle != nullptr;
  if (!may_return) return FailAll(line);
  if (std::exchange(line->wanted, false)) Restart(line);
}

// Of an actor that is out of scope.
void ActorSubmitter::Restart(ActorLine* line) {
  line->last.state = ActorState::kRestarting;
  line->last.restartable = false;
  sender_->SendToHead(ActorRestart{line->actor});
  line->watching = false;
  Watch(line);
}

// Calls that were in flight when the actor's process died: again if they may be retried, in order, before those that
// wait.
void ActorSubmitter::ResendOrFail(ActorLine* line) {
  const std::deque<TaskRecord*> lost = std::exchange(line->sent, {});
  for (auto it = lost.rbegin(); it != lost.rend(); ++it) {
    TaskRecord* record = *it;
    if (record->cancelled) {
      tasks_->FinishWithError(record, SystemError("TaskCancelledError", ""));
    } else if (record->retries_left == 0) {
      FailUnavailable(record, line->last.cause);
    } else {
      TaskTable::TakeRetry(record);
      line->waiting.push_front(record);
    }
  }
}

// Calls without retries do not wait for an actor that restarts.
void ActorSubmitter::FailUnretried(ActorLine* line) {
  const auto first = std::stable_partition(line->waiting.begin(), line->waiting.end(), [](const TaskRecord* record) {
    return !record->IsResolved() || record->options->max_retries != 0;
  });
  const std::vector<TaskRecord*> failed(first, line->waiting.end());
  line->waiting.erase(first, line->waiting.end());
  for (TaskRecord* record : failed) FailUnavailable(record, "The actor is restarting.");
}

void ActorSubmitter::FailUnavailable(TaskRecord* record, const std::string& cause) {
  tasks_->FinishWithError(record, SystemError("ActorUnavailableError", cause, record->actor->actor.Binary()));
}

void ActorSubmitter::FailAll(ActorLine* line) {
  const WireValue error = DeathError(*line);
  for (std::deque<TaskRecord*>* calls : {&line->sent, &line->waiting}) {
    while (!calls->empty()) {  // the end of one may be the end of others that wait for it
      TaskRecord* record = calls->front();
      calls->pop_front();
      tasks_->FinishWithError(record, error);
    }
  }
  DropConstructor(line);
}

void ActorSubmitter::DropConstructor(ActorLine* line) {
  const std::optional<Constructor> constructor = std::exchange(line->constructor, std::nullopt);
  if (!constructor) return;
  for (ObjectEntry* entry : constructor->holds) ownership_->Drop(entry);
}

WireValue ActorSubmitter::DeathError(const ActorLine& line) const {
  std::string detail(line.actor.Binary());
  return SystemError("ActorDiedError", line.last.cause, detail + line.last.init_error);
}

void ActorSubmitter::OnProcessGone(ProcessId process) {
  for (auto& [id, line] : lines_) {
    if (line->channel != nullptr && line->channel->peer() == process) line->channel = nullptr;
  }
}

void ActorSubmitter::OnHandleFreed(const ObjectId& object) {
  const auto it = by_handle_.find(object);
  if (it == by_handle_.end()) return;
  ActorLine* line = it->second;
  by_handle_.erase(it);
  line->handle = nullptr;
  if (line->last.state == ActorState::kDead) DropConstructor(line);
  sender_->SendToHead(ActorOutOfScope{line->actor, false});
}

void ActorSubmitter::OnHandleFaded(const ObjectId& object) {
  const auto it = by_handle_.find(object);
  if (it == by_handle_.end()) return;
  ActorLine* line = it->second;
  line->channel = nullptr;
  line->wanted = false;
  line->leaves = line->last.state != ActorState::kDead;
  sender_->SendToHead(ActorOutOfScope{line->actor, true});
}

bool ActorSubmitter::Recall(ObjectEntry* handle) {
  const auto it = by_handle_.find(handle->id);
  if (it == by_handle_.end()) return false;
  ownership_->SetLocalValue(handle, WireValue{}, {});
  ActorLine* line = it->second;
  line->wanted = line->leaves;
  if (line->last.state == ActorState::kDead && line->last.restartable) Restart(line);
  return true;
}

bool ActorSubmitter::IsCreating() const {
  return std::any_of(by_handle_.begin(), by_handle_.end(),
                     [](const auto& created) { return created.second->last.state == ActorState::kPending; });
}

void ActorSubmitter::Cancel(TaskRecord* record, bool force, bool recursive) {
  record->cancelled = true;
  ActorLine* line = record->actor;
  if (Remove(record, &line->waiting)) {
    tasks_->FinishWithError(record, SystemError("TaskCancelledError", ""));
    SendReady(line);  // it may have held back those behind it
  } else if (line->channel != nullptr) {
    line->channel->Send(MessageType::kCancelTask, Encode(CancelTask{record->id, force, recursive}), true);
  }
}

}  // namespace ray_engine
