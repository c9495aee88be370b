// The runtime's part of a simulated process: frames in, tasks started, replies sent.

#include "tests/core/sim_process.h"

#include <algorithm>

namespace ray_engine::sim {

SimProcess::SimProcess(SimWorld* world, ProcessId id, bool driver)
    : world_(world),
      id_(id),
      driver_(driver),
      sender_(id, &world->network()),
      ownership_(&sender_, this),
      tasks_(&ownership_),
      submitter_(&sender_, &tasks_),
      actors_(&sender_, &ownership_, &tasks_),
      executor_(&sender_),
      gives_back_at_once_(world->random().Chance(50)) {
  for (int i = 0; i < 4; ++i) {
    auto options = std::make_unique<CallOptions>();
    options->name = i % 2 == 0 ? "short" : "long";
    options->num_returns = i == 0 ? 2 : 1;
    options->retry_exceptions = i == 2;
    if (i == 3) options->lease_class.resources.Set("CPU", ResourceSet::kUnit);
    functions_.push_back(std::move(options));
  }
  for (int i = 0; i < 3; ++i) {
    auto options = std::make_unique<CallOptions>();
    options->kind = TaskKind::kActorMethod;
    options->max_retries = i == 0 ? 0 : 2;
    methods_.push_back(std::move(options));
  }
  for (std::uint32_t limit : {0u, 2u}) {
    auto options = std::make_unique<CallOptions>();
    options->name = "long";
    options->yields = Yields::kStreaming;
    options->stream_limit = limit;
    functions_.push_back(std::move(options));
  }
  methods_[2]->yields = Yields::kStreaming;  // without a limit: what is behind a call that is held up may be waited for
  constructor_.kind = TaskKind::kActorCreation;
  constructor_.num_returns = 0;
  if (!driver) return;
  programs_.push_back(std::make_unique<Program>());
  programs_.back()->steps = world->options().steps;
}

// ---- frames --------------------------------------------------------------------------------------------------------

void SimProcess::OnFrame(const Frame& frame) {
  Dispatch(frame);
  StartTasks();
  const auto blocked = [](const auto& program) { return program->told_blocked; };
  if (gives_back_at_once_ && std::any_of(programs_.begin(), programs_.end(), blocked)) executor_.GiveBack();
}

void SimProcess::Dispatch(const Frame& frame) {
  const auto with = [&frame](auto message, auto&& handle) {
    if (Decode(frame.payload, &message)) handle(message);
  };
  const Nanoseconds now = world_->now();
  switch (frame.type) {
    case MessageType::kPushTask:
      return executor_.OnPushTask(frame.from, frame.payload);
    case MessageType::kTaskDone:
      return OnTaskDone(frame);
    case MessageType::kProcessGone:
      return with(ProcessGone{}, [&](const auto& m) { OnGone(m); });
    case MessageType::kTasksReturned:
      return with(TasksReturned{}, [&](const auto& m) { submitter_.On(frame.from, m, now); });
    case MessageType::kCancelTask:
      return with(CancelTask{}, [&](const auto& m) { OnCancel(frame.from, m); });
    case MessageType::kStreamItem:
      return with(StreamItem{}, [&](auto& m) {
        world_->NoteGrants(m.value, id_, -1);
        tasks_.On(frame.from, std::move(m));
      });
    case MessageType::kStreamConsumed:
      return with(StreamConsumed{}, [&](const auto& m) { executor_.On(m); });
    case MessageType::kReturnYourQueue:
      return executor_.GiveBack();
    case MessageType::kValueRequest:
      return with(ValueRequest{}, [&](const auto& m) { ownership_.On(frame.from, m); });
    case MessageType::kValueReply:
      return with(ValueReply{}, [&](const auto& m) { ownership_.On(m); });
    case MessageType::kBorrowAdd:
      return with(BorrowAdd{}, [&](const auto& m) { ownership_.On(frame.from, m); });
    case MessageType::kBorrowAck:
      return with(BorrowAck{}, [&](const auto& m) { ownership_.On(m); });
    case MessageType::kBorrowRemove:
      return with(BorrowRemove{}, [&](const auto& m) { ownership_.On(frame.from, m); });
    case MessageType::kLeaseGrant:
      return with(LeaseGrant{}, [&](const auto& m) { submitter_.On(m, now); });
    case MessageType::kLeaseReclaim:
      return with(LeaseReclaim{}, [&](const auto& m) { submitter_.On(m); });
    case MessageType::kActorUpdate:
      return with(ActorUpdate{}, [&](const auto& m) { actors_.On(m); });
    case MessageType::kStartActor:
      return with(StartActor{}, [&](const auto& m) {
        actor_ = m.spec.actor;
        concurrency_ = m.spec.max_concurrency;
        executor_.On(m);
      });
    case MessageType::kShutdown:
      ending_ = true;
      return;
    default:
      world_->Problem("a process got a frame of type " + std::to_string(static_cast<int>(frame.type)));
  }
}

void SimProcess::OnTaskDone(const Frame& frame) {
  DoneHeader done;
  std::vector<WireValue> values;
  TaskRecord* record = tasks_.ReadDone(frame.payload, &done, &values);
  for (const WireValue& value : values) world_->NoteGrants(value, id_, -1);
  if (record == nullptr) return;
  record->actor != nullptr ? actors_.OnDone(record, done, std::move(values))
                           : submitter_.OnDone(record, done, std::move(values), world_->now());
}

// As on a link: what the dead said is heard first.
void SimProcess::OnGone(const ProcessGone& gone) {
  for (const Frame& frame : world_->network().TakeAll(gone.process, id_)) Dispatch(frame);
  sender_.Close(gone.process);
  submitter_.OnProcessGone(gone.process, gone.cause);
  actors_.OnProcessGone(gone.process);
  executor_.OnProcessGone(gone.process);
  ownership_.OnProcessGone(gone.process, gone.cause);
}

void SimProcess::OnCancel(ProcessId, const CancelTask& cancel) {
  if (executor_.Cancel(cancel.task) != nullptr) return;  // its program sees it
  if (TaskRecord* record = tasks_.FindById(cancel.task)) CancelRecord(record);
}

void SimProcess::CancelRecord(TaskRecord* record) {
  record->actor != nullptr ? actors_.Cancel(record, false, false) : submitter_.Cancel(record, false, false);
}

void SimProcess::OnObjectReady(ObjectEntry* entry) {
  if (entry->owner == id_) ++world_->TruthOf(entry->id).times_ready;
}

std::optional<WireValue> SimProcess::OnObjectLost(ObjectEntry* entry, const std::string& reason) {
  return tasks_.OnObjectLost(entry, reason, [this](TaskRecord* record) {
    record->options->kind == TaskKind::kActorMethod ? actors_.Submit(record, record->rare->lineage->actor)
                                                    : submitter_.Submit(record);
  });
}

void SimProcess::Tick() {
  submitter_.Tick(world_->now());
  executor_.GiveBackIfOverrun(world_->now());
  ownership_.Flush();
}

bool SimProcess::IsIdle() const {
  return !executor_.HasWork() && executor_.running().empty() && tasks_.size() == 0 && ownership_.Stats().entries == 0;
}

std::string SimProcess::Pending() const {
  std::string text;
  for (const auto& program : programs_) {
    text += program->task == nullptr ? "a driver" : "a task";
    text += program->waits_for == nullptr ? " runs; " : " waits for object " + program->waits_for->id.Hex() + "; ";
  }
  const auto note = [&text](const char* what, std::size_t count) {
    if (count > 0) text += std::to_string(count) + " " + what + "; ";
  };
  const Ownership::Counts objects = ownership_.Stats();
  const TaskSubmitter::Counts leases = submitter_.Stats();
  note("tasks given to it and not started", executor_.HasWork());
  note("tasks submitted", tasks_.size());
  note("leases", leases.leases);
  note("tasks without a lease", leases.queued);
  note("messages guarded", objects.guarded);
  note("registrations unacknowledged", objects.unacknowledged);
  return text.empty() ? text : ToString(id_) + ": " + text + "\n";
}

// ---- tasks ---------------------------------------------------------------------------------------------------------

void SimProcess::StartTasks() {
  while (executor_.HasWork() && programs_.size() < concurrency_) {
    auto program = std::make_unique<Program>();
    program->task = executor_.Start(world_->now());
    program->steps = 1 + world_->random().Below(8);
    Receive(program.get());
    if (GiveBackIfArgsAreLost(program.get())) continue;
    programs_.push_back(std::move(program));
  }
  if (ending_ && programs_.empty()) world_->Kill(id_, "it was asked to end");
}

void SimProcess::Receive(Program* program) {
  if (!ParseTask(program->task->payload, &program->view)) return world_->Problem("a task arrived malformed");
  Mask needs = world_->BitOf(program->task->owner);
  if (program->task->header.num_returns > 0) {
    const Truth& truth = world_->TruthOf(ReturnObjectId(program->task->header.task, 1));
    program->order = truth.order;
    needs |= truth.needs;
  }
  program->received = ownership_.ReceiveArgs(program->view);
  for (ObjectEntry* entry : program->received) {
    needs |= world_->TruthOf(entry->id).contained_needs | world_->BitOf(entry->owner);
  }
  for (ObjectEntry* entry : program->received) {
    ownership_.Hold(entry);
    Keep(program, entry, needs);
  }
}

// As a worker that cannot have the arguments pinned.
bool SimProcess::GiveBackIfArgsAreLost(Program* program) {
  ExecTask* task = program->task;
  if (task->header.kind == TaskKind::kActorCreation) return false;
  bool lost = false;
  auto entry = program->received.begin();
  for (const ArgView& arg : program->view.args) {
    const bool stored = arg.kind == ArgHeader::kStored && (*entry)->owner == task->owner;
    if (stored && (*entry)->ready) FindLost(*entry);
    lost |= stored && !(*entry)->ready;
    entry += static_cast<std::ptrdiff_t>(arg.refs.size());
  }
  if (!lost) return false;
  while (!program->refs.empty()) DropOne(program);
  ownership_.CloseScope(program->received);
  DoneHeader done;
  done.slot = task->header.slot;
  done.attempt = task->header.attempt;
  done.outcome = DoneHeader::kArgsLost;
  ownership_.SendGuarded(task->owner, MessageType::kTaskDone, DonePayload(done, {}), false);
  executor_.Finished(task);
  return true;
}

bool SimProcess::CanRun() const {
  return std::any_of(programs_.begin(), programs_.end(), [](const auto& program) { return program->IsAble(); });
}

void SimProcess::RunOne() {
  std::vector<Program*> able;
  for (const auto& program : programs_) {
    if (program->IsAble()) able.push_back(program.get());
  }
  Program* program = able[world_->random().Below(able.size())];
  const bool cancelled = program->task != nullptr && program->task->cancelled && program->IsNormal();
  if (std::exchange(program->told_blocked, false)) sender_.SendToHead(Unblocked{executor_.LeaseOf(*program->task)});
  if (program->waits_for != nullptr) {
    Resume(program);
  } else if (program->steps == 0 || cancelled || !world_->WantsMore()) {
    Finish(program);
  } else {
    --program->steps;
    Do(program);
  }
  StartTasks();
}

void SimProcess::TellBlocked() {
  for (const auto& program : programs_) {
    if (program->task == nullptr || program->IsAble()) continue;
    if (std::exchange(program->told_blocked, true)) continue;
    executor_.GiveBack();
    sender_.SendToHead(Blocked{executor_.LeaseOf(*program->task)});
  }
}

// A reader finds that a stored value is not where it should be. True if it is to wait for it once more.
bool SimProcess::FindLost(ObjectEntry* entry) {
  if (!world_->options().losses || entry->kind != WireValue::kStored || entry->is_error) return false;
  if (world_->WantsMore() && world_->random().Chance(30)) world_->head().Lose(entry->node, entry->id);
  if (world_->head().Stored(entry->node, entry->id)) return false;
  world_->NoteLoss();
  ownership_.Lose(entry, entry->node, "it has vanished");
  return !entry->ready;
}

void SimProcess::Resume(Program* program) {
  ObjectEntry* entry = program->waits_for;
  if (std::exchange(program->waits_for_item, false)) {
    program->waits_for = nullptr;
    return ownership_.Drop(entry);
  }
  if (FindLost(entry)) return;
  program->waits_for = nullptr;
  CheckValue(*entry, program->wait_needs);
  const Mask needs = program->wait_needs | world_->BitOf(entry->owner) | world_->TruthOf(entry->id).contained_needs;
  for (ObjectEntry* child : entry->contained) {
    ownership_.Hold(child);
    Keep(program, child, needs);
  }
  ownership_.Drop(entry);
}

void SimProcess::Finish(Program* program) {
  Close(program);
  if (program->task != nullptr) {
    Reply(program);
  } else {
    while (!program->refs.empty()) DropOne(program);
  }
  programs_.erase(
      std::find_if(programs_.begin(), programs_.end(), [program](const auto& p) { return p.get() == program; }));
}

DoneHeader SimProcess::DoneOf(const Program& program) {
  DoneHeader done;
  done.slot = program.task->header.slot;
  done.attempt = program.task->header.attempt;
  done.ran = {0, program.view.name == "long" ? 5'000'000 : 5'000};
  const bool fails = world_->options().failures && world_->random().Chance(15);
  if (fails) done.outcome = DoneHeader::kUserError;
  if (program.task->cancelled && program.IsNormal()) done.outcome = DoneHeader::kCancelled;
  world_->NoteAttempt(program.task->header.task, done.outcome == DoneHeader::kUserError);
  return done;
}

WireValue SimProcess::MakeResult(DoneHeader::Outcome outcome, const ObjectId& object, Program* program,
                                 std::vector<ObjectEntry*>* contained) {
  if (outcome == DoneHeader::kOk && program->Yields()) {
    world_->TruthOf(object).contained.insert(std::vector<ObjectId>());
    return InlineValue("");
  }
  if (outcome == DoneHeader::kOk) return MakeValue(object, program->task->owner, program, contained);
  if (outcome == DoneHeader::kCancelled) return SystemError("TaskCancelledError", "");
  WireValue error = InlineValue("E");
  error.is_error = true;
  return error;
}

// Runtime::FinishTask and FinishCreation. The program lets go of its references before or after the reply is made.
void SimProcess::Reply(Program* program) {
  ExecTask* task = program->task;
  const ProcessId owner = task->owner;
  const bool late = world_->random().Chance(30);
  std::vector<std::vector<ObjectEntry*>> inside(task->header.num_returns);
  const DoneHeader done = DoneOf(*program);
  std::vector<WireValue> values;
  for (std::uint32_t i = 0; i < task->header.num_returns; ++i) {
    values.push_back(MakeResult(done.outcome, ReturnObjectId(task->header.task, i + 1), program, &inside[i]));
  }
  if (!late) {
    while (!program->refs.empty()) DropOne(program);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    ownership_.GrantContained(inside[i], owner, &values[i]);
    world_->NoteGrants(values[i], owner, 1);
  }
  ownership_.CloseScope(program->received);
  if (task->header.kind == TaskKind::kActorCreation) {
    const ActorReady ready{task->actor->spec.actor, task->actor->incarnation, ""};
    ownership_.SendGuarded(kHead, MessageType::kActorReady, Encode(ready), true);
  } else {
    ownership_.SendGuarded(owner, MessageType::kTaskDone, DonePayload(done, values), false);
  }
  for (const auto& entries : inside) {
    for (ObjectEntry* entry : entries) ownership_.Drop(entry);
  }
  while (!program->refs.empty()) DropOne(program);
  executor_.Finished(task);
}

void SimProcess::ForgetState() {
  for (const SimRef& ref : std::exchange(state_, {})) ownership_.Drop(ref.entry);
}

}  // namespace ray_engine::sim
