#include "engine/core/task_table.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "engine/core/actor_submitter.h"
#include "engine/core/locality.h"

namespace ray_engine {
namespace {

constexpr std::string_view kInconsistent = "StreamingGeneratorReplayInconsistentError";
constexpr std::string_view kYieldedLess =
    "The object was lost, and the generator that had yielded it has yielded fewer objects when it was run again.";

std::uint32_t Retries(const TaskRecord& record) {
  return static_cast<std::uint32_t>(std::max(0, record.options->max_retries - record.retries_left));
}

ActorId ActorOf(const TaskRecord& record) { return record.actor == nullptr ? ActorId() : record.actor->actor; }

TaskInfo Describe(const TaskRecord& record) {
  TaskInfo info;
  info.task = record.id;
  info.parent = record.Parent();
  info.actor = ActorOf(record);
  info.name = record.options->name;
  info.state = record.Missing() > 0 ? TaskInfo::kWaitsForArgs : TaskInfo::kWaitsForWorker;
  if (!record.process.IsNil()) info.state = TaskInfo::kPushed;
  info.attempt = Retries(record);
  info.process = record.process;
  return info;
}

}  // namespace

TaskRecord* TaskTable::New(const TaskId& id, CallOptions* options) {
  TaskRecord* record = NewRecord(id, options);
  for (std::uint32_t i = 1; i <= options->num_returns; ++i) {
    record->returns.push_back(ownership_->NewOwned(ReturnObjectId(id, i)));
  }
  return record;
}

TaskRecord* TaskTable::NewRecord(const TaskId& id, CallOptions* options) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(records_.size()));
    records_.emplace_back();
  }
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  TaskRecord* record = &records_[slot];
  record->slot = slot;
  record->id = id;
  record->options = options;
  record->retries_left = options->max_retries;
  ++live_;
  return record;
}

TaskRecord* TaskTable::FindById(const TaskId& id) {
  for (TaskRecord& record : records_) {
    if (record.options != nullptr && record.id == id) return &record;
  }
  return nullptr;
}

void TaskTable::ResolveArgs(TaskRecord* record, std::function<void(TaskRecord*, ObjectEntry*)> then) {
  const std::uint32_t slot = record->slot;
  const TaskId id = record->id;
  record->Extra().on_args_ready = std::move(then);
  record->rare->missing = 1;  // so that it does not start while we are still looking
  ++waiting_;
  WaitForArgs(record);
  OnArgReady(slot, id);
}

void TaskTable::WaitForArgs(TaskRecord* record) {
  for (const auto& [offset, entry] : record->rare->unresolved) {
    if (entry->ready) continue;
    ++record->rare->missing;
    entry->Extra().on_ready.push_back(
        [this, slot = record->slot, id = record->id](ObjectEntry*) { OnArgReady(slot, id); });
    ownership_->RequestValue(entry);
  }
}

void TaskTable::OnArgReady(std::uint32_t slot, const TaskId& id) {
  TaskRecord* record = Get(slot);
  if (record == nullptr || record->id != id || record->Missing() == 0) return;  // ended in the meantime
  if (--record->rare->missing > 0) return;
  WaitForArgs(record);  // for what was lost while others were waited for
  if (record->rare->missing > 0) return;
  --waiting_;
  const auto then = std::exchange(record->rare->on_args_ready, nullptr);
  then(record, InsertArgs(record));
}

// Returns the first argument that is an error, or null.
ObjectEntry* TaskTable::InsertArgs(TaskRecord* record) {
  auto& unresolved = record->rare->unresolved;
  for (const auto& [offset, entry] : unresolved) {
    if (entry->is_error || entry->freed) return entry;
  }
  if (unresolved.empty()) return nullptr;
  record->rare->locality = NodeWithMostBytes(unresolved);
  const auto lasts = [this](const auto& arg) {
    const ObjectEntry& entry = *arg.second;
    const bool is_remade = entry.origin == ObjectEntry::kTask && !entry.contained.empty();  // with what it contains
    return (entry.kind != WireValue::kStored && !is_remade) || !ownership_->IsOwn(entry);
  };
  if (!absl::c_all_of(unresolved, lasts)) record->rare->remade = Insert(*record, lasts);
  record->payload = Insert(*record, [](const auto&) { return true; }).payload;
  unresolved.clear();
  return nullptr;
}

// The spec with the values of those arguments that `choose` chooses.
template <class Predicate>
UnresolvedSpec TaskTable::Insert(const TaskRecord& record, Predicate choose) {
  UnresolvedSpec spec;
  std::string& resolved = spec.payload;
  std::size_t copied = 0;
  Writer writer(&resolved);
  for (const auto& arg : record.rare->unresolved) {
    const auto& [offset, entry] = arg;
    resolved.append(record.payload, copied, offset - copied);
    copied = offset;
    if (!choose(arg)) {
      spec.unresolved.emplace_back(resolved.size(), entry);
      continue;
    }
    copied += sizeof(ArgHeader);
    ArgHeader header;
    if (entry->kind == WireValue::kStored) {
      header.kind = ArgHeader::kStored;
      header.ref_count = static_cast<std::uint32_t>(entry->contained.size());
      AppendPlain(&resolved, header);
      WireRef ref = ownership_->Export(entry);
      ref.node = entry->node;
      ref.size = entry->size;
      writer(ref);
      for (ObjectEntry* child : entry->contained) writer(ownership_->Export(child));
    } else {
      const WireValue value = ownership_->ValueOf(entry);
      header.ref_count = static_cast<std::uint32_t>(value.refs.size());
      header.size = value.bytes.size();
      AppendPlain(&resolved, header);
      for (const WireRef& ref : value.refs) writer(ref);
      resolved.append(value.bytes);
    }
  }
  resolved.append(record.payload, copied);
  return spec;
}

void TaskTable::BeginAttempt(TaskRecord* record, ProcessId process, LeaseId lease) {
  if (++next_attempt_ == 0) ++next_attempt_;
  record->attempt = next_attempt_;
  if (const auto stream = record->GetStream()) stream->BeginAttempt();
  record->process = process;
  std::memcpy(record->payload.data() + offsetof(TaskHeader, attempt), &record->attempt, sizeof record->attempt);
  std::memcpy(record->payload.data() + offsetof(TaskHeader, lease), &lease, sizeof lease);
}

TaskRecord* TaskTable::ReadDone(std::string_view payload, DoneHeader* done, std::vector<WireValue>* values) {
  Reader reader(payload);
  const std::string_view plain = reader.Take(sizeof *done);
  if (!reader.ok()) return nullptr;
  std::memcpy(static_cast<void*>(done), plain.data(), sizeof *done);
  values->resize(done->num_returns);
  for (WireValue& value : *values) reader(value);
  if (!reader.ok()) return nullptr;
  TaskRecord* record = Get(done->slot);
  if (record != nullptr && record->attempt == done->attempt) {
    record->outcome = done->outcome;
    return record;
  }
  for (const WireValue& value : *values) ownership_->Refuse(value);
  return nullptr;
}

void TaskTable::On(ProcessId from, StreamItem item) {
  TaskRecord* record = Get(item.slot);
  if (record == nullptr || record->attempt != item.attempt || record->GetStream() == nullptr) {
    return ownership_->Refuse(item.value);
  }
  const bool stored = item.value.kind == WireValue::kStored;
  TaskRecord::Rare* rare = record->rare.get();
  ObjectEntry* known = rare->lineage == nullptr ? nullptr : rare->lineage->Item(item.index);
  if (known != nullptr) ownership_->Hold(known);  // who waits for it may be the last to hold it
  ObjectEntry* entry = rare->stream->OnItem(from, item.index, std::move(item.value), known);
  if (stored && entry != nullptr) lineage_.KeepItem(record, entry);
  if (known != nullptr) ownership_->Drop(known);
}

void TaskTable::Reopen(TaskRecord* record) {
  record->payload = std::move(record->Extra().remade.payload);
  record->rare->unresolved = std::move(record->rare->remade.unresolved);
  record->rare->remade = {};
}

void TaskTable::TakeRetry(TaskRecord* record) {
  if (record->retries_left > 0) --record->retries_left;
  if (const auto stream = record->GetStream()) stream->BeginAttempt();
}

// A function that yields its return values; what is stored of them may be lost before it has brought all.
void TaskTable::TakeRetry(TaskRecord* record, std::vector<WireValue> values) {
  const bool is_stream = record->GetStream() != nullptr;
  for (std::size_t i = 0; i < values.size() && !is_stream; ++i) {
    if (values[i].is_error || i >= record->returns.size()) break;
    const bool stored = values[i].kind == WireValue::kStored;
    ownership_->SetValue(record->returns[i], std::move(values[i]));
    if (stored) lineage_.KeepItem(record, record->returns[i]);
  }
  TakeRetry(record);
}

// An error may come after values. Of a task that returns a generator it is the last item, too.
void TaskTable::Finish(TaskRecord* record, std::vector<WireValue> values, const RunTime& ran) {
  const WireValue* error = !values.empty() && values.back().is_error ? &values.back() : nullptr;
  const bool is_stream = record->GetStream() != nullptr;
  std::optional<WireValue> failed;
  if (error != nullptr && is_stream) failed = *error;
  Remember(*record, record->outcome == DoneHeader::kCancelled ? nullptr : error, ran);
  std::vector<ObjectEntry*> items = EndStream(record, error, !values.empty() && !values[0].is_error);
  if (record->outcome == DoneHeader::kOk || is_stream) lineage_.Keep(record, values);
  for (std::size_t i = 0; i < record->returns.size(); ++i) {
    WireValue value =
        i < values.size() ? std::move(values[i]) : SystemError("RaySystemError", "a return value is missing");
    items.empty() ? ownership_->SetValue(record->returns[i], std::move(value))
                  : ownership_->SetLocalValue(record->returns[i], std::move(value), std::exchange(items, {}));
  }
  End(record, failed ? &*failed : nullptr);
}

void TaskTable::FinishWithError(TaskRecord* record, const WireValue& error) {
  Remember(*record, &error);
  EndStream(record, &error, false);
  if (record->GetStream() != nullptr) lineage_.Keep(record, {});
  for (ObjectEntry* entry : record->returns) ownership_->SetValue(entry, error);
  End(record, &error);
}

// Returns what the generator that the task returns, if it does, is to contain, with the holds. All of it can be made
// again, or none.
std::vector<ObjectEntry*> TaskTable::EndStream(TaskRecord* record, const WireValue* error, bool has_generator) {
  const std::shared_ptr<Stream> stream = record->GetStream();
  if (stream == nullptr) return {};
  if (!stream->collects()) return stream->End(error), std::vector<ObjectEntry*>();
  if (!has_generator) return stream->Close(), std::vector<ObjectEntry*>();
  stream->Trim();
  const std::shared_ptr<Lineage> lineage = record->GetLineage();
  if (error != nullptr) stream->CollectError(*error, lineage == nullptr ? nullptr : lineage->Item(stream->passed()));
  if (lineage != nullptr) {
    lineage_.KeepItem(record, record->returns[0]);
    for (ObjectEntry* item : stream->items()) lineage_.KeepItem(record, item);
  }
  return stream->TakeAll();
}

// The dependant of a task that raised has that task's error; where the engine failed, it says which task was hit.
void TaskTable::FinishWithErrorOf(TaskRecord* record, ObjectEntry* failed) {
  WireValue error = ownership_->ValueOf(failed);
  if (error.kind == WireValue::kSystemError) error = ErrorOfDependant(record->options->name, error.bytes, failed->id);
  FinishWithError(record, error);
}

std::optional<WireValue> TaskTable::OnObjectLost(ObjectEntry* lost, const std::string& reason,
                                                 absl::FunctionRef<void(TaskRecord*)> submit) {
  const std::string_view why_not = LineageKeeper::WhyNot(*lost);
  if (!why_not.empty()) {
    return SystemError("ObjectReconstructionFailedError", fmt::format("{}\n{}", why_not, reason), lost->id.Binary());
  }
  const std::shared_ptr<Lineage> lineage = lost->rare->lineage;
  if (lineage->record == nullptr) {
    submit(MakeAgain(lineage, lost->rare->released));
  } else if (lineage->HasPassed(*lost)) {
    const bool starts_over = lineage->options->kind == TaskKind::kNormal;
    lineage->record->Extra().starts_over = starts_over;
    lineage->stream->EndSoon(starts_over);
  }
  return std::nullopt;
}

// A stored argument that cannot be made again may lie elsewhere now. Its reader finds out.
TaskRecord* TaskTable::MakeAgain(const std::shared_ptr<Lineage>& lineage, bool is_free) {
  if (!is_free && lineage->retries_left > 0) --lineage->retries_left;
  TaskRecord* record = NewRecord(lineage->id, lineage->options);
  lineage->record = record;
  if (lineage->stream != nullptr && lineage->stream->collects()) lineage->stream = CollectAgain(*lineage);
  record->Extra().lineage = lineage;
  record->rare->parent = lineage->parent;
  record->rare->stream = lineage->stream;
  record->retries_left = lineage->retries_left;
  record->payload = lineage->spec.payload;
  record->rare->unresolved = lineage->spec.unresolved;
  std::memcpy(record->payload.data() + offsetof(TaskHeader, slot), &record->slot, sizeof record->slot);
  if (lineage->stream != nullptr) lineage->stream->BeginAttempt();
  for (std::uint32_t i = 1; i <= lineage->options->num_returns; ++i) {
    ObjectEntry* entry = i <= lineage->results.size() ? lineage->results[i - 1] : nullptr;
    entry == nullptr ? void(entry = ownership_->NewOwned(ReturnObjectId(lineage->id, i))) : ownership_->Hold(entry);
    record->returns.push_back(entry);
  }
  for (ObjectEntry* entry : lineage->holds) {
    record->holds.push_back(entry);
    ownership_->Hold(entry);
  }
  for (ObjectEntry* entry : lineage->parents) {
    record->holds.push_back(entry);
    ownership_->Recall(entry);
  }
  return record;
}

// The generator of all items needs them all, should it be gone.
std::shared_ptr<Stream> TaskTable::CollectAgain(const Lineage& lineage) {
  const ObjectEntry* generator = lineage.results[0];
  if (generator == nullptr || generator->ready) return lineage.stream;
  return lineage.stream->Anew();
}

void TaskTable::CancelLineage(const ObjectEntry& result) {
  if (result.origin == ObjectEntry::kTask) result.rare->lineage->cancelled = true;
}

// A task that was cancelled while it ran has done what it was asked: no error. What becomes of a constructor the head
// knows.
void TaskTable::Remember(const TaskRecord& record, const WireValue* error, const RunTime& ran) {
  if (record.options->kind == TaskKind::kActorCreation) return;
  EndedTask* ended = history_.Add();
  ended->id = record.id;
  ended->parent = record.Parent();
  ended->options = record.options;
  ended->actor = ActorOf(record);
  ended->process = record.process;
  ended->attempt = Retries(record);
  ended->failed = error != nullptr;
  ended->ran = ran;
  if (error != nullptr && error->kind == WireValue::kSystemError) ended->error = error->bytes;
}

std::vector<TaskInfo> TaskTable::Report() const {
  std::vector<TaskInfo> report;
  for (const EndedTask& ended : history_.tasks()) {
    TaskInfo& info = report.emplace_back();
    info.task = ended.id;
    info.parent = ended.parent;
    info.actor = ended.actor;
    info.name = ended.options->name;
    info.state = ended.failed ? TaskInfo::kFailed : TaskInfo::kFinished;
    info.attempt = ended.attempt;
    info.process = ended.process;
    info.error = ended.error;
    info.started_ns = ended.ran.started_ns;
    info.ended_ns = ended.ran.ended_ns;
    info.args_us = ended.ran.args_us;
    info.results_us = ended.ran.results_us;
  }
  const std::size_t limit = report.size() + kMostReported;
  for (const TaskRecord& record : records_) {
    if (record.options == nullptr || record.options->kind == TaskKind::kActorCreation) continue;
    if (report.size() == limit) break;
    report.push_back(Describe(record));
  }
  return report;
}

void TaskTable::End(TaskRecord* record, const WireValue* error) {
  const std::shared_ptr<Lineage> lineage = record->GetLineage();
  const bool yields = record->GetStream() != nullptr;
  Free(record);
  if (lineage != nullptr && yields) SettleItems(lineage, error);
}

// A task that yields has ended. What is lost of its items it has either brought again, or lost again since.
void TaskTable::SettleItems(const std::shared_ptr<Lineage>& lineage, const WireValue* error) {
  const std::string reason = "it was lost before the task that made it had ended";
  std::vector<ObjectEntry*> lost;
  for (ObjectEntry* entry : lineage->results) {
    if (entry == nullptr || entry->ready || entry->rare->faded) continue;
    ownership_->Hold(entry);
    lost.push_back(entry);
  }
  for (ObjectEntry* entry : lost) {
    if (lineage->HasPassed(*entry)) {
      ownership_->Remake(entry, reason);
    } else {
      ownership_->SetValue(entry, error != nullptr ? *error : SystemError(kInconsistent, kYieldedLess));
    }
    ownership_->Drop(entry);
  }
}

void TaskTable::Free(TaskRecord* record) {
  const auto stream = record->GetStream();
  if (stream != nullptr && !stream->collects()) record->returns[0]->seen = true;  // its error is an item of the stream
  if (record->Missing() > 0) --waiting_;
  if (const auto lineage = record->GetLineage()) lineage->record = nullptr;
  free_slots_.push_back(record->slot);
  --live_;
  // The record may not be reached through anything that dropping runs.
  const ReturnedObjects returns = std::move(record->returns);
  const std::vector<ObjectEntry*> holds = std::move(record->holds);
  std::string payload = std::move(record->payload);
  payload.clear();
  *record = TaskRecord{};
  record->payload = std::move(payload);  // keeps its capacity
  for (ObjectEntry* entry : returns) ownership_->Drop(entry);
  for (ObjectEntry* entry : holds) ownership_->Drop(entry);
}

}  // namespace ray_engine
