#include "engine/node/node_state.h"

#include <fstream>
#include <string>
#include <utility>

namespace ray_engine {
namespace {

WorkerInfo::Exit ExitOf(const Process& process) {
  if (!process.kill_reason.empty()) return WorkerInfo::kBySystem;
  return process.status == 0 ? WorkerInfo::kByUser : WorkerInfo::kError;
}

// 0 if there is no such process.
std::uint64_t PageTableBytes(const std::string& process) {
  std::ifstream status("/proc/" + process + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmPTE:", 0) == 0) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace

NodeState::NodeState(Router* router, Processes* processes, const StoreService* store, const FabricLink* fabric,
                     const ProcessLinks* links, const NodeConfig* config)
    : router_(router), processes_(processes), store_(store), fabric_(fabric), links_(links), config_(config) {
  router_->On<StateCollect>([this](ProcessId, const StateCollect& collect) { HandleCollect(collect); });
  router_->On<StateReport>(
      [this](ProcessId from, const StateReport& report) { reports_.OnAnswer(report.round, from, report.rows); });
  processes_->OnEnded(
      [this](const Process& process, const std::string&) { reports_.OnGone(processes_->IdOf(process.serial)); });
}

void NodeState::HandleCollect(const StateCollect& collect) {
  StateCollected collected{collect.round, {}};
  if (collect.kind == StateKind::kWorkers) {
    collected.rows.workers = Workers();
  } else if (collect.kind == StateKind::kStores) {
    collected.rows.stores.push_back(DescribeStore());
  } else if (collect.kind == StateKind::kSpilled) {
    collected.rows.spilled = store_->Spilled();
  } else {
    return AskProcesses(collect);
  }
  router_->Send(kHead, collected, true);
}

StoreInfo NodeState::DescribeStore() const {
  StoreInfo info = store_->Describe();
  info.node = config_->info.id;
  info.network = fabric_->Stats();
  info.links = links_->segment().Stats().links;  // pairs of rings
  info.page_tables = PageTableBytes("self");
  for (const auto& [serial, process] : processes_->table().living()) {
    if (process.pid == 0) continue;
    info.page_tables += PageTableBytes(std::to_string(process.pid));
    ++info.processes;
  }
  return info;
}

void NodeState::AskProcesses(const StateCollect& collect) {
  absl::btree_set<ProcessId> asked;
  for (const auto& [serial, process] : processes_->table().living()) {
    if (process.ready) asked.insert(processes_->IdOf(serial));
  }
  const auto done = [this, round = collect.round](std::vector<StateRows> reports) {
    StateCollected collected{round, {}};
    for (StateRows& rows : reports) collected.rows.Append(std::move(rows));
    router_->Send(kHead, collected, true);
  };
  const std::uint64_t round = reports_.Begin(asked, done);
  for (const ProcessId process : asked) router_->Send(process, StateQuery{round, collect.kind}, true);
}

std::vector<WorkerInfo> NodeState::Workers() const {
  std::vector<WorkerInfo> workers;
  for (const auto& [serial, process] : processes_->table().living()) {
    if (process.ready) workers.push_back(Describe(process));
  }
  for (const auto& [serial, dead] : processes_->table().dead()) {
    WorkerInfo& worker = workers.emplace_back(Describe(dead.process));
    worker.alive = false;
    worker.exit = ExitOf(dead.process);
    worker.cause = dead.cause;
  }
  return workers;
}

WorkerInfo NodeState::Describe(const Process& process) const {
  WorkerInfo info;
  info.process = processes_->IdOf(process.serial);
  info.worker = process.worker;
  info.node = config_->info.id;
  info.job = process.job;
  info.pid = process.pid;
  info.driver = process.kind == Process::kDriver;
  info.alive = true;
  return info;
}

}  // namespace ray_engine
