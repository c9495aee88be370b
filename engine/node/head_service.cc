#include "engine/node/head_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "engine/wire/error_report.h"

namespace ray_engine {
namespace {

JobId MakeJobId(std::uint32_t number) {  // the first is 01000000
  JobId job;
  std::memcpy(job.data(), &number, sizeof number);
  return job;
}

std::int64_t WallMs() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

HeadService::HeadService(Loop* loop, Router* router) : loop_(loop), router_(router) {
  RegisterLeases();
  RegisterActors();
  RegisterGroups();
  RegisterTables();
  RegisterOutput();
}

void HeadService::RegisterLeases() {
  router_->On<LeaseDemand>(
      [this](ProcessId from, const LeaseDemand& m) { Perform(scheduler_.OnDemand(from, m, Now())); });
  router_->On<LeaseEnded>([this](ProcessId, const LeaseEnded& m) { Perform(scheduler_.OnLeaseEnded(m, Now())); });
  router_->On<Blocked>([this](ProcessId, const Blocked& m) { Perform(scheduler_.OnBlocked(m.lease, Now())); });
  router_->On<Unblocked>([this](ProcessId, const Unblocked& m) { Perform(scheduler_.OnUnblocked(m.lease, Now())); });
  router_->On<LeaseGrant>([this](ProcessId, const LeaseGrant& m) { Perform(actors_.OnPlaced(m)); });
  router_->On<LeaseFailed>([this](ProcessId, const LeaseFailed& m) { Perform(actors_.OnPlacementFailed(m)); });
}

void HeadService::RegisterActors() {
  router_->On<ActorCreate>([this](ProcessId from, const ActorCreate& m) { Perform(actors_.OnCreate(m, from)); });
  router_->On<ActorReady>([this](ProcessId, const ActorReady& m) { Perform(actors_.OnReady(m)); });
  router_->On<ActorArgs>([this](ProcessId, const ActorArgs& m) { Perform(actors_.OnArgs(m)); });
  router_->On<ActorWatch>([this](ProcessId from, const ActorWatch& m) { Perform(actors_.OnWatch(from, m, Now())); });
  router_->On<ActorKill>([this](ProcessId, const ActorKill& m) { Perform(actors_.OnKill(m, Now())); });
  router_->On<ActorOutOfScope>([this](ProcessId, const ActorOutOfScope& m) { Perform(actors_.OnOutOfScope(m)); });
  router_->On<ActorRestart>([this](ProcessId, const ActorRestart& m) { Perform(actors_.OnRestart(m)); });
  router_->On<ActorLookup>([this](ProcessId from, const ActorLookup& m) { Perform(actors_.OnLookup(from, m)); });
}

void HeadService::RegisterGroups() {
  router_->On<GroupCreate>([this](ProcessId from, const GroupCreate& m) { HandleGroupCreate(from, m); });
  router_->On<GroupRemove>([this](ProcessId, const GroupRemove& m) { Perform(scheduler_.OnGroupRemove(m.id, Now())); });
  router_->On<GroupQuery>([this](ProcessId from, const GroupQuery& query) {
    router_->Send(from, GroupReply{query.token, scheduler_.Groups(query)}, true);
  });
}

void HeadService::HandleGroupCreate(ProcessId from, const GroupCreate& create) {
  Scheduler::Actions actions;
  GroupCreated created{create.token, ""};
  if (!scheduler_.OnGroupCreate(create.spec, from, Now(), &actions)) {
    created.error = "a placement group of that name exists: " + create.spec.name;
  }
  if (create.token != 0) router_->Send(from, created, true);
  Perform(actions);
}

void HeadService::RegisterTables() {
  router_->On<KvRequest>([this](ProcessId from, const KvRequest& request) {
    const KvReply reply = kv_.Apply(request);
    if (request.token != 0) router_->Send(from, reply, true);
  });
  router_->On<ClusterRequest>([this](ProcessId from, const ClusterRequest& request) {
    router_->Send(from, ClusterReply{request.token, scheduler_.cluster().nodes()}, true);
  });
  router_->On<JobStart>([this](ProcessId from, const JobStart& start) { HandleJobStart(from, start); });
}

void HeadService::RegisterOutput() {
  router_->On<DriverLine>([this](ProcessId, const DriverLine& line) { HandleDriverLine(line); });
  router_->On<FlushOutput>([this](ProcessId from, const FlushOutput& flush) { HandleFlush(from, flush); });
  router_->On<NodeFlushed>(
      [this](ProcessId from, const NodeFlushed& flushed) { flushed_.OnAnswer(flushed.round, from, flushed); });
}

void HeadService::HandleFlush(ProcessId driver, const FlushOutput& flush) {
  const absl::btree_set<ProcessId> engines = scheduler_.cluster().Engines();
  const auto done = [this, driver, flush](const std::vector<NodeFlushed>&) {
    router_->Send(driver, OutputFlushed{flush.token}, true);
  };
  const std::uint64_t round = flushed_.Begin(engines, done);
  for (const ProcessId engine : engines) router_->Send(engine, FlushNode{round});
}

void HeadService::HandleJobStart(ProcessId from, const JobStart& start) {
  const JobId job = MakeJobId(++last_job_);
  const JobInfo info{from, start.config, start.log_to_driver};
  jobs_[job] = info;
  summaries_[job] = {job, start.entrypoint, start.name_space, from, start.pid, WallMs(), 0};
  KvRequest put;
  put.op = KvRequest::kPut;
  put.name_space = kJobNameSpace;
  put.key = std::string(job.Binary());
  put.value = Encode(info);
  kv_.Apply(put);
  router_->Send(from, JobStarted{start.token, job}, true);
  on_job_started_(job, from);
}

void HeadService::HandleDriverLine(const DriverLine& line) {
  const auto job = jobs_.find(line.job);
  if (job == jobs_.end() || summaries_.at(line.job).ended_ms != 0) return;
  if (job->second.log_to_driver || !line.kind.empty()) router_->Send(job->second.driver, line, true);
}

std::vector<JobSummary> HeadService::Jobs() const {
  std::vector<JobSummary> jobs;
  for (const auto& [id, summary] : summaries_) jobs.push_back(summary);
  return jobs;
}

void HeadService::OnNodeJoined(const NodeInfo& node) { Perform(scheduler_.OnNodeJoined(node, Now())); }

void HeadService::OnNodeLost(std::uint32_t node, const std::string& reason) {
  Perform(scheduler_.OnNodeLost(node, reason, Now()));
  Perform(actors_.OnNodeLost(node, reason));
  EndJobsOf([node](ProcessId driver) { return driver.node == node; });
  flushed_.OnGone(ProcessId{node, 0});
  on_lost_(node);
}

void HeadService::OnProcessGone(ProcessId process, const std::string& cause) {
  ReportLostActor(process, cause);
  Perform(actors_.OnProcessGone(process, cause));
  Perform(scheduler_.OnClientGone(process, cause, Now()));
  EndJobsOf([process](ProcessId driver) { return driver == process; });
}

void HeadService::EndJobsOf(const std::function<bool(ProcessId driver)>& gone) {
  for (auto& [id, job] : jobs_) {
    JobSummary& summary = summaries_.at(id);
    if (summary.ended_ms != 0 || !gone(job.driver)) continue;
    job.log_to_driver = false;
    summary.ended_ms = WallMs();
    Perform(scheduler_.OnJobEnded(id, Now()));
  }
}

// An actor that ended as it was meant to has left its process before that ends.
void HeadService::ReportLostActor(ProcessId process, const std::string& cause) {
  const ActorSpec* actor = actors_.RunningIn(process);
  if (actor == nullptr) return;
  const std::string text = fmt::format("A worker died or was killed while executing the actor {} ({}): {}.",
                                       actor->class_name, actor->actor.Hex(), cause);
  HandleDriverLine(ErrorReport(actor->placement.job, kWorkerDied, text));
}

void HeadService::Perform(const Scheduler::Actions& actions) {
  for (const Scheduler::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  ScheduleTick();
}

void HeadService::Perform(const ActorDirectory::Actions& actions) {
  for (const ActorDirectory::Action& action : actions) std::visit([this](const auto& one) { Do(one); }, action);
  ScheduleTick();
}

void HeadService::Do(const Scheduler::Send& send) {
  std::visit([&](const auto& message) { router_->Send(send.to, message, true); }, send.message);
}

void HeadService::Do(const Scheduler::Warn& warn) {
  HandleDriverLine(DriverLine{warn.job, true, "(scheduler)", warn.text + "\n", ""});
}

void HeadService::Do(const Scheduler::PlacementLost& lost) { Perform(actors_.OnPlacementLost(lost.key)); }

void HeadService::Do(const ActorDirectory::Send& send) {
  std::visit([&](const auto& message) { router_->Send(send.to, message, true); }, send.message);
}

void HeadService::Do(const ActorDirectory::Place& place) { Perform(scheduler_.OnDemand(kHead, place.demand, Now())); }

void HeadService::Do(const ActorDirectory::Hold& hold) { Perform(scheduler_.SetHeld(hold.lease, hold.held, Now())); }

void HeadService::Do(const ActorDirectory::EndLease& end) {
  switch (end.ending) {
    case ActorDirectory::Ending::kReturn:
      router_->Send(end.worker.Engine(), LeaseReturn{end.lease});
      break;
    case ActorDirectory::Ending::kExit:
      router_->Send(end.worker, ActorKill{{}, true, end.reason, true}, true);
      break;
    case ActorDirectory::Ending::kKill:
      router_->Send(end.worker.Engine(), KillWorker{end.lease, end.reason});
      break;
  }
}

void HeadService::ScheduleTick() {
  Time due = scheduler_.NextTick().value_or(Time::max());
  due = std::min(due, Time(actors_.NextTick().value_or(Time::max())));
  if (due >= tick_at_) return;
  tick_at_ = due;
  loop_->After(std::max(due - Now(), Time(0)), [this, due] {
    if (due == tick_at_) Tick();
  });
}

void HeadService::Tick() {
  tick_at_ = Time::max();
  Perform(scheduler_.OnTick(Now()));
  Perform(actors_.OnTick(Now()));
}

}  // namespace ray_engine
