// WorkerService: carries out what the worker pool decides.
//
// Talks to the forkservers of this node (one per rank), turns lease messages into events of the pool and the pool's
// actions into packets and messages. A worker's death is what its forkserver says; its sockets are only a lifeline for
// the worker.
//
// Loop-bound.

#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/node/control_channel.h"
#include "engine/node/gather.h"
#include "engine/node/job_cache.h"
#include "engine/node/processes.h"
#include "engine/node/worker_pool.h"

namespace ray_engine {

class WorkerService {
 public:
  // Registers its messages at the router. All pointers must outlive this.
  WorkerService(EventLoop* loop, Router* router, Processes* processes, JobCache* jobs, const NodeConfig* config);

  void AddForkserver(ControlSocket socket, double num_cpus);
  // The job has started here: its first worker is forked before somebody asks.
  void Prestart(const JobId& job) { Perform(pool_.Prestart({job, {}, {}})); }
  void OnOutput(std::function<void(const Output&)> listener) { on_output_ = std::move(listener); }

  // No effect on a process that is no worker.
  void KillProcess(std::uint32_t serial, const std::string& reason) { Do(WorkerPool::Kill{serial, reason}); }
  // Calls `done` once the output that workers have written so far has been passed on.
  void FlushOutput(std::function<void()> done);
  // Tells all workers to end, and kills those that are still there after a moment.
  void EndAll(const std::string& reason);
  bool AllEnded() const { return sockets_.empty(); }

  WorkerPool::Statistics Stats() const { return pool_.Stats(); }

 private:
  void Perform(const WorkerPool::Actions& actions);
  void Do(const WorkerPool::Fork& fork);
  void Do(const WorkerPool::Grant& grant);
  void Do(const WorkerPool::End& end);
  void Do(const WorkerPool::AskToEnd& ask);
  void Do(const WorkerPool::Kill& kill);

  std::uint32_t NewWorker(const WorkerKey& key);
  void SendFork(const WorkerPool::Fork& fork, const JobInfo& job);
  void HandlePacket(std::uint32_t forkserver, ControlPacket& packet);
  void HandleExited(const Exited& exited);
  void HandleForkserverGone(std::uint32_t forkserver);
  void HandleEnded(const Process& process, const std::string& cause);
  void KillAll();
  void ScheduleTick();
  static WorkerPool::Time Now();

  EventLoop* loop_;
  Router* router_;
  Processes* processes_;
  JobCache* jobs_;
  const NodeConfig* config_;
  WorkerPool pool_;
  absl::btree_map<std::uint32_t, std::unique_ptr<ControlChannel>> forkservers_;
  std::uint32_t next_forkserver_ = 1;
  absl::btree_set<std::uint32_t> used_;  // forkservers that have been asked for a worker; others may not run yet
  absl::btree_map<std::uint32_t, ControlSocket> sockets_;  // the engine's ends, by serial of the worker
  std::function<void(const Output&)> on_output_ = [](const Output&) {};
  Gather<Flushed, std::uint32_t> flushed_;  // by forkserver
  WorkerPool::Time tick_at_ = WorkerPool::Time::max();
  bool ending_ = false;
};

}  // namespace ray_engine
