#include "engine/node/worker_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>
#include <variant>
#include <vector>

namespace ray_engine {
namespace {

constexpr auto kGrace = std::chrono::milliseconds(300);  // between the request to end and the kill

}  // namespace

WorkerService::WorkerService(EventLoop* loop, Router* router, Processes* processes, JobCache* jobs,
                             const NodeConfig* config)
    : loop_(loop),
      router_(router),
      processes_(processes),
      jobs_(jobs),
      config_(config),
      pool_(WorkerPool::Limits(), [this](const WorkerKey& key) { return NewWorker(key); }) {
  router_->On<StartLease>([this](ProcessId, const StartLease& lease) { Perform(pool_.OnStartLease(lease)); });
  router_->On<LeaseReturn>(
      [this](ProcessId, const LeaseReturn& lease) { Perform(pool_.OnLeaseReturn(lease.lease, lease.retire, Now())); });
  router_->On<KillWorker>(
      [this](ProcessId, const KillWorker& kill) { Perform(pool_.OnKillWorker(kill.lease, kill.reason)); });
  processes_->OnReady([this](Process* process) { Perform(pool_.OnWorkerReady(process->serial, Now())); });
  processes_->OnEnded([this](const Process& process, const std::string& cause) { HandleEnded(process, cause); });
  processes_->OnGone([this](ProcessId gone, const std::string&) {
    const JobId job = jobs_->JobOf(gone);
    if (!job.IsNil()) Perform(pool_.OnJobEnded(job));
  });
}

WorkerPool::Time WorkerService::Now() { return EventLoop::Clock::now().time_since_epoch(); }

void WorkerService::AddForkserver(ControlSocket socket, double num_cpus) {
  const std::uint32_t id = next_forkserver_++;
  forkservers_[id] = std::make_unique<ControlChannel>(
      loop_, std::move(socket), [this, id](ControlPacket& packet) { HandlePacket(id, packet); },
      [this, id] { HandleForkserverGone(id); });
  Perform(pool_.OnForkserverUp(id, num_cpus));
}

void WorkerService::Perform(const WorkerPool::Actions& actions) {
  for (const WorkerPool::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  ScheduleTick();
}

std::uint32_t WorkerService::NewWorker(const WorkerKey& key) {
  Process* process = ending_ ? nullptr : processes_->Admit(Process::kWorker);
  if (process == nullptr) return 0;
  process->job = key.job;
  return process->serial;
}

void WorkerService::Do(const WorkerPool::Fork& fork) {
  processes_->table().Find(fork.serial)->forkserver = fork.forkserver;
  jobs_->WhenKnown(fork.key.job, [this, fork](const JobInfo* job) {
    if (processes_->table().Find(fork.serial) == nullptr) return;
    if (job == nullptr || ending_) return processes_->End(fork.serial, "its job is not known to the head, or over");
    SendFork(fork, *job);
  });
}

void WorkerService::SendFork(const WorkerPool::Fork& fork, const JobInfo& job) {
  const auto forkserver = forkservers_.find(fork.forkserver);
  absl::StatusOr<std::pair<ControlSocket, ControlSocket>> pair = ControlSocket::Pair();
  if (forkserver == forkservers_.end() || !pair.ok()) {
    processes_->End(fork.serial, pair.ok() ? "its forkserver has ended" : std::string(pair.status().message()));
    return;
  }
  const Process& process = *processes_->table().Find(fork.serial);
  (void)pair->first.Send(processes_->WelcomeFor(process), processes_->WelcomeFds());
  Fork packet;
  packet.serial = fork.serial;
  packet.job = fork.key.job;
  packet.name = process.name;
  packet.environment = fork.key.environment;
  packet.node_environment = config_->accelerator_environment;
  packet.units = fork.key.units;
  packet.job_config = job.config;
  const int worker_end = pair->second.fd();
  used_.insert(fork.forkserver);
  forkserver->second->Send(packet, absl::MakeConstSpan(&worker_end, 1));
  sockets_[fork.serial] = std::move(pair->first);
}

void WorkerService::Do(const WorkerPool::Grant& grant) {
  LeaseGrant message;
  message.lease = grant.lease.lease;
  message.key = grant.lease.key;
  message.worker = processes_->IdOf(grant.serial);
  message.node = config_->info.id;
  router_->Send(grant.lease.client, message, true);
}

// Of a node that ends, what it cannot serve is no failure: the head hears that the node has left, and serves it
// elsewhere.
void WorkerService::Do(const WorkerPool::End& end) {
  if (ending_ && !end.granted) return;
  router_->Send(kHead, LeaseEnded{end.lease, end.error, end.granted});
}

void WorkerService::Do(const WorkerPool::AskToEnd& ask) {
  router_->Send(processes_->IdOf(ask.serial), Shutdown{"idle"}, true);
}

void WorkerService::Do(const WorkerPool::Kill& kill) {
  Process* process = processes_->table().Find(kill.serial);
  if (process == nullptr) return;
  process->kill_reason = kill.reason;
  const auto forkserver = forkservers_.find(process->forkserver);
  if (forkserver != forkservers_.end()) forkserver->second->Send(Kill{kill.serial, SIGKILL});
}

void WorkerService::HandlePacket(std::uint32_t forkserver, ControlPacket& packet) {
  Forked forked;
  Exited exited;
  Output output;
  Flushed flushed;
  if (packet.As(&forked)) {
    Process* process = processes_->table().Find(forked.serial);
    if (process == nullptr) return;
    process->pid = forked.pid;
    if (!forked.error.empty()) processes_->End(forked.serial, "it could not be forked: " + forked.error);
  } else if (packet.As(&exited)) {
    HandleExited(exited);
  } else if (packet.As(&output)) {
    on_output_(output);
  } else if (packet.As(&flushed)) {
    flushed_.OnAnswer(flushed.token, forkserver, flushed);
  } else {
    spdlog::warn("a forkserver sent a packet of type {}, which is not for an engine", static_cast<int>(packet.type));
  }
}

void WorkerService::HandleExited(const Exited& exited) {
  Process* process = processes_->table().Find(exited.serial);
  if (process == nullptr) return;
  process->status = exited.status;
  processes_->End(exited.serial, DescribeDeath(processes_->IdOf(exited.serial), *process, exited.status));
}

void WorkerService::HandleForkserverGone(std::uint32_t forkserver) {
  if (!ending_) spdlog::error("a forkserver of this node has ended");
  const std::shared_ptr<ControlChannel> channel = std::move(forkservers_.at(forkserver));
  forkservers_.erase(forkserver);
  used_.erase(forkserver);
  loop_->After({}, [channel] {});  // which is what calls this
  Perform(pool_.OnForkserverGone(forkserver));
  flushed_.OnGone(forkserver);
  std::vector<std::uint32_t> lost;
  for (const auto& [serial, process] : processes_->table().living()) {
    if (process.kind == Process::kWorker && process.forkserver == forkserver) lost.push_back(serial);
  }
  for (const std::uint32_t serial : lost) processes_->End(serial, "the worker's forkserver has ended");
}

void WorkerService::HandleEnded(const Process& process, const std::string& cause) {
  if (process.kind != Process::kWorker) return;
  sockets_.erase(process.serial);
  const bool killed = WIFSIGNALED(process.status) && WTERMSIG(process.status) == SIGKILL;
  Perform(pool_.OnWorkerGone(process.serial, cause, killed));
}

void WorkerService::FlushOutput(std::function<void()> done) {
  const std::uint64_t round = flushed_.Begin(used_, [done = std::move(done)](const std::vector<Flushed>&) { done(); });
  for (const std::uint32_t id : used_) forkservers_.at(id)->Send(Flush{round});
}

void WorkerService::EndAll(const std::string& reason) {
  ending_ = true;
  for (const auto& [serial, socket] : sockets_) router_->Send(processes_->IdOf(serial), Shutdown{reason}, true);
  loop_->After(kGrace, [this] { KillAll(); });
}

void WorkerService::KillAll() {
  for (const auto& [serial, socket] : sockets_) Do(WorkerPool::Kill{serial, "the session ends"});
}

void WorkerService::ScheduleTick() {
  const WorkerPool::Time due = pool_.NextTick().value_or(WorkerPool::Time::max());
  if (due >= tick_at_) return;
  tick_at_ = due;
  loop_->After(std::max(due - Now(), WorkerPool::Time(0)), [this, due] {
    if (due != tick_at_) return;  // an earlier one has come in between
    tick_at_ = WorkerPool::Time::max();
    Perform(pool_.OnTick(Now()));
  });
}

}  // namespace ray_engine
