// WorkerService: carries out what the worker pool decides.
//
// Turns lease messages, and what it hears of workers, into events of the pool, and the pool's actions into messages,
// births and kills.
//
// Loop-bound.

#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>

#include "engine/node/job_cache.h"
#include "engine/node/loop.h"
#include "engine/node/processes.h"
#include "engine/node/worker_pool.h"

namespace ray_engine {

// Who makes workers, and ends them.
class WorkerStarter {
 public:
  virtual ~WorkerStarter() = default;
  // Begins to make the process. What comes of it is told to the WorkerService, unless it fails at once: that is
  // returned.
  virtual absl::Status Start(const Process& process, const WorkerPool::Fork& fork, const JobInfo& job) = 0;
  virtual void Kill(const Process& process) = 0;
};

class WorkerService {
 public:
  // Registers its messages at the router. All pointers must outlive this.
  WorkerService(Loop* loop, Router* router, Processes* processes, JobCache* jobs, WorkerStarter* starter, NodeId node);

  void OnForkserverUp(std::uint32_t forkserver, double num_cpus) {
    Perform(pool_.OnForkserverUp(forkserver, num_cpus));
  }
  // Its workers end with it.
  void OnForkserverGone(std::uint32_t forkserver);
  // The worker has a process now; or none, if there is an error.
  void OnForked(std::uint32_t serial, std::uint32_t pid, const std::string& error);
  // A worker is dead, with this wait status.
  void OnExited(std::uint32_t serial, int status);
  // No worker is started any more.
  void Stop() { stopped_ = true; }

  // The job has started here: its first worker is forked before somebody asks.
  void Prestart(const JobId& job) { Perform(pool_.Prestart({job, {}, {}})); }
  // No effect on a process that is no worker.
  void KillProcess(std::uint32_t serial, const std::string& reason) { Do(WorkerPool::Kill{serial, reason}); }
  WorkerPool::Statistics Stats() const { return pool_.Stats(); }

 private:
  void Perform(const WorkerPool::Actions& actions);
  void Do(const WorkerPool::Fork& fork);
  void Do(const WorkerPool::Grant& grant);
  void Do(const WorkerPool::End& end);
  void Do(const WorkerPool::AskToEnd& ask);
  void Do(const WorkerPool::Kill& kill);

  std::uint32_t NewWorker(const WorkerKey& key);
  void StartWorker(const WorkerPool::Fork& fork, const JobInfo* job);
  void HandleEnded(const Process& process, const std::string& cause);
  void ScheduleTick();
  WorkerPool::Time Now() const { return loop_->Now(); }

  Loop* loop_;
  Router* router_;
  Processes* processes_;
  JobCache* jobs_;
  WorkerStarter* starter_;
  NodeId node_;
  WorkerPool pool_;
  WorkerPool::Time tick_at_ = WorkerPool::Time::max();
  bool stopped_ = false;
};

}  // namespace ray_engine
