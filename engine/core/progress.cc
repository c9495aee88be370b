// How a process makes progress: the role of the one thread that drains the rings, waiting, and the I/O thread.
// hot-path rules: spin 100 us with yields, then sleep; never ring who is awake; one consumer at a time.

#include <fmt/format.h>
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/base/clock.h"
#include "engine/core/runtime.h"

namespace ray_engine {
namespace {

constexpr std::int64_t kSpinNs = 100'000;
constexpr std::int64_t kMoveApartAfterNs = 20'000;
constexpr std::int64_t kMoveApartEveryNs = 5'000'000;
constexpr std::int64_t kTickNs = 10'000'000;
constexpr std::int64_t kFirstIdleNapNs = 50'000'000;
constexpr std::int64_t kIdleNapNs = 10'000'000'000;
constexpr std::int64_t kCheckSignalsNs = 100'000'000;

}  // namespace

// One wait of the program: when its patience has ended, the worker's CPU is given to others until the wait is over.
class Runtime::ProgramWait {
 public:
  ProgramWait(Runtime* runtime, std::int64_t patience)
      : runtime_(runtime), patience_(runtime->worker_ ? patience : kNever) {}
  ~ProgramWait() {
    if (told_) runtime_->TellUnblocked();
  }
  void Look(std::int64_t now) {
    if (since_ == 0) since_ = now;
    if (!ToBeTold() || now - since_ < patience_) return;
    runtime_->TellBlocked();
    told_ = true;
  }
  bool Told() const { return told_; }
  bool ToBeTold() const { return patience_ != kNever && !told_ && RunsWhatMayGive(); }
  std::int64_t TellAt() const { return ToBeTold() ? since_ + patience_ : kNever; }

 private:
  // An actor that lives keeps what it was given for life.
  bool RunsWhatMayGive() const {
    const auto& running = runtime_->executor_->running();
    return !running.empty() && running.front()->header.kind != TaskKind::kActorMethod;
  }

  Runtime* runtime_;
  const std::int64_t patience_;
  bool told_ = false;
  std::int64_t since_ = 0;
};

WaitResult Runtime::WaitFor(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready,
                            std::int64_t deadline_ns, std::int64_t patience_ns) {
  ProgramWait wait(this, patience_ns);
  while (true) {
    if (ready()) return WaitResult::kReady;
    if (ended_) return WaitResult::kDisconnected;
    if (!progressing_) {
      progressing_ = true;
      const WaitResult result = Progress(lock, ready, deadline_ns, &wait);
      LeaveProgress();
      progressing_ = false;
      if (waiters_ > 0) waiters_cv_.notify_all();
      if (result == WaitResult::kReady && !ready()) continue;  // taken back by what came while leaving
      return result;
    }
    const std::int64_t now = NowNs();
    if (now >= deadline_ns) return WaitResult::kTimeout;
    wait.Look(now);
    const std::int64_t until = std::min({now + kCheckSignalsNs, deadline_ns, wait.TellAt()});
    ++waiters_;
    waiters_cv_.wait_for(lock, std::chrono::nanoseconds(until - now));
    --waiters_;
    if (NowNs() - now >= kCheckSignalsNs && !ready()) return WaitResult::kInterrupted;
  }
}

WaitResult Runtime::WaitThrough(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready,
                                std::int64_t deadline_ns) {
  while (true) {
    const WaitResult result = WaitFor(lock, ready, deadline_ns);
    if (result != WaitResult::kInterrupted) return result;
  }
}

WaitResult Runtime::Progress(std::unique_lock<std::mutex>& lock, absl::FunctionRef<bool()> ready,
                             std::int64_t deadline_ns, ProgramWait* wait) {
  sleeper_.SetPolling();
  sleeper_.block()->cpu.store(sched_getcpu(), std::memory_order_relaxed);
  submitter_->FlushDemands();
  std::int64_t idle_since = 0;  // 0: not idle yet; the clock is read only when there was nothing to do
  const bool idle_worker = worker_ && executor_->running().empty();
  while (true) {
    const int drained = Drain();
    if (drained > 0 && wait->Told()) executor_->GiveBack();  // what comes now would wait as long as this
    if (ready()) return WaitResult::kReady;
    if (ended_) return WaitResult::kDisconnected;
    if (drained > 0) {
      idle_since = 0;
      continue;
    }
    const std::int64_t now = NowNs();
    if (idle_since == 0) idle_since = now;
    if (now >= deadline_ns) return WaitResult::kTimeout;
    wait->Look(now);
    if (now - idle_since < kSpinNs && !crowding_.IsCrowded(now)) {
      if (now - idle_since > kMoveApartAfterNs) MoveApart();
      Spin(lock);
      continue;
    }
    Unpark();  // what was handled here may have left work for the I/O thread
    const std::int64_t idle_nap = told_idle_ ? kIdleNapNs : kFirstIdleNapNs;
    const std::int64_t nap_end = now + (idle_worker ? idle_nap : kCheckSignalsNs);
    if (Sleep(lock, std::min({deadline_ns, nap_end, wait->TellAt()})) || wait->ToBeTold()) continue;
    if (EngineGone()) End("the engine is gone");
    told_idle_ = idle_worker;
    return ready() ? WaitResult::kReady : WaitResult::kInterrupted;
  }
}

// About a microsecond of looking at the rings without the lock. Only the thread that makes progress changes the set of
// links, and knows whether its CPU is wanted, so it may look at both alone.
void Runtime::Spin(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  for (int i = 0; i < 16 && !peers_->Readable(); ++i) _mm_pause();
  if (!peers_->Readable()) crowding_.Yield();
  lock.lock();
}

// Returns false if it was ended by a signal or by the time limit.
bool Runtime::Sleep(std::unique_lock<std::mutex>& lock, std::int64_t until_ns) {
  sleeper_.DeclareAsleep();
  peers_->Flush();  // who made room while we were polling has not rung
  if (peers_->Readable()) {
    sleeper_.SetPolling();
    return true;
  }
  lock.unlock();
  sleeper_.Sleep(std::max<std::int64_t>(until_ns - NowNs(), 1000));
  lock.lock();
  const bool rung = sleeper_.block()->attention.load() != Attention::kAsleep;
  sleeper_.SetPolling();
  return rung;
}

// From now on only prompt frames ring; what came until now is handled here, or by the I/O thread if there is much.
void Runtime::LeaveProgress() {
  sleeper_.DeclareBusy();
  if (Drain() > 0 && peers_->Readable()) Nudge(sleeper_.block());
  Unpark();
}

int Runtime::Drain() {
  return peers_->Drain([this](const FrameHeader& header, std::string_view payload) {
    joiner_.Add(header, payload,
                [this](const FrameHeader& whole, std::string_view message) { Dispatch(whole, message); });
  });
}

// Kernels like to pack two talking processes on one CPU, where each round trip costs a switch. If the peer was last
// seen on this CPU, move away once.
void Runtime::MoveApart() {
  ProcessBlock* peer = peers_->last_peer();
  const int cpu = sched_getcpu();
  sleeper_.block()->cpu.store(cpu, std::memory_order_relaxed);
  if (peer == nullptr || peer->cpu.load(std::memory_order_relaxed) != cpu) return;
  const std::int64_t now = NowNs();
  if (now - cpu_moved_at_ < kMoveApartEveryNs) return;
  cpu_moved_at_ = now;
  cpu_set_t all, others;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  others = all;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0) return;
  sched_setaffinity(0, sizeof others, &others);
  sched_setaffinity(0, sizeof all, &all);
  sleeper_.block()->cpu.store(sched_getcpu(), std::memory_order_relaxed);
}

void Runtime::IoLoop() {
  std::unique_lock lock(mutex_);
  while (!ended_ || !upcalls_.empty()) {
    sleeper_.ClearPrompt();
    if (!progressing_ && !ended_) {
      if (Drain() > 0 && peers_->Readable()) Nudge(sleeper_.block());  // again, without a nap
      if (waiters_ > 0) waiters_cv_.notify_all();
    }
    const std::int64_t now = NowNs();
    if (now - last_tick_ >= kTickNs) Tick(now);
    while (!upcalls_.empty()) {
      const auto call = std::move(upcalls_.front());
      upcalls_.pop_front();
      lock.unlock();
      call();
      lock.lock();
    }
    if (ended_) break;
    parked_ = !NeedsTick();
    const std::int64_t nap = parked_ ? -1 : kTickNs;
    lock.unlock();
    sleeper_.SleepUntilPrompt(nap);
    lock.lock();
  }
}

void Runtime::Tick(std::int64_t now) {
  last_tick_ = now;
  submitter_->Tick(Nanoseconds(now));
  executor_->GiveBackIfOverrun(Nanoseconds(now));
  ownership_->Flush();
  chunk_->Tick(now);
}

bool Runtime::NeedsTick() const {
  return submitter_->NeedsTick() || executor_->NeedsTick() || ownership_->NeedsFlush() || peers_->HasOverflow() ||
         chunk_->NeedsTick();
}

void Runtime::Unpark() {
  if (!parked_ || !NeedsTick()) return;
  parked_ = false;
  Nudge(sleeper_.block());
}

void Runtime::Upcall(std::function<void()> call) {
  upcalls_.push_back(std::move(call));
  parked_ = false;
  Nudge(sleeper_.block());
}

void Runtime::UpdateWantsReplies() {
  std::atomic<std::uint32_t>& wants = sleeper_.block()->wants_replies;
  const std::uint32_t wanted = tasks_->HasDependants() || callbacks_ > 0 ? 1 : 0;
  const bool begins = wanted > wants.load(std::memory_order_relaxed);
  wants.store(wanted, std::memory_order_relaxed);
  if (!begins || progressing_) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (peers_->Readable()) Nudge(sleeper_.block());  // a reply that came before it was wanted has not rung
}

void Runtime::TellBlocked() {
  if (blocked_waits_++ > 0) return;
  executor_->GiveBack();
  blocked_lease_ = executor_->LeaseOf(*executor_->running().front());
  peers_->SendToHead(Blocked{blocked_lease_});
}

void Runtime::TellUnblocked() {
  if (--blocked_waits_ == 0) peers_->SendToHead(Unblocked{blocked_lease_});
}

// ---- frames --------------------------------------------------------------------------------------------------------

void Runtime::Dispatch(const FrameHeader& header, std::string_view payload) {
  const ProcessId from = header.from;
  const auto with = [payload](auto message, auto&& handle) {
    if (Decode(payload, &message)) handle(message);
  };
  const Nanoseconds now(header.type == MessageType::kPushTask || header.type == MessageType::kTaskDone ? 0 : NowNs());
  switch (header.type) {
    case MessageType::kPushTask:
      executor_->OnPushTask(from, payload);
      if (executor_->TakeNeedOfSystemThread()) Upcall(hooks_.start_system_thread);
      if (waiters_ > 0 && executor_->HasGroups()) waiters_cv_.notify_all();  // it may be for another thread
      return;
    case MessageType::kTaskDone:
      return OnTaskDone(from, payload);
    case MessageType::kLinkGrant:
      return with(LinkGrant{}, [&](const auto& m) { peers_->OnLinkGrant(m); });
    case MessageType::kProcessGone:
      return with(ProcessGone{}, [&](const auto& m) { OnProcessGone(m); });
    case MessageType::kTasksReturned:
      return with(TasksReturned{}, [&](const auto& m) { submitter_->On(from, m, now); });
    case MessageType::kCancelTask:
      return with(CancelTask{}, [&](const auto& m) { OnCancel(from, m); });
    case MessageType::kStreamItem:
      return with(StreamItem{}, [&](StreamItem& m) { tasks_->On(from, std::move(m)); });
    case MessageType::kStreamConsumed:
      return with(StreamConsumed{}, [&](const auto& m) { OnStreamConsumed(m); });
    case MessageType::kReturnYourQueue:
      return executor_->GiveBack();
    case MessageType::kValueRequest:
      return with(ValueRequest{}, [&](const auto& m) { ownership_->On(from, m); });
    case MessageType::kValueReply:
      return with(ValueReply{}, [&](const auto& m) { ownership_->On(m); });
    case MessageType::kBorrowAdd:
      return with(BorrowAdd{}, [&](const auto& m) { ownership_->On(from, m); });
    case MessageType::kBorrowAck:
      return with(BorrowAck{}, [&](const auto& m) { ownership_->On(m); });
    case MessageType::kBorrowRemove:
      return with(BorrowRemove{}, [&](const auto& m) { ownership_->On(from, m); });
    case MessageType::kCopyAdded:
      return with(CopyAdded{}, [&](const auto& m) { ownership_->On(m); });
    case MessageType::kStoreFree:
      return with(StoreFree{}, [&](const auto& m) { ownership_->On(m); });
    case MessageType::kLeaseGrant:
      return with(LeaseGrant{}, [&](const auto& m) { submitter_->On(m, now); });
    case MessageType::kLeaseReclaim:
      return with(LeaseReclaim{}, [&](const auto& m) { submitter_->On(m); });
    case MessageType::kLeasesLost:
      return with(LeasesLost{}, [&](const auto& m) { submitter_->On(m); });
    case MessageType::kLeaseFailed:
      return with(LeaseFailed{}, [&](const auto& m) { submitter_->On(m); });
    case MessageType::kStartActor:
      return with(StartActor{}, [&](const auto& m) { executor_->On(m); });
    case MessageType::kActorKill:
      return OnToldToLeave();
    case MessageType::kActorUpdate:
      return with(ActorUpdate{}, [&](const auto& m) { OnActorUpdate(m); });
    case MessageType::kActorArgsLost:
      return with(ActorArgsLost{}, [&](const auto& m) { actors_->On(m); });
    case MessageType::kStorePinned:
      return with(StorePinned{}, [&](const auto& m) {
        pins_->On(m);
        if (waiters_ > 0) waiters_cv_.notify_all();
      });
    case MessageType::kStoreReserved:
      return with(StoreReserved{}, [&](const auto& m) {
        if (m.token != 0) return CompleteReply(payload);
        chunk_->On(m, NowNs());
        Unpark();  // an idle chunk goes back
      });
    case MessageType::kStoreReclaim:
      return with(StoreReclaim{}, [&](const auto& m) {
        if (m.chunks) chunk_->GiveBack();
        peers_->SendToEngine(StoreReclaimed{m.round});
      });
    case MessageType::kGroupUpdate:
      return with(GroupUpdate{}, [&](const auto& m) { OnGroupUpdate(m); });
    case MessageType::kActorCreated:
    case MessageType::kGroupCreated:
    case MessageType::kGroupReply:
    case MessageType::kActorFound:
    case MessageType::kKvReply:
    case MessageType::kClusterReply:
    case MessageType::kOutputFlushed:
    case MessageType::kJobStarted:
    case MessageType::kStateReply:
      return CompleteReply(payload);
    case MessageType::kDriverLine:
      return with(DriverLine{}, [&](const DriverLine& m) { Upcall([this, m] { hooks_.driver_line(m); }); });
    case MessageType::kStateQuery:
      return with(StateQuery{}, [&](const auto& m) { OnStateQuery(m); });
    case MessageType::kShutdown:
      return with(Shutdown{}, [&](const Shutdown& m) { OnShutdown(m); });
    default:
      return;  // not for a process: dropped
  }
}

void Runtime::OnTaskDone(ProcessId from, std::string_view payload) {
  DoneHeader done;
  std::vector<WireValue> values;
  TaskRecord* record = tasks_->ReadDone(payload, &done, &values);
  if (record == nullptr) return;
  const bool may_retry =
      done.outcome == DoneHeader::kUserError && record->options->retry_exceptions && record->retries_left != 0;
  if (may_retry && record->options->retry_if != nullptr)
    return AskWhetherToRetry(from, record, done, std::move(values));
  EndTask(from, record, done, std::move(values));
}

void Runtime::OnStreamConsumed(const StreamConsumed& message) {
  executor_->On(message);
  if (waiters_ > 0) waiters_cv_.notify_all();
}

// Which exceptions are retried may be a question for the program's interpreter.
void Runtime::AskWhetherToRetry(ProcessId from, TaskRecord* record, const DoneHeader& done,
                                std::vector<WireValue> values) {
  const std::string error = values.empty() ? std::string() : values.back().bytes.substr(1);
  Upcall([this, from, done, error, values = std::move(values), retry_if = record->options->retry_if] {
    DoneHeader decided = done;
    if (!(*retry_if)(error)) decided.outcome = DoneHeader::kFinalError;
    const std::lock_guard lock(mutex_);
    TaskRecord* still = tasks_->Get(done.slot);
    if (still != nullptr && still->attempt == done.attempt) EndTask(from, still, decided, values);
    if (waiters_ > 0) waiters_cv_.notify_all();
    WakeSleeper(sleeper_.block());
  });
}

void Runtime::EndTask(ProcessId from, TaskRecord* record, const DoneHeader& done, std::vector<WireValue> values) {
  if (record->actor != nullptr) {
    actors_->OnDone(record, done, std::move(values));
  } else if (record->worker != nullptr && record->worker->channel->peer() == from) {
    submitter_->OnDone(record, done, std::move(values), Nanoseconds(NowNs()));
  }
}

// News about a process comes by way of the engine and may overtake what the process itself sent.
void Runtime::DrainFrom(ProcessId process) {
  peers_->DrainFrom(process, [this](const FrameHeader& header, std::string_view payload) {
    joiner_.Add(header, payload,
                [this](const FrameHeader& whole, std::string_view message) { Dispatch(whole, message); });
  });
}

void Runtime::OnActorUpdate(const ActorUpdate& message) {
  DrainFrom(actors_->Line(message.actor)->last.process);
  actors_->On(message);
}

void Runtime::OnProcessGone(const ProcessGone& message) {
  DrainFrom(message.process);
  joiner_.Forget(message.process);
  peers_->OnGone(message.process);
  submitter_->OnProcessGone(message.process, message.cause);
  actors_->OnProcessGone(message.process);
  executor_->OnProcessGone(message.process);
  ownership_->OnProcessGone(message.process, message.cause);
}

// The engine ends a worker that it no longer needs, or everything.
void Runtime::OnShutdown(const Shutdown& message) {
  const bool idle_only = message.reason == "idle";
  const bool needed =
      !executor_->IsEmpty() || !executor_->running().empty() || tasks_->size() > 0 || ownership_->Stats().entries > 0;
  if (idle_only && needed) return peers_->SendToEngine(Ready{static_cast<std::uint32_t>(getpid())});
  End(message.reason);
}

// The actor of this process is not needed any more, or has said that it leaves. Its last acts may not take for ever.
void Runtime::OnToldToLeave() {
  leaving_ = true;
  waiters_cv_.notify_all();
  std::thread([grace = exit_grace_.load()] {
    std::this_thread::sleep_for(grace);
    _exit(1);
  }).detach();
}

void Runtime::End(const std::string& reason) {
  ended_ = true;
  pins_->End();
  end_reason_ = reason;
  waiters_cv_.notify_all();
  Nudge(sleeper_.block());
}

// The engine never writes on the hand-shake's socket again, so the only thing to read there is its end.
bool Runtime::EngineGone() const {
  char byte;
  return recv(socket_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void Runtime::OnCancel(ProcessId from, const CancelTask& message) {
  ExecTask* running = executor_->Cancel(message.task);
  if (running == nullptr) {
    // A borrower of one of our tasks' results asks.
    TaskRecord* record = tasks_->FindById(message.task);
    if (record != nullptr && from != self()) CancelRecord(record, message.force, message.recursive);
    return;
  }
  if (message.recursive) CancelChildren(message.task, message.force);
  if (message.force) _exit(1);
  if (running->header.kind == TaskKind::kActorMethod)
    Upcall([this, task = message.task] { hooks_.cancel_method(task); });
  if (running->header.kind == TaskKind::kNormal && running->interruptible) pthread_kill(main_thread_, SIGINT);
}

void Runtime::CancelRecord(TaskRecord* record, bool force, bool recursive) {
  record->actor != nullptr ? actors_->Cancel(record, force, recursive) : submitter_->Cancel(record, force, recursive);
}

void Runtime::CancelChildren(const TaskId& parent, bool force) {
  tasks_->ForEach([&](TaskRecord* record) {
    if (record->Parent() == parent) CancelRecord(record, force, true);
  });
}

// Replies begin with the token of what they answer; whoever asked decodes the whole.
void Runtime::CompleteReply(std::string_view payload) {
  std::uint64_t token = 0;
  Reader reader(payload);
  reader(token);
  const auto it = replies_.find(token);
  if (it == replies_.end()) return;
  it->second->payload.assign(payload);
  it->second->done = true;
  if (waiters_ > 0) waiters_cv_.notify_all();
}

void Runtime::OnObjectReady(ObjectEntry* entry) {
  ++readied_;
  if (entry->is_error) ++failed_;
  if (waiters_ > 0) waiters_cv_.notify_all();
}

void Runtime::OnObjectFreed(const ObjectId& object) { actors_->OnHandleFreed(object); }

std::optional<WireValue> Runtime::OnObjectLost(ObjectEntry* entry, const std::string& reason) {
  if (actors_->Recall(entry)) return std::nullopt;
  const auto submit = [this](TaskRecord* record) {
    record->options->kind == TaskKind::kActorMethod ? actors_->Submit(record, record->rare->lineage->actor)
                                                    : submitter_->Submit(record);
  };
  std::optional<WireValue> error = tasks_->OnObjectLost(entry, reason, submit);
  UpdateWantsReplies();
  return error;
}

void Runtime::OnErrorUnseen(const ObjectEntry& entry) {
  if (ended_ || !hooks_.unseen_error) return;
  Upcall([this, value = entry.bytes] { hooks_.unseen_error(value); });
}

}  // namespace ray_engine
