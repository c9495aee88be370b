// Forkservers: the processes that fork this node's workers, one per rank.
//
// A worker's death is what its forkserver says; its socket is only a lifeline for the worker.
//
// Owns their channels, and the engine's ends of the workers' sockets. Loop-bound.

#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/node/control_channel.h"
#include "engine/node/gather.h"
#include "engine/node/welcomes.h"
#include "engine/node/worker_service.h"

namespace ray_engine {

class Forkservers : public WorkerStarter {
 public:
  // The pointers must outlive this.
  Forkservers(EventLoop* loop, Router* router, const Welcomes* welcomes, const NodeConfig* config)
      : loop_(loop), router_(router), welcomes_(welcomes), config_(config) {}
  // REQUIRES: before everything else.
  void Connect(WorkerService* workers, Processes* processes);

  void Add(ControlSocket socket, double num_cpus);
  void OnOutput(std::function<void(const Output&)> listener) { on_output_ = std::move(listener); }

  absl::Status Start(const Process& process, const WorkerPool::Fork& fork, const JobInfo& job) override;
  void Kill(const Process& process) override;

  // Calls `done` once the output that workers have written so far has been passed on.
  void FlushOutput(std::function<void()> done);
  // Tells all workers to end, and kills those that are still there after a moment.
  void EndAll(const std::string& reason);
  bool AllEnded() const { return sockets_.empty(); }

 private:
  void HandlePacket(std::uint32_t forkserver, ControlPacket& packet);
  void HandleGone(std::uint32_t forkserver);
  void KillAll();

  EventLoop* loop_;
  Router* router_;
  const Welcomes* welcomes_;
  const NodeConfig* config_;
  WorkerService* workers_ = nullptr;
  bool ending_ = false;
  absl::btree_map<std::uint32_t, std::unique_ptr<ControlChannel>> forkservers_;
  std::uint32_t next_forkserver_ = 1;
  absl::btree_set<std::uint32_t> used_;  // those that have been asked for a worker; others may not run yet
  absl::btree_map<std::uint32_t, ControlSocket> sockets_;  // the engine's ends, by serial of the worker
  std::function<void(const Output&)> on_output_ = [](const Output&) {};
  Gather<Flushed, std::uint32_t> flushed_;  // by forkserver
};

}  // namespace ray_engine
