#include "engine/node/worker_pool.h"

#include <algorithm>

namespace ray_engine {

WorkerPool::Actions WorkerPool::OnForkserverUp(std::uint32_t forkserver, double num_cpus) {
  forkservers_[forkserver] = {num_cpus, 0};
  Actions actions;
  ForkWhereNeeded(&actions);
  return actions;
}

void WorkerPool::OnForkserverGone(std::uint32_t forkserver) { forkservers_.erase(forkserver); }

WorkerPool::Actions WorkerPool::Prestart(const WorkerKey& key) {
  Actions actions;
  Group& group = groups_[key];
  if (group.starting > 0 || !group.idle.empty() || NumCpus() == 0) return actions;
  group.prestarts = true;
  ForkFor(key, &group, &actions);
  return actions;
}

// One at a time, so that it hardly slows down what the program does meanwhile.
void WorkerPool::ForkAhead(const WorkerKey& key, Group* group, Actions* actions) {
  if (!group->prestarts || group->starting > 0) return;
  group->prestarts = workers_.size() < KeepIdle() && !ended_jobs_.contains(key.job);
  if (group->prestarts) ForkFor(key, group, actions);
}

WorkerPool::Actions WorkerPool::OnStartLease(const StartLease& lease) {
  Actions actions;
  Group& group = groups_[KeyOf(lease)];
  const auto suits = [&](std::uint32_t serial) { return Suits(workers_[serial], lease); };
  const auto idle = std::find_if(group.idle.rbegin(), group.idle.rend(), suits);
  if (idle == group.idle.rend()) {
    group.waiting.push_back(lease);
    ForkWhereNeeded(&actions);
    return actions;
  }
  const std::uint32_t serial = *idle;
  group.idle.erase(std::next(idle).base());
  --idle_;
  GiveLease(lease, serial, &actions);
  return actions;
}

// The head takes leases for actors alone.
bool WorkerPool::Suits(const Worker& worker, const StartLease& lease) {
  return !worker.has_run || lease.client != kHead;
}

void WorkerPool::GiveLease(const StartLease& lease, std::uint32_t serial, Actions* actions) {
  Worker& worker = workers_[serial];
  worker.state = State::kLeased;
  worker.lease = lease.lease;
  by_lease_[lease.lease] = serial;
  actions->push_back(Grant{lease, serial});
}

WorkerPool::Actions WorkerPool::OnLeaseReturn(LeaseId lease, bool retire, Time now) {
  Actions actions;
  const auto it = by_lease_.find(lease);
  if (it == by_lease_.end()) {
    DropWaiting(lease, &actions);
    return actions;
  }
  const std::uint32_t serial = it->second;
  Worker& worker = workers_[serial];
  if (!retire || worker.key.units.empty()) EndLease(&worker, &actions);
  if (!retire) {
    worker.has_run = true;
    MakeIdle(serial, &worker, now, &actions);
    return actions;
  }
  worker.retired = true;
  worker.state = State::kLeaving;
  worker.idle_since = now;
  actions.push_back(AskToEnd{serial});
  return actions;
}

void WorkerPool::EndLease(Worker* worker, Actions* actions) {
  if (worker->lease == LeaseId::kNone) return;
  by_lease_.erase(worker->lease);
  actions->push_back(End{worker->lease, "", true});
  worker->lease = LeaseId::kNone;
}

bool WorkerPool::DropWaiting(LeaseId lease, Actions* actions) {
  for (auto& [key, group] : groups_) {
    const auto it = std::find_if(group.waiting.begin(), group.waiting.end(),
                                 [lease](const StartLease& waiting) { return waiting.lease == lease; });
    if (it == group.waiting.end()) continue;
    group.waiting.erase(it);
    actions->push_back(End{lease, "", false});
    return true;
  }
  return false;
}

WorkerPool::Actions WorkerPool::OnKillWorker(LeaseId lease, const std::string& reason) {
  Actions actions;
  const auto it = by_lease_.find(lease);
  if (it != by_lease_.end()) {
    actions.push_back(Kill{it->second, reason});
  } else {
    DropWaiting(lease, &actions);
  }
  return actions;
}

WorkerPool::Actions WorkerPool::OnWorkerReady(std::uint32_t serial, Time now) {
  Actions actions;
  const auto it = workers_.find(serial);
  if (it == workers_.end()) return actions;
  Worker& worker = it->second;
  if (worker.state == State::kStarting) {
    Group& group = groups_[worker.key];
    --group.starting;
    --starting_;
    group.failures = 0;
    const WorkerKey key = worker.key;
    MakeIdle(serial, &worker, now, &actions);
    ForkWhereNeeded(&actions);
    ForkAhead(key, &group, &actions);
  } else if (worker.state == State::kLeaving && (worker.retired || ended_jobs_.contains(worker.key.job))) {
    EndLease(&worker, &actions);
    worker.state = State::kStaying;
    worker.idle_since = now;
  } else if (worker.state == State::kLeaving) {
    MakeIdle(serial, &worker, now, &actions);
  }
  return actions;
}

void WorkerPool::MakeIdle(std::uint32_t serial, Worker* worker, Time now, Actions* actions) {
  Group& group = groups_[worker->key];
  worker->idle_since = now;
  const auto waiting = std::find_if(group.waiting.begin(), group.waiting.end(),
                                    [worker](const StartLease& lease) { return Suits(*worker, lease); });
  if (waiting != group.waiting.end()) {
    const StartLease lease = *waiting;
    group.waiting.erase(waiting);
    GiveLease(lease, serial, actions);
    return;
  }
  worker->state = State::kIdle;
  group.idle.push_back(serial);
  ++idle_;
  if (ended_jobs_.contains(worker->key.job)) AskIdleToEnd(serial, worker, actions);
}

WorkerPool::Actions WorkerPool::OnWorkerGone(std::uint32_t serial, const std::string& cause, bool killed) {
  Actions actions;
  const auto it = workers_.find(serial);
  if (it == workers_.end()) return actions;
  EndLease(&it->second, &actions);
  const Worker worker = it->second;
  workers_.erase(it);
  const auto server = forkservers_.find(worker.forkserver);
  const bool has_forkserver = server != forkservers_.end();
  if (has_forkserver) --server->second.workers;
  Group& group = groups_[worker.key];
  if (worker.state == State::kIdle) {
    group.idle.erase(std::find(group.idle.begin(), group.idle.end(), serial));
    --idle_;
  } else if (worker.state == State::kStarting) {
    --group.starting;
    --starting_;
    if (has_forkserver) StartFailed(worker.key, cause, killed, &actions);
  }
  ForkWhereNeeded(&actions);
  return actions;
}

void WorkerPool::StartFailed(const WorkerKey& key, const std::string& cause, bool killed, Actions* actions) {
  Group& group = groups_[key];
  group.failures += killed ? 1 : kKillsPerFailure;
  if (group.failures < limits_.max_start_failures * kKillsPerFailure) return;
  group.failures = 0;
  for (Action& end : FailWaiting(key, "no worker could be started: " + cause)) actions->push_back(std::move(end));
}

WorkerPool::Actions WorkerPool::FailWaiting(const WorkerKey& key, const std::string& error) {
  Actions actions;
  for (const StartLease& lease : groups_[key].waiting) actions.push_back(End{lease.lease, error, false});
  groups_[key].waiting.clear();
  return actions;
}

WorkerPool::Actions WorkerPool::OnJobEnded(const JobId& job) {
  Actions actions;
  ended_jobs_.insert(job);
  for (auto& [key, group] : groups_) {
    if (key.job != job) continue;
    for (const StartLease& lease : group.waiting) actions.push_back(End{lease.lease, "", false});
    group.waiting.clear();
    while (!group.idle.empty()) AskIdleToEnd(group.idle.front(), &workers_[group.idle.front()], &actions);
  }
  return actions;
}

void WorkerPool::AskIdleToEnd(std::uint32_t serial, Worker* worker, Actions* actions) {
  Group& group = groups_[worker->key];
  group.idle.erase(std::find(group.idle.begin(), group.idle.end(), serial));
  --idle_;
  worker->state = State::kLeaving;
  actions->push_back(AskToEnd{serial});
}

void WorkerPool::ForkWhereNeeded(Actions* actions) {
  for (auto& [key, group] : groups_) {
    while (group.starting < group.waiting.size() && starting_ < MaxStarting() && !forkservers_.empty()) {
      ForkFor(key, &group, actions);
    }
  }
}

void WorkerPool::ForkFor(const WorkerKey& key, Group* group, Actions* actions) {
  const std::optional<std::uint32_t> forkserver = LeastLoaded();
  if (!forkserver) return;
  const std::uint32_t serial = new_serial_(key);
  if (serial == 0) {
    for (const StartLease& lease : group->waiting)
      actions->push_back(End{lease.lease, "the node has no room for more processes", false});
    group->waiting.clear();
    return;
  }
  Worker& worker = workers_[serial];
  worker.key = key;
  worker.forkserver = *forkserver;
  ++forkservers_[*forkserver].workers;
  ++group->starting;
  ++starting_;
  actions->push_back(Fork{serial, *forkserver, key});
}

std::optional<std::uint32_t> WorkerPool::LeastLoaded() const {
  const auto load = [](const auto& entry) { return (entry.second.workers + 1) / std::max(entry.second.num_cpus, 0.1); };
  const auto least = std::min_element(forkservers_.begin(), forkservers_.end(),
                                      [&](const auto& a, const auto& b) { return load(a) < load(b); });
  if (least == forkservers_.end()) return std::nullopt;
  return least->first;
}

double WorkerPool::NumCpus() const {
  double num_cpus = 0;
  for (const auto& [id, forkserver] : forkservers_) num_cpus += forkserver.num_cpus;
  return num_cpus;
}

std::uint32_t WorkerPool::KeepIdle() const {
  return NumCpus() > 0 ? std::max(1u, static_cast<std::uint32_t>(NumCpus())) : 0;
}

WorkerPool::Actions WorkerPool::OnTick(Time now) {
  Actions actions;
  std::vector<std::pair<Time, std::uint32_t>> idle, late;
  for (auto& [serial, worker] : workers_) {
    const auto due = DueAt(worker);
    if (worker.state == State::kIdle) {
      idle.emplace_back(worker.idle_since, serial);
    } else if (due && now >= *due) {
      late.emplace_back(worker.idle_since, serial);
    }
  }
  std::sort(idle.begin(), idle.end());  // both: repeatable
  std::sort(late.begin(), late.end());
  for (const auto& [since, serial] : late) {
    Worker& worker = workers_[serial];
    worker.state == State::kStaying ? actions.push_back(AskToEnd{serial})
                                    : actions.push_back(Kill{serial, "it did not end when it was asked to"});
    worker.state = State::kLeaving;
    worker.idle_since = now;
  }
  for (const auto& [since, serial] : idle) {
    if (idle_ <= KeepIdle() || now - since < limits_.idle_timeout) break;
    AskIdleToEnd(serial, &workers_[serial], &actions);
  }
  return actions;
}

std::optional<WorkerPool::Time> WorkerPool::NextTick() const {
  std::optional<Time> next;
  for (const auto& [serial, worker] : workers_) {
    const std::optional<Time> due = DueAt(worker);
    if (due && (!next || *due < *next)) next = due;
  }
  return next;
}

std::optional<WorkerPool::Time> WorkerPool::DueAt(const Worker& worker) const {
  const bool waited_for = worker.state == State::kLeaving && worker.lease != LeaseId::kNone;
  if (waited_for) return worker.idle_since + limits_.end_timeout;
  const bool too_many = worker.state == State::kIdle && idle_ > KeepIdle();
  if (too_many || worker.state == State::kStaying) return worker.idle_since + limits_.idle_timeout;
  return std::nullopt;
}

WorkerPool::Statistics WorkerPool::Stats() const {
  Statistics stats;
  for (const auto& [serial, worker] : workers_) {
    stats.starting += worker.state == State::kStarting;
    stats.idle += worker.state == State::kIdle;
    stats.leased += worker.state == State::kLeased;
    stats.leaving += worker.state == State::kLeaving || worker.state == State::kStaying;
  }
  for (const auto& [key, group] : groups_) stats.waiting += group.waiting.size();
  return stats;
}

}  // namespace ray_engine
