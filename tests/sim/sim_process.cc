// The runtime's part of a simulated process: frames in, tasks started, replies sent.

#include "tests/sim/sim_process.h"

#include <unistd.h>

#include <algorithm>

namespace ray_engine::sim {

namespace {

constexpr Nanoseconds kGrace = std::chrono::seconds(5);  // of an actor that has been told to leave

std::shared_ptr<StoreClient> Mapped() {
  static const auto client =
      std::make_shared<StoreClient>(*StoreClient::Map(dup(SharedStore().fd()), SharedStore().size()));
  return client;
}

}  // namespace

SimProcess::SimProcess(SimWorld* world, ProcessId id, const JobId& job)
    : world_(world),
      id_(id),
      sender_(id, &world->network()),
      ownership_(&sender_, this),
      pins_(&lock_, &sender_, &ownership_, Mapped()),
      tasks_(&ownership_),
      submitter_(&sender_, &tasks_),
      actors_(&sender_, &ownership_, &tasks_),
      executor_(&sender_),
      gives_back_at_once_(world->random().Chance(50)) {
  SetUp(job);
  sender_.SendToEngine(Ready{1});
  if (!world->IsEnding()) ReserveRooms();
}

void SimProcess::SetUp(const JobId& job) {
  const auto add = [](auto* list, CallOptions options) {
    list->push_back(std::make_unique<CallOptions>(std::move(options)));
  };
  placement_.job = job;
  placement_.resources.Set("CPU", ResourceSet::kUnit);
  functions_.clear();
  methods_.clear();
  for (int i = 0; i < 6; ++i) {
    CallOptions options;
    options.name = i % 2 == 0 && i < 4 ? "short" : "long";
    options.num_returns = i == 0 ? 2 : 1;
    options.retry_exceptions = i == 2;
    options.lease_class = placement_;
    if (i == 3) options.lease_class.resources.Set("CPU", ResourceSet::kUnit / 2);
    if (i >= 4) options.yields = Yields::kStreaming;
    if (i == 5) options.stream_limit = 2;
    add(&functions_, options);
  }
  for (int i = 0; i < 3; ++i) {
    CallOptions options;
    options.kind = TaskKind::kActorMethod;
    options.max_retries = i == 0 ? 0 : 2;
    // Without a limit: what is behind a call that is held up may be waited for.
    if (i == 2) options.yields = Yields::kStreaming;
    add(&methods_, options);
  }
  constructor_.kind = TaskKind::kActorCreation;
  constructor_.num_returns = 0;
}

void SimProcess::BeDriver() {
  JobStart start;
  start.token = 1;
  sender_.SendToHead(start);
}

void SimProcess::OnJobStarted(const JobStarted& started) {
  SetUp(started.job);
  programs_.push_back(std::make_unique<Program>());
  programs_.back()->steps = world_->options().steps;
}

// ---- frames --------------------------------------------------------------------------------------------------------

void SimProcess::OnFrame(ProcessId hop, const Frame& frame) {
  if (hop != id_.Engine() && !sender_.HasLinkTo(hop)) return early_[hop].push_back(frame);
  Dispatch(frame);
  StartTasks();
  const auto blocked = [](const auto& program) { return program->told_blocked; };
  if (gives_back_at_once_ && std::any_of(programs_.begin(), programs_.end(), blocked)) executor_.GiveBack();
  LeaveIfDone();
}

// The link is mapped now, with what lies in it.
void SimProcess::OnLinkGrant(const LinkGrant& grant) {
  sender_.On(grant);
  const auto early = early_.extract(grant.peer);
  if (early.empty()) return;
  for (const Frame& frame : early.mapped()) Dispatch(frame);
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
    case MessageType::kLinkGrant:
      return with(LinkGrant{}, [&](const auto& m) { OnLinkGrant(m); });
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
    case MessageType::kCopyAdded:
      return with(CopyAdded{}, [&](const auto& m) { ownership_.On(m); });
    case MessageType::kLeaseGrant:
      return with(LeaseGrant{}, [&](const auto& m) {
        last_lease_ = m.lease;
        submitter_.On(m, now);
      });
    case MessageType::kLeaseReclaim:
      return with(LeaseReclaim{}, [&](const auto& m) { submitter_.On(m); });
    case MessageType::kLeasesLost:
      return with(LeasesLost{}, [&](const auto& m) { submitter_.On(m); });
    case MessageType::kLeaseFailed:
      return with(LeaseFailed{}, [&](const auto& m) { submitter_.On(m); });
    case MessageType::kActorUpdate:
      return with(ActorUpdate{}, [&](const auto& m) {
        DrainFrom(actors_.Line(m.actor)->last.process);
        actors_.On(m);
      });
    case MessageType::kActorArgsLost:
      return with(ActorArgsLost{}, [&](const auto& m) { actors_.On(m); });
    case MessageType::kStartActor:
      return with(StartActor{}, [&](const auto& m) {
        actor_ = m.spec.actor;
        world_->NoteLife(m, id_);
        concurrency_ = m.spec.max_concurrency;
        executor_.On(m);
      });
    case MessageType::kActorKill:
      leaves_by_ = now + kGrace;
      return;
    case MessageType::kStorePinned:
      return with(StorePinned{}, [&](const auto& m) { pins_.On(m); });
    case MessageType::kStoreReserved:
      return with(StoreReserved{}, [&](const auto& m) { TakeRoom(m); });
    case MessageType::kStoreReclaim:
      return with(StoreReclaim{}, [&](const auto& m) { sender_.SendToEngine(StoreReclaimed{m.round}); });
    case MessageType::kJobStarted:
      return with(JobStarted{}, [&](const auto& m) { OnJobStarted(m); });
    case MessageType::kDriverLine:
      return;  // for people
    case MessageType::kShutdown:
      return with(Shutdown{}, [&](const auto& m) { OnShutdown(m); });
    default:
      world_->Problem("a process got a frame of type " + std::to_string(static_cast<int>(frame.type)));
  }
}

// As Runtime::OnShutdown(): a worker that is idle is asked to end, and stays if it is needed.
void SimProcess::OnShutdown(const Shutdown&) {
  const bool needed =
      !executor_.IsEmpty() || !executor_.running().empty() || tasks_.size() > 0 || ownership_.Stats().entries > 0;
  needed ? sender_.SendToEngine(Ready{1}) : world_->End(id_, 0);
}

void SimProcess::LeaveIfDone() {
  if (leaves_by_ && programs_.empty()) world_->End(id_, 0);
}

// News about a process comes by way of the engine and may overtake what the process itself has said.
void SimProcess::DrainFrom(ProcessId process) {
  if (!sender_.HasLinkTo(process)) return;
  for (const auto& item : world_->network().TakeAll({process, id_, Queue::kFrames})) Dispatch(item.frame);
}

// As Runtime::EndTask().
void SimProcess::OnTaskDone(const Frame& frame) {
  DoneHeader done;
  std::vector<WireValue> values;
  TaskRecord* record = tasks_.ReadDone(frame.payload, &done, &values);
  for (const WireValue& value : values) world_->NoteGrants(value, id_, -1);
  if (record == nullptr) return;
  if (record->actor != nullptr) {
    actors_.OnDone(record, done, std::move(values));
  } else if (record->worker != nullptr && record->worker->channel->peer() == frame.from) {
    submitter_.OnDone(record, done, std::move(values), world_->now());
  }
}

void SimProcess::OnGone(const ProcessGone& gone) {
  DrainFrom(gone.process);
  sender_.OnGone(gone.process);
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
  if (actors_.Recall(entry)) return std::nullopt;
  return tasks_.OnObjectLost(entry, reason, [this](TaskRecord* record) {
    record->options->kind == TaskKind::kActorMethod ? actors_.Submit(record, record->rare->lineage->actor)
                                                    : submitter_.Submit(record);
  });
}

void SimProcess::Tick() {
  submitter_.Tick(world_->now());
  executor_.GiveBackIfOverrun(world_->now());
  ownership_.Flush();
  GiveUpSome();
}

bool SimProcess::NeedsTick() const {
  return submitter_.NeedsTick() || executor_.NeedsTick() || ownership_.NeedsFlush() || leaves_by_.has_value();
}

std::string SimProcess::Pending() const {
  std::string text;
  for (const auto& program : programs_) {
    text += program->task == nullptr ? "a driver" : "a task";
    text += program->waits_for == nullptr ? " runs; " : " waits for object " + program->waits_for->id.Hex() + "; ";
    if (program->request != nullptr) text += "which it wants pinned; ";
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
  while (executor_.HasWork() && programs_.size() < concurrency_ && !leaves_by_) {
    auto program = std::make_unique<Program>();
    program->task = executor_.Start(world_->now());
    program->steps = 1 + world_->random().Below(8);
    Receive(program.get());
    AskForArgs(program.get());
    programs_.push_back(std::move(program));
  }
}

void SimProcess::Receive(Program* program) {
  if (!ParseTask(program->task->payload, &program->view)) return world_->Problem("a task arrived malformed");
  Mask needs = world_->BitOf(program->task->owner);
  if (program->task->header.num_returns > 0) {
    const Truth& truth = world_->TruthOf(ReturnObjectId(program->task->header.task, 1));
    program->order = truth.order;
    needs |= truth.needs;
  }
  if (program->task->header.kind == TaskKind::kActorCreation) needs.set();  // those of its creator are not noted
  program->received = ownership_.ReceiveArgs(program->view);
  for (ObjectEntry* entry : program->received) {
    needs |= world_->TruthOf(entry->id).contained_needs | world_->BitOf(entry->owner);
  }
  for (ObjectEntry* entry : program->received) {
    ownership_.Hold(entry);
    Keep(program, entry, needs);
  }
}

// As Execution::StoredArgs(): all at once.
void SimProcess::AskForArgs(Program* program) {
  auto entry = program->received.begin();
  for (const ArgView& arg : program->view.args) {
    if (arg.kind == ArgHeader::kStored && !(*entry)->is_error) program->args.push_back(*entry);
    entry += static_cast<std::ptrdiff_t>(arg.refs.size());
  }
  if (!program->args.empty()) AskFor(program, program->args);
}

void SimProcess::OnArgsAnswered(Program* program) {
  if (!TakePins(program)) return program->args.clear();
  auto& args = program->args;
  args.erase(std::remove_if(args.begin(), args.end(), [](const ObjectEntry* entry) { return entry->ready; }),
             args.end());
  const auto is_owners = [program](const ObjectEntry* entry) { return entry->owner == program->task->owner; };
  const bool all_owners = std::all_of(args.begin(), args.end(), is_owners);
  const TaskKind kind = program->task->header.kind;
  if (kind != TaskKind::kActorCreation && !args.empty() && all_owners) return GiveBack(program);
  // What is another process's a real method waits for where it is, though its actor may be the one to make it again:
  // a known hole (docs/design.md, "The next steps").
  if (kind == TaskKind::kActorMethod) args.clear();
}

// As a worker that cannot have the arguments pinned.
void SimProcess::GiveBack(Program* program) {
  ExecTask* task = program->task;
  while (!program->refs.empty()) DropOne(program);
  program->pins.clear();
  ownership_.CloseScope(program->received);
  DoneHeader done;
  done.slot = task->header.slot;
  done.attempt = task->header.attempt;
  done.outcome = DoneHeader::kArgsLost;
  ownership_.SendGuarded(task->owner, MessageType::kTaskDone, DonePayload(done, {}), false);
  executor_.Finished(task);
  Remove(program);
}

bool SimProcess::IsAble(const Program& program) const {
  if (program.request != nullptr) return pins_.AllAnswered(program.request.get());
  return (program.waits_for == nullptr || program.waits_for->ready) && !program.IsHeldUp();
}

bool SimProcess::CanRun() const {
  return std::any_of(programs_.begin(), programs_.end(), [this](const auto& program) { return IsAble(*program); });
}

void SimProcess::RunOne() {
  std::vector<Program*> able;
  for (const auto& program : programs_) {
    if (IsAble(*program)) able.push_back(program.get());
  }
  Program* program = able[world_->random().Below(able.size())];
  const bool cancelled = program->task != nullptr && program->task->cancelled && program->IsNormal();
  if (std::exchange(program->told_blocked, false)) sender_.SendToHead(Unblocked{executor_.LeaseOf(*program->task)});
  if (program->waits_for != nullptr) {
    Resume(program);
  } else if (program->request != nullptr) {
    OnArgsAnswered(program);
  } else if (!program->args.empty()) {
    ObjectEntry* arg = program->args.back();
    program->args.pop_back();
    const auto ref = std::find_if(program->refs.begin(), program->refs.end(),
                                  [arg](const SimRef& candidate) { return candidate.entry == arg; });
    WaitFor(program, arg, ref == program->refs.end() ? Mask().set() : ref->needs);
  } else if (program->steps == 0 || cancelled || !world_->WantsMore()) {
    Finish(program);
  } else {
    --program->steps;
    Do(program);
  }
  StartTasks();
  LeaveIfDone();
}

void SimProcess::TellBlocked() {
  for (const auto& program : programs_) {
    if (program->task == nullptr || IsAble(*program)) continue;
    if (std::exchange(program->told_blocked, true)) continue;
    executor_.GiveBack();
    sender_.SendToHead(Blocked{executor_.LeaseOf(*program->task)});
  }
}

// ---- reading -------------------------------------------------------------------------------------------------------

void SimProcess::AskFor(Program* program, std::vector<ObjectEntry*> entries) {
  for (const ObjectEntry* entry : entries) {
    const bool vanishes = world_->options().losses && world_->WantsMore() && world_->random().Chance(20);
    if (const auto place = Ownership::StorePlaceOf(*entry); place && vanishes) world_->Vanish(place->node, entry->id);
  }
  program->request = std::make_unique<PinRequest>(std::move(entries));
  pins_.Ask(program->request.get());
}

// True if some were lost.
bool SimProcess::TakePins(Program* program) {
  const std::unique_ptr<PinRequest> request = std::move(program->request);
  pins_.Take(request.get());
  for (std::size_t i = 0; request->lost && i < request->entries.size(); ++i) {
    if (request->pins[i] == nullptr) world_->NoteLoss(request->entries[i]->id);
  }
  for (auto& pin : request->pins) {
    if (pin != nullptr) program->pins.push_back(std::move(pin));
  }
  if (!request->error.empty() && request->problem != StoreProblem::kLost) world_->Problem("no pin: " + request->error);
  return request->lost;
}

// Takes over nothing: it holds the object itself.
void SimProcess::WaitFor(Program* program, ObjectEntry* entry, Mask needs) {
  program->waits_for = entry;
  program->wait_needs = needs;
  ownership_.Hold(entry);
  if (entry->ready) return;
  if (Ownership::StorePlaceOf(*entry)) return AskFor(program, {entry});
  ownership_.RequestValue(entry);
}

// What it waits for is there, or has been pinned, or cannot be.
void SimProcess::Resume(Program* program) {
  ObjectEntry* entry = program->waits_for;
  if (std::exchange(program->waits_for_item, false)) {
    program->waits_for = nullptr;
    return ownership_.Drop(entry);
  }
  const bool asked = program->request != nullptr, was_ready = entry->ready;
  const bool lost = asked && TakePins(program);
  if (!entry->ready) return ownership_.RequestValue(entry);
  const bool is_stored = entry->kind == WireValue::kStored && !entry->is_error;
  if (is_stored && (lost || !asked)) return AskFor(program, {entry});
  if (asked && !was_ready && !lost) world_->CountProvenHint();
  program->waits_for = nullptr;
  CheckValue(*entry, program->wait_needs);
  const Mask needs = program->wait_needs | world_->BitOf(entry->owner) | world_->TruthOf(entry->id).contained_needs;
  for (ObjectEntry* child : entry->contained) {
    ownership_.Hold(child);
    Keep(program, child, needs);
  }
  ownership_.Drop(entry);
}

// A wait may end before its answer has come.
void SimProcess::GiveUpSome() {
  for (const auto& program : programs_) {
    if (program->waits_for == nullptr || program->request == nullptr || !program->args.empty()) continue;
    if (!world_->options().cancels || !world_->random().Chance(3)) continue;
    pins_.Abandon(program->request.get());
    program->request.reset();
    ownership_.Drop(std::exchange(program->waits_for, nullptr));
  }
}

// ---- results -------------------------------------------------------------------------------------------------------

void SimProcess::Remove(Program* program) {
  programs_.erase(
      std::find_if(programs_.begin(), programs_.end(), [program](const auto& p) { return p.get() == program; }));
}

void SimProcess::Finish(Program* program) {
  Close(program);
  program->pins.clear();
  if (program->task != nullptr) {
    Reply(program);
  } else {
    while (!program->refs.empty()) DropOne(program);
  }
  Remove(program);
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
  for (const Room& room : std::exchange(rooms_, {})) sender_.SendToEngine(StoreReturn{room.offset, room.size}, false);
}

}  // namespace ray_engine::sim
