// What programs of the simulation do, and what they check.

#include <algorithm>
#include <utility>

#include "tests/sim/sim_process.h"

namespace ray_engine::sim {
namespace {

constexpr std::size_t kMaxRefs = 8;
constexpr std::size_t kMaxState = 4;
constexpr std::size_t kMaxActors = 4;
constexpr std::uint64_t kSmall = 200'000;
constexpr std::uint64_t kLarge = 9 << 20;  // of more than two chunks, so that it may come by a chain of nodes

// The same each time the object is made.
std::uint64_t SizeOf(const ObjectId& object) {
  return static_cast<unsigned char>(object.Binary()[0]) % 8 == 0 ? kLarge : kSmall;
}

std::string BytesOf(const ObjectId& object) { return "v" + object.Hex(); }

// What went wrong, also of what failed for that.
std::string KindOf(const ObjectEntry& error) {
  const SystemErrorParts parts = PartsOf(error.bytes, error.id);
  return std::string(parts.kind == "RayTaskError" ? PartsOf(parts.detail, error.id).kind : parts.kind);
}

}  // namespace

// ---- references ----------------------------------------------------------------------------------------------------

// Takes over one hold.
void SimProcess::Keep(Program* program, ObjectEntry* entry, Mask needs) {
  program->refs.push_back({entry, needs});
  while (program->refs.size() > kMaxRefs) DropOne(program);
}

void SimProcess::DropOne(Program* program) {
  const std::size_t at = world_->random().Below(program->refs.size());
  ObjectEntry* entry = program->refs[at].entry;
  program->refs.erase(program->refs.begin() + static_cast<std::ptrdiff_t>(at));
  ownership_.Drop(entry);
}

const SimRef* SimProcess::Pick(const std::vector<SimRef>& refs) {
  return refs.empty() ? nullptr : &refs[world_->random().Below(refs.size())];
}

bool SimProcess::MayWaitFor(const Program& program, const ObjectEntry& entry) const {
  const Truth& truth = world_->TruthOf(entry.id);
  if (program.task != nullptr && !program.IsNormal()) return truth.is_put;
  return truth.order < program.order;
}

// ---- what a program may do -----------------------------------------------------------------------------------------

void SimProcess::Do(Program* program) {
  if (program->Yields() && world_->random().Chance(40)) return Yield(program);
  if (!program->streams.empty() && world_->random().Chance(40)) return Read(program);
  const std::size_t dice = world_->random().Below(100);
  if (dice < 15) return Put(program);
  if (dice < 38) return SubmitTask(program);
  if (dice < 62) return Get(program);
  if (dice < 72) return program->refs.empty() ? void() : DropOne(program);
  if (dice < 79) return Swap(program);
  if (dice < 82) return CancelSome(program);
  if (dice < 85) return CreateActor(program);
  if (dice < 87 && world_->options().kills) return KillActor(program);
  CallActor(program);
}

void SimProcess::Put(Program* program) {
  const ObjectId object = NumberedId<ObjectId>(world_->NextNumber());
  std::vector<ObjectEntry*> contained;
  Truth& truth = world_->TruthOf(object);
  truth.order = world_->NextOrder();
  truth.owner = id_;
  truth.is_put = true;
  WireValue value = MakeValue(object, id_, program, &contained);
  ObjectEntry* entry = ownership_.NewOwned(object);
  ownership_.SetLocalValue(entry, std::move(value), std::move(contained));
  Keep(program, entry, Mask());
}

// A value that names its object and contains some of the program's references, held in `contained`.
WireValue SimProcess::MakeValue(const ObjectId& object, ProcessId owner, Program* program,
                                std::vector<ObjectEntry*>* contained) {
  WireValue value = InlineValue(BytesOf(object));
  Truth& truth = world_->TruthOf(object);
  std::vector<ObjectId> ids;
  for (std::size_t i = world_->random().Below(3); i-- > 0;) {
    const SimRef* ref = Pick(program->refs);
    if (ref == nullptr || world_->Reaches(ref->entry->id, object)) break;
    ownership_.Hold(ref->entry);
    contained->push_back(ref->entry);
    ids.push_back(ref->entry->id);
    truth.contained_needs |= ref->needs;
  }
  truth.contained.insert(ids);
  const auto fits = [&object](const Room& room) { return room.size == SizeOf(object); };
  const auto place = std::find_if(rooms_.begin(), rooms_.end(), fits);
  if (place != rooms_.end() && world_->random().Chance(30)) {
    const Room room = *place;
    rooms_.erase(place);
    sender_.SendToEngine(StoreSeal{object, owner, room.offset, room.size, false});
    value.kind = WireValue::kStored;
    value.bytes.clear();
    value.node = id_.node;
    value.size = room.size;
    if (!world_->IsEnding()) ReserveRoom(room.size);
  }
  return value;
}

// Room for an object is reserved ahead, as nothing of a program waits for it.
void SimProcess::ReserveRooms() {
  for (const std::uint64_t size : {kSmall, kSmall, kLarge}) ReserveRoom(size);
}

void SimProcess::ReserveRoom(std::uint64_t size) {
  asked_rooms_[++last_token_] = size;
  sender_.SendToEngine(StoreReserve{last_token_, size, StoreUse::kArray});
}

void SimProcess::TakeRoom(const StoreReserved& reserved) {
  const std::uint64_t size = asked_rooms_.at(reserved.token);
  asked_rooms_.erase(reserved.token);
  if (reserved.problem != StoreProblem::kNone) return;
  rooms_.push_back({reserved.offset, size});
  if (world_->IsEnding()) ForgetState();
}

void SimProcess::Get(Program* program) {
  if (world_->random().Chance(50)) program->pins.clear();
  const SimRef* ref = Pick(program->refs);
  if (ref == nullptr || !MayWaitFor(*program, *ref->entry)) return;
  WaitFor(program, ref->entry, ref->needs);
}

// Some references at top level and some inside values. Returns on whose life they depend.
Mask SimProcess::AddArgs(Program* program, TaskBuilder* builder, bool for_constructor,
                         std::vector<ObjectId>* mentioned) {
  Mask needs = world_->BitOf(id_);
  for (std::size_t i = world_->random().Below(4); i-- > 0;) {
    const SimRef* ref = Pick(program->refs);
    if (ref == nullptr) break;
    const Truth& truth = world_->TruthOf(ref->entry->id);
    mentioned->push_back(ref->entry->id);
    needs |= ref->needs | world_->BitOf(ref->entry->owner) | truth.needs | truth.contained_needs;
    const bool may_be_resolved = !for_constructor || truth.is_put;
    may_be_resolved && world_->random().Chance(50) ? builder->Ref(ref->entry) : builder->Value("x", {ref->entry});
  }
  return needs;
}

void SimProcess::NoteReturns(Program* program, const std::vector<ObjectEntry*>& returns, Mask needs) {
  for (ObjectEntry* entry : returns) {
    Truth& truth = world_->TruthOf(entry->id);
    truth.order = world_->NextOrder();
    truth.owner = id_;
    truth.needs = needs;
    Keep(program, entry, Mask());
  }
}

void SimProcess::SubmitTask(Program* program) {
  CallOptions* options = functions_[world_->random().Below(world_->options().streams ? 6 : 4)].get();
  TaskBuilder builder(&ownership_, &tasks_, options->name);
  std::vector<ObjectId> mentioned;
  const Mask needs = AddArgs(program, &builder, false, &mentioned);
  std::vector<ObjectEntry*> returns;
  TaskRecord* record = builder.Build(NumberedId<TaskId>(world_->NextNumber()), options, &returns);
  world_->NoteArgs(record->id, std::move(mentioned));
  for (ObjectEntry* entry : returns) ownership_.Hold(entry);  // Keep() below may drop what the submission looks at
  NoteReturns(program, returns, needs);
  if (options->yields == Yields::kStreaming) BeginStream(program, record);
  submitter_.Submit(record);
  for (ObjectEntry* entry : returns) ownership_.Drop(entry);
}

void SimProcess::CreateActor(Program* program) {
  if (!world_->options().actors || world_->actor_count() >= kMaxActors) return;
  TaskBuilder builder(&ownership_, &tasks_);
  std::vector<ObjectId> mentioned;  // nothing that it makes is made again
  const Mask needs = AddArgs(program, &builder, true, &mentioned);
  ActorSpec spec;
  spec.actor = NumberedId<ActorId>(world_->NextNumber());
  spec.creator = id_;
  spec.placement = placement_;
  spec.max_restarts = static_cast<std::int32_t>(world_->random().Below(2));
  spec.max_concurrency = world_->random().Chance(30) ? 3 : 1;
  const ObjectId handle_id = NumberedId<ObjectId>(world_->NextNumber());
  Truth& truth = world_->TruthOf(handle_id);
  truth.order = world_->NextOrder();
  truth.owner = id_;
  truth.is_put = truth.is_handle = true;
  truth.needs = needs;
  ObjectEntry* handle = ownership_.NewOwned(handle_id);
  handle->origin = ObjectEntry::kHandle;
  ownership_.SetLocalValue(handle, WireValue{}, {});
  TaskRecord* record = builder.Build(NumberedId<TaskId>(world_->NextNumber()), &constructor_);
  world_->AddActor(handle_id, spec.actor, record->holds);
  actors_.Create(record, std::move(spec), 0, handle);
  Keep(program, handle, Mask());
}

void SimProcess::KillActor(Program* program) {
  const SimRef* ref = Pick(program->refs);
  if (ref == nullptr || !world_->TruthOf(ref->entry->id).is_handle) return;
  const ActorId actor = world_->ActorOf(ref->entry->id);
  sender_.SendToHead(ActorKill{actor, world_->random().Chance(50), "", false});
  actors_.OnKillSent(actor);
}

void SimProcess::CallActor(Program* program) {
  const auto is_handle = [this](const SimRef& ref) { return world_->TruthOf(ref.entry->id).is_handle; };
  const auto handle = std::find_if(program->refs.begin(), program->refs.end(), is_handle);
  if (handle == program->refs.end()) return;
  const Truth& truth = world_->TruthOf(handle->entry->id);
  TaskBuilder builder(&ownership_, &tasks_);
  builder.Hold(handle->entry);
  const ActorId actor = world_->ActorOf(handle->entry->id);
  Mask needs = handle->needs | truth.needs | world_->BitOf(truth.owner);
  std::vector<ObjectId> mentioned;
  needs |= AddArgs(program, &builder, false, &mentioned);
  std::vector<ObjectEntry*> returns;
  CallOptions* options = methods_[world_->random().Below(world_->options().streams ? 3 : 2)].get();
  TaskRecord* record = builder.Build(NumberedId<TaskId>(world_->NextNumber()), options, &returns);
  world_->NoteArgs(record->id, std::move(mentioned));
  for (ObjectEntry* entry : returns) ownership_.Hold(entry);
  NoteReturns(program, returns, needs);
  if (options->yields == Yields::kStreaming) BeginStream(program, record);
  actors_.Submit(record, actor);
  for (ObjectEntry* entry : returns) ownership_.Drop(entry);
}

// ---- streams -------------------------------------------------------------------------------------------------------

// The object that ends with the task is for nobody: who waits for it before it has read the items may wait for ever.
void SimProcess::BeginStream(Program* program, TaskRecord* record) {
  const auto stream = std::make_shared<Stream>(&ownership_, &sender_, record->id, record->options->stream_limit);
  record->Extra().stream = stream;
  program->streams.push_back(stream);
  ownership_.Drop(program->refs.back().entry);
  program->refs.pop_back();
}

// As Runtime::YieldItem().
void SimProcess::Yield(Program* program) {
  const TaskHeader& header = program->task->header;
  const std::uint32_t index = program->yielded++;
  const ObjectId object = ReturnObjectId(header.task, index + 2);
  const Truth task = world_->TruthOf(ReturnObjectId(header.task, 1));
  Truth& truth = world_->TruthOf(object);
  truth.order = task.order;
  truth.owner = program->task->owner;
  truth.needs = task.needs;
  truth.is_item = true;
  std::vector<ObjectEntry*> contained;
  WireValue value = MakeValue(object, truth.owner, program, &contained);
  ownership_.GrantContained(contained, truth.owner, &value);
  world_->NoteGrants(value, truth.owner, 1);
  const StreamItem item{header.slot, header.attempt, index, value};
  ownership_.SendGuarded(truth.owner, MessageType::kStreamItem, Encode(item), false);
  for (ObjectEntry* entry : contained) ownership_.Drop(entry);
}

void SimProcess::Read(Program* program) {
  const std::size_t at = world_->random().Below(program->streams.size());
  Stream* stream = program->streams[at].get();
  ObjectEntry* next = stream->Peek();
  if (!next->ready) {
    const Truth& task = world_->TruthOf(ReturnObjectId(TaskOf(next->id), 1));
    if (task.order >= program->order || (program->task != nullptr && !program->IsNormal())) return;
    program->waits_for = next;
    program->waits_for_item = true;
    return ownership_.Hold(next);
  }
  if (!stream->AtEnd()) {
    const Truth task = world_->TruthOf(ReturnObjectId(TaskOf(next->id), 1));
    Truth& truth = world_->TruthOf(next->id);
    truth.needs |= task.needs;  // it may be the error of the task
    truth.owner = id_;
    truth.is_item = true;
    return Keep(program, stream->Take(), Mask());
  }
  stream->Close();
  program->streams.erase(program->streams.begin() + static_cast<std::ptrdiff_t>(at));
}

void SimProcess::Close(Program* program) {
  for (const auto& stream : std::exchange(program->streams, {})) stream->Close();
}

void SimProcess::CancelSome(Program* program) {
  const SimRef* ref = Pick(program->refs);
  if (!world_->options().cancels || ref == nullptr || ref->entry->ready) return;
  const TaskId task = TaskOf(ref->entry->id);
  if (ref->entry->owner != id_) {
    sender_.Send(ref->entry->owner, CancelTask{task, false, false});
  } else if (TaskRecord* record = tasks_.FindById(task)) {
    CancelRecord(record);
  }
}

// References go into the state of the process and come out of it in later tasks.
void SimProcess::Swap(Program* program) {
  const bool keeps = program->task != nullptr && (world_->options().keep_state || !program->IsNormal());
  if (!keeps) return;
  if (state_.size() >= kMaxState || (!state_.empty() && world_->random().Chance(50))) {
    Keep(program, state_.back().entry, state_.back().needs);
    state_.pop_back();
  } else if (const SimRef* ref = Pick(program->refs)) {
    ownership_.Hold(ref->entry);
    state_.insert(state_.begin(), *ref);
  }
}

// ---- checks --------------------------------------------------------------------------------------------------------

void SimProcess::CheckValue(const ObjectEntry& entry, Mask needs) {
  if (world_->IsDoomed(id_)) return;  // whoever kept something for it has let go
  const Truth& truth = world_->TruthOf(entry.id);
  const auto problem = [&](const std::string& what) {
    world_->Problem(ToString(id_) + " read object " + entry.id.Hex() + " of " + ToString(entry.owner) + ": " + what);
  };
  if (entry.is_error) {
    if (!Excused(entry, truth, needs)) problem("an error without a reason: " + KindOf(entry));
    return;
  }
  if (truth.is_handle) return;
  std::vector<ObjectId> contained;
  for (const ObjectEntry* child : entry.contained) contained.push_back(child->id);
  if (truth.contained.count(contained) == 0) problem("it contains other references than it was made with");
  if (entry.kind == WireValue::kInline && entry.bytes != BytesOf(entry.id)) problem("a wrong value");
}

bool SimProcess::Excused(const ObjectEntry& entry, const Truth& truth, Mask needs) const {
  const SimOptions& options = world_->options();
  const bool somebody_died = ((needs | truth.needs | world_->BitOf(truth.owner)) & world_->dead()).any();
  if (entry.kind == WireValue::kInline) return options.failures;
  const std::string kind = KindOf(entry);
  if (kind == "TaskCancelledError") return options.cancels;
  const bool crashes = options.crashes || options.node_ends, losses = options.losses || options.node_ends;
  if (kind == "WorkerCrashedError") return crashes;
  if (kind == "ActorUnavailableError") return crashes || options.kills;
  if (kind == "StreamingGeneratorReplayInconsistentError") return losses || crashes || options.kills;
  if (kind == "ActorDiedError") return crashes || losses || options.kills || somebody_died;
  // What is made again may find that its arguments are gone.
  if (losses && (kind == "ObjectReconstructionFailedError" || kind == "ObjectLostError")) return true;
  return (kind == "OwnerDiedError" || kind == "ObjectLostError") && somebody_died;
}

}  // namespace ray_engine::sim
