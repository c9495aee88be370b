// HeadService: what the head does for the whole session.
//
// Turns messages into events of the scheduler and the actor directory, and their actions into messages; keeps the jobs
// and the key-value table; passes worker output on to the driver of the job. Which nodes there are is the membership's
// to know.
//
// Loop-bound (head loop).

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/node/gather.h"
#include "engine/node/job_cache.h"
#include "engine/node/kv_table.h"
#include "engine/node/loop.h"
#include "engine/node/router.h"
#include "scheduler/actor_directory.h"
#include "scheduler/scheduler.h"

namespace ray_engine {

class HeadService {
 public:
  // Registers its messages at the router. The pointers must outlive this.
  HeadService(Loop* loop, Router* router);

  void OnNodeJoined(const NodeInfo& node);
  void OnNodeLost(std::uint32_t node, const std::string& reason);
  void OnProcessGone(ProcessId process, const std::string& cause);
  // A driver has started a job.
  void OnJobStarted(std::function<void(const JobId&, ProcessId driver)> listener) {
    on_job_started_ = std::move(listener);
  }

  void OnLost(std::function<void(std::uint32_t node)> listener) { on_lost_ = std::move(listener); }

  // Those that run, and those that have ended.
  std::vector<JobSummary> Jobs() const;
  const Scheduler& scheduler() const { return scheduler_; }
  const ActorDirectory& actors() const { return actors_; }

 private:
  using Time = std::chrono::nanoseconds;

  void RegisterLeases();
  void RegisterActors();
  void RegisterGroups();
  void RegisterTables();
  void RegisterOutput();
  void HandleFlush(ProcessId driver, const FlushOutput& flush);
  void HandleGroupCreate(ProcessId from, const GroupCreate& create);
  void HandleJobStart(ProcessId from, const JobStart& start);
  void HandleDriverLine(const DriverLine& line);
  void EndJobsOf(const std::function<bool(ProcessId driver)>& gone);
  void ReportLostActor(ProcessId process, const std::string& cause);

  void Perform(const Scheduler::Actions& actions);
  void Perform(const ActorDirectory::Actions& actions);
  void Do(const Scheduler::Send& send);
  void Do(const Scheduler::Warn& warn);
  void Do(const Scheduler::PlacementLost& lost);
  void Do(const ActorDirectory::Send& send);
  void Do(const ActorDirectory::Place& place);
  void Do(const ActorDirectory::Hold& hold);
  void Do(const ActorDirectory::EndLease& end);
  void ScheduleTick();
  void Tick();
  Time Now() const { return loop_->Now(); }

  Loop* loop_;
  Router* router_;
  Scheduler scheduler_;
  ActorDirectory actors_;
  KvTable kv_;
  std::map<JobId, JobInfo> jobs_;
  std::map<JobId, JobSummary> summaries_;
  std::uint32_t last_job_ = 0;
  std::function<void(const JobId&, ProcessId)> on_job_started_ = [](const JobId&, ProcessId) {};
  std::function<void(std::uint32_t)> on_lost_ = [](std::uint32_t) {};
  Time tick_at_ = Time::max();
  Gather<NodeFlushed> flushed_;
};

}  // namespace ray_engine
