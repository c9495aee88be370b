#include "engine/core/runtime.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/base/clock.h"
#include "engine/base/version.h"

namespace ray_engine {
namespace {

// An engine that lives answers, but that of a launcher only after its ranks have met: above --bootstrap-timeout's
// limit.
constexpr std::chrono::milliseconds kHandShake(3'700'000);

template <class T>
void Append(std::string* key, const T& value) {
  AppendPlain(key, value);
}

// At most `most` bytes, and whole characters of UTF-8.
std::size_t SizeOfCut(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text.size();
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return most;
}

std::string KeyOf(const CallOptions& options) {
  std::string key = Encode(options.lease_class);
  Append(&key, options.kind);
  Append(&key, options.function);
  Append(&key, options.num_returns);
  Append(&key, options.yields);
  Append(&key, options.captures_children);
  Append(&key, options.max_calls);
  Append(&key, options.concurrency_group);
  Append(&key, options.out_of_order);
  Append(&key, options.max_pending);
  Append(&key, options.stream_limit);
  Append(&key, options.max_retries);
  Append(&key, options.retry_exceptions);
  Append(&key, options.retry_if.get());
  return key + options.title + '\0' + options.name;
}

}  // namespace

// ---- values --------------------------------------------------------------------------------------------------------

std::size_t ValuePieces::Size() const {
  std::size_t size = head.size();
  for (const auto& [data, bytes] : buffers) size = Align(size) + bytes;
  return size;
}

void ValuePieces::CopyTo(char* out) const {
  std::memcpy(out, head.data(), head.size());
  std::size_t at = head.size();
  for (const auto& [data, bytes] : buffers) {
    const std::size_t start = Align(at);
    std::memset(out + at, 0, start - at);
    std::memcpy(out + start, data, bytes);
    at = start + bytes;
  }
}

void CallArgs::Begin(std::string_view name, std::size_t tail) {
  name = name.substr(0, SizeOfCut(name, 255));
  payload.reserve(sizeof(TaskHeader) + 1 + name.size() + tail);
  payload.assign(sizeof(TaskHeader), '\0');
  payload.push_back(static_cast<char>(name.size()));
  payload.append(name);
}

// ---- birth and death -----------------------------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Join(UniqueFd fd, bool worker, Hooks hooks) {
  ControlSocket socket(std::move(fd));
  absl::StatusOr<ControlPacket> packet = socket.WaitReceive(kHandShake);
  if (!packet.ok()) return packet.status();
  Refused refused;
  if (packet->As(&refused)) {
    return refused.is_other_version ? absl::FailedPreconditionError(refused.reason)
                                    : absl::UnavailableError(refused.reason);
  }
  Welcome welcome;
  if (!packet->As(&welcome) || packet->fds.size() != 3)
    return absl::InternalError("the engine's hand-shake is malformed");
  if (welcome.build != BuildId()) {
    return absl::FailedPreconditionError(
        fmt::format("the engine is another build than this process: {} against {}", welcome.build, BuildId()));
  }
  absl::StatusOr<LinkSegment> segment = LinkSegment::Attach(packet->fds[0].Release(), welcome.link_segment_bytes);
  if (!segment.ok()) return segment.status();
  absl::StatusOr<StoreClient> store = StoreClient::Map(packet->fds[1].Release(), welcome.store_segment_bytes);
  if (!store.ok()) return store.status();
  std::unique_ptr<Runtime> runtime(new Runtime(std::move(welcome), std::move(socket), worker, std::move(hooks)));
  runtime->Open(*std::move(segment), *std::move(store), std::move(packet->fds[2]));
  return runtime;
}

Runtime::Runtime(Welcome welcome, ControlSocket socket, bool worker, Hooks hooks)
    : welcome_(std::move(welcome)),
      socket_(std::move(socket)),
      worker_(worker),
      hooks_(std::move(hooks)),
      sleeper_(nullptr) {}

void Runtime::Open(LinkSegment segment, StoreClient store, UniqueFd engine_eventfd) {
  engine_eventfd_ = std::move(engine_eventfd);
  segment_ = std::move(segment);
  store_ = std::make_shared<StoreClient>(std::move(store));
  sleeper_ = Sleeper(segment_.block(segment_.link(welcome_.engine_link)->slots[1]));
  sleeper_.DeclareBusy();
  peers_ = std::make_unique<Peers>(&segment_, self(), welcome_.engine_link, engine_eventfd_.get());
  ownership_ = std::make_unique<Ownership>(peers_.get(), static_cast<Ownership::Listener*>(this));
  tasks_ = std::make_unique<TaskTable>(ownership_.get());
  submitter_ = std::make_unique<TaskSubmitter>(peers_.get(), tasks_.get());
  actors_ = std::make_unique<ActorSubmitter>(peers_.get(), ownership_.get(), tasks_.get());
  executor_ = std::make_unique<Executor>(peers_.get());
  pins_ = std::make_unique<StorePins>(&mutex_, peers_.get(), ownership_.get(), store_);
  chunk_ = std::make_unique<StoreChunk>(peers_.get());
  [[maybe_unused]] const ssize_t n = getrandom(&random_base_, sizeof random_base_, 0);
  process_task_ = NewTaskId();
  const std::unique_lock lock(mutex_);
  peers_->SendToEngine(Ready{static_cast<std::uint32_t>(getpid())});
  io_thread_ = std::thread([this] { IoLoop(); });
}

Runtime::~Runtime() { Close(); }

void Runtime::Close() {
  if (!io_thread_.joinable()) return;
  pins_->Close();
  {
    const std::lock_guard lock(mutex_);
    ownership_->Flush();
    ended_ = true;
    pins_->End();
    if (end_reason_.empty()) end_reason_ = "the session was shut down";
    waiters_cv_.notify_all();
    Nudge(sleeper_.block());
    WakeSleeper(sleeper_.block());
  }
  io_thread_.join();
}

JobId Runtime::job() const { return job_; }

void Runtime::set_job(const JobId& job) {
  const std::lock_guard lock(mutex_);
  job_ = job;
  process_task_ = NewTaskId();
}

void Runtime::set_lineage_limit(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  tasks_->set_lineage_limit(bytes);
}

TaskContext& Runtime::Context() {
  static thread_local TaskContext context;
  return context;
}

// 8 bytes of a counter, the process's address (so no two processes make the same id), the job.
TaskId Runtime::NewTaskId() {
  TaskId id;
  const std::uint64_t count = ++task_count_;
  std::memcpy(id.data(), &count, 8);
  std::memcpy(id.data() + 8, &welcome_.process, 8);
  std::memcpy(id.data() + 20, job_.data(), JobId::kSize);
  return id;
}

ActorId Runtime::NewActorId() {
  const std::lock_guard lock(mutex_);
  ActorId id;
  const std::uint32_t count = ++actor_count_;
  std::memcpy(id.data(), &welcome_.process, 8);
  std::memcpy(id.data() + 8, &count, 4);
  std::memcpy(id.data() + 12, job_.data(), JobId::kSize);
  return id;
}

// ---- calls ---------------------------------------------------------------------------------------------------------

CallOptions* Runtime::Intern(const CallOptions& options) {
  const std::lock_guard lock(mutex_);
  auto& interned = options_[KeyOf(options)];
  if (interned == nullptr) {
    interned = std::make_unique<CallOptions>(options);
    interned->tail = options.kind == TaskKind::kNormal ? Encode(options.lease_class.resources) : options.title;
  }
  return interned.get();
}

// What a thread of the program or a coroutine submits counts as submitted by the task that began last.
std::uint16_t Runtime::DepthOfChildren() const {
  const ExecTask* task = Context().task;
  return static_cast<std::uint16_t>(std::min((task != nullptr ? task->header.depth : depth_) + 1, 0xffff));
}

TaskRecord* Runtime::NewRecord(CallOptions* options, CallArgs* args, const TaskId& id, Submitted* submitted) {
  TaskRecord* record = tasks_->New(id, options);
  record->payload.swap(args->payload);
  record->payload += options->tail;
  record->holds.swap(args->holds);
  if (!args->unresolved.empty()) record->Extra().unresolved.swap(args->unresolved);
  if (!Context().id.IsNil()) record->Extra().parent = Context().id;
  TaskHeader header;
  header.task = id;
  header.function = options->function;
  header.slot = record->slot;
  header.num_returns = options->num_returns;
  header.depth = DepthOfChildren();
  header.arg_count = args->count;
  header.keyword_count = args->keywords;
  header.kind = options->kind;
  header.concurrency_group = options->concurrency_group;
  header.yields = options->yields;
  header.captures_children = options->captures_children;
  header.stream_limit = options->stream_limit;
  std::memcpy(record->payload.data(), &header, sizeof header);
  for (ObjectEntry* entry : record->returns) {
    ownership_->Hold(entry);
    submitted->returns.push_back(entry);
  }
  if (options->yields != Yields::kNo) {
    const bool reads = options->yields == Yields::kStreaming;
    record->Extra().stream = std::make_shared<Stream>(ownership_.get(), peers_.get(), id, options->stream_limit,
                                                      reads ? Stream::kReads : Stream::kCollects);
    if (reads) submitted->stream = record->rare->stream;
  }
  args->Clear();
  return record;
}

Submitted Runtime::Submit(CallOptions* options, CallArgs* args) {
  const std::lock_guard lock(mutex_);
  Submitted submitted;
  submitter_->Submit(NewRecord(options, args, NewTaskId(), &submitted));
  AfterSubmit();
  return submitted;
}

Submitted Runtime::SubmitMethod(CallOptions* options, const ActorId& actor, ObjectEntry* handle, CallArgs* args) {
  const std::lock_guard lock(mutex_);
  Submitted submitted;
  TaskId id;
  const std::uint64_t unique = random_base_ + ++task_count_;
  std::memcpy(id.data(), &unique, 8);
  std::memcpy(id.data() + 8, actor.data(), ActorId::kSize);
  if (handle != nullptr) {
    ownership_->Hold(handle);
    args->holds.push_back(handle);
  }
  actors_->Submit(NewRecord(options, args, id, &submitted), actor);
  AfterSubmit();
  return submitted;
}

// A program that submits in a loop must take in the replies, or its workers' rings fill up.
void Runtime::AfterSubmit() {
  if (++submitted_ % 32 == 0 && !progressing_) {
    progressing_ = true;
    Drain();
    progressing_ = false;
  }
  UpdateWantsReplies();
  Unpark();
}

absl::StatusOr<ObjectEntry*> Runtime::CreateActor(CallOptions* options, CallArgs* args, ActorSpec spec) {
  std::unique_lock lock(mutex_);
  const std::uint64_t token = next_token_++;
  const bool named = !spec.name.empty();
  auto reply = std::make_shared<PendingReply>();
  if (named) replies_.emplace(token, reply);
  Submitted none;
  TaskId id;
  std::memcpy(id.data() + 8, spec.actor.data(), ActorId::kSize);
  spec.creator = self();
  const ActorLine* line = actors_->Line(spec.actor);
  ObjectEntry* handle = ownership_->NewOwned(ReturnObjectId(id, 1));
  handle->origin = ObjectEntry::kHandle;
  ownership_->SetLocalValue(handle, WireValue{}, {});
  if (spec.detached) {
    ownership_->Hold(handle);  // a detached actor does not end with its handles
  }
  actors_->Create(NewRecord(options, args, id, &none), std::move(spec), named ? token : 0, handle);
  UpdateWantsReplies();
  Unpark();
  if (!named) return handle;
  const auto refused_here = [&] { return line->last.state == ActorState::kDead; };  // an argument is an error
  const auto answered = [&] { return reply->done || refused_here(); };
  const WaitResult result = WaitThrough(lock, answered, kNever);
  replies_.erase(token);
  if (!reply->done && refused_here()) return handle;
  ActorCreated created;
  if (result == WaitResult::kReady && Decode(reply->payload, &created) && created.error.empty()) return handle;
  actors_->ForgetHandle(handle->id);
  ownership_->Drop(handle);
  return absl::AlreadyExistsError(created.error);
}

void Runtime::Cancel(ObjectEntry* entry, bool force, bool recursive) {
  const std::lock_guard lock(mutex_);
  if (entry->ready) return TaskTable::CancelLineage(*entry);
  const TaskId task = TaskOf(entry->id);
  if (entry->owner != self()) {
    peers_->Send(entry->owner, CancelTask{task, force, recursive});
  } else if (TaskRecord* record = tasks_->FindById(task)) {
    CancelRecord(record, force, recursive);
    WakeSleeper(sleeper_.block());  // another thread may wait for it
  }
}

void Runtime::KillActor(const ActorId& actor, bool no_restart) {
  const std::lock_guard lock(mutex_);
  peers_->SendToHead(ActorKill{actor, no_restart, ""});
  actors_->OnKillSent(actor);
}

bool Runtime::IsFull(const ActorId& actor, std::uint32_t max_pending) {
  const std::lock_guard lock(mutex_);
  const ActorLine* line = actors_->Line(actor);
  return line->waiting.size() + line->sent.size() >= max_pending;
}

ActorUpdate Runtime::ActorStateOf(const ActorId& actor) {
  const std::lock_guard lock(mutex_);
  ActorLine* line = actors_->Line(actor);
  actors_->Watch(line);
  return line->last;
}

// ---- services ------------------------------------------------------------------------------------------------------

absl::StatusOr<std::string> Runtime::CallRaw(ProcessId to, MessageType type,
                                             absl::FunctionRef<std::string(std::uint64_t)> encode,
                                             std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  if (ended_) return absl::UnavailableError(end_reason_);
  const std::uint64_t token = next_token_++;
  auto reply = std::make_shared<PendingReply>();
  replies_.emplace(token, reply);
  peers_->To(to)->Send(type, encode(token), true);
  const auto answered = [&] { return reply->done; };
  const WaitResult result = WaitThrough(lock, answered, deadline_ns);
  replies_.erase(token);
  if (result == WaitResult::kTimeout) return absl::DeadlineExceededError("no answer in time");
  if (result != WaitResult::kReady) return absl::UnavailableError(end_reason_);
  return std::move(reply->payload);
}

void Runtime::WaitForCreations(std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  WaitThrough(
      lock, [this] { return !actors_->IsCreating(); }, deadline_ns);
}

void Runtime::WaitForUpcalls(std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  auto done = std::make_shared<bool>(false);
  Upcall([this, done] {
    const std::lock_guard guard(mutex_);
    *done = true;
    waiters_cv_.notify_all();
    WakeSleeper(sleeper_.block());
  });
  const auto returned = [&] { return *done; };
  WaitThrough(lock, returned, deadline_ns);
}

std::string Runtime::StatsText() {
  const std::lock_guard lock(mutex_);
  const auto objects = ownership_->Stats();
  const auto leases = submitter_->Stats();
  return fmt::format(
      "objects {} named {} unacknowledged {} guarded {} tasks {} leases {} queued {} frames sent {} received {}",
      objects.entries, objects.table, objects.unacknowledged, objects.guarded, tasks_->size(), leases.leases,
      leases.queued, peers_->sent(), peers_->received());
}

}  // namespace ray_engine
