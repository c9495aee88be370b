#include "engine/node/worker_service.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <variant>
#include <vector>

namespace ray_engine {

WorkerService::WorkerService(Loop* loop, Router* router, Processes* processes, JobCache* jobs, WorkerStarter* starter,
                             NodeId node)
    : loop_(loop),
      router_(router),
      processes_(processes),
      jobs_(jobs),
      starter_(starter),
      node_(node),
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

void WorkerService::Perform(const WorkerPool::Actions& actions) {
  for (const WorkerPool::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  ScheduleTick();
}

std::uint32_t WorkerService::NewWorker(const WorkerKey& key) {
  Process* process = stopped_ ? nullptr : processes_->Admit(Process::kWorker);
  if (process == nullptr) return 0;
  process->job = key.job;
  return process->serial;
}

void WorkerService::Do(const WorkerPool::Fork& fork) {
  processes_->table().Find(fork.serial)->forkserver = fork.forkserver;
  jobs_->WhenKnown(fork.key.job, [this, fork](const JobInfo* job) { StartWorker(fork, job); });
}

void WorkerService::StartWorker(const WorkerPool::Fork& fork, const JobInfo* job) {
  const Process* process = processes_->table().Find(fork.serial);
  if (process == nullptr) return;
  if (job == nullptr || stopped_) return processes_->End(fork.serial, "its job is not known to the head, or over");
  const absl::Status started = starter_->Start(*process, fork, *job);
  if (!started.ok()) processes_->End(fork.serial, std::string(started.message()));
}

void WorkerService::Do(const WorkerPool::Grant& grant) {
  LeaseGrant message;
  message.lease = grant.lease.lease;
  message.key = grant.lease.key;
  message.worker = processes_->IdOf(grant.serial);
  message.node = node_;
  router_->Send(grant.lease.client, message, true);
}

// Of a node that ends, what it cannot serve is no failure: the head hears that the node has left, and serves it
// elsewhere.
void WorkerService::Do(const WorkerPool::End& end) {
  if (stopped_ && !end.granted) return;
  router_->Send(kHead, LeaseEnded{end.lease, end.error, end.granted});
}

void WorkerService::Do(const WorkerPool::AskToEnd& ask) {
  router_->Send(processes_->IdOf(ask.serial), Shutdown{"idle"}, true);
}

void WorkerService::Do(const WorkerPool::Kill& kill) {
  Process* process = processes_->table().Find(kill.serial);
  if (process == nullptr) return;
  process->kill_reason = kill.reason;
  starter_->Kill(*process);
}

void WorkerService::OnForked(std::uint32_t serial, std::uint32_t pid, const std::string& error) {
  Process* process = processes_->table().Find(serial);
  if (process == nullptr) return;
  process->pid = pid;
  if (!error.empty()) processes_->End(serial, "it could not be forked: " + error);
}

void WorkerService::OnExited(std::uint32_t serial, int status) {
  Process* process = processes_->table().Find(serial);
  if (process == nullptr) return;
  process->status = status;
  processes_->End(serial, DescribeDeath(processes_->IdOf(serial), *process, status));
}

void WorkerService::OnForkserverGone(std::uint32_t forkserver) {
  pool_.OnForkserverGone(forkserver);
  std::vector<std::uint32_t> lost;
  for (const auto& [serial, process] : processes_->table().living()) {
    if (process.kind == Process::kWorker && process.forkserver == forkserver) lost.push_back(serial);
  }
  for (const std::uint32_t serial : lost) processes_->End(serial, "the worker's forkserver has ended");
}

void WorkerService::HandleEnded(const Process& process, const std::string& cause) {
  if (process.kind != Process::kWorker) return;
  const bool killed = WIFSIGNALED(process.status) && WTERMSIG(process.status) == SIGKILL;
  Perform(pool_.OnWorkerGone(process.serial, cause, killed));
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
