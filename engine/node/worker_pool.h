// WorkerPool: which worker serves which lease, when to fork one and when to let one go.
//
// Workers are shared only inside one (job, environment). One that was given units of accelerators serves leases with
// the same units only: what it has set up on them cannot move. A lease takes an idle worker, else it waits, in order,
// for one that is forked for it by the forkserver with the lowest load for its CPUs. As many idle workers as the node
// has CPUs are kept for the next lease; the others are asked to end after idle_timeout, and one that stays (it owns
// something) says so by Ready. One that is retired serves nobody while it stays, and is asked again; if it has units,
// its lease ends when it does, as only then what it has put on them is gone, or when it says that it stays. Workers
// that die before they are ready are tried again max_start_failures times, then the leases that wait for them end with
// the reason. A kill from outside says little about the next one's chances: as many as kKillsPerFailure count as one.
//
// Pure state machine: events and the time in, actions out; no I/O. Loop-bound.

#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "engine/wire/messages.h"

namespace ray_engine {

struct WorkerKey {
  JobId job;
  std::vector<std::pair<std::string, std::string>> environment;
  AssignedUnits units;
  auto Tie() const { return std::tie(job, environment, units); }
  friend bool operator<(const WorkerKey& a, const WorkerKey& b) { return a.Tie() < b.Tie(); }
  friend bool operator==(const WorkerKey& a, const WorkerKey& b) { return a.Tie() == b.Tie(); }
};

class WorkerPool {
 public:
  using Time = std::chrono::nanoseconds;  // since an arbitrary start

  static constexpr std::uint32_t kKillsPerFailure = 16;

  struct Limits {
    std::uint32_t max_starting = 4;        // forked and not ready yet; more on a node with more than two CPUs
    std::uint32_t max_start_failures = 3;  // in a row
    Time idle_timeout = std::chrono::seconds(1);
    Time end_timeout = std::chrono::seconds(10);  // of a worker whose lease waits for its end; then it is killed
  };

  struct Fork {
    std::uint32_t serial = 0, forkserver = 0;
    WorkerKey key;
  };
  struct Grant {  // LeaseGrant to the client
    StartLease lease;
    std::uint32_t serial = 0;
  };
  struct End {  // LeaseEnded to the head
    LeaseId lease{};
    std::string error;
    bool granted = false;  // there was a Grant
  };
  struct AskToEnd {  // Shutdown to an idle worker
    std::uint32_t serial = 0;
  };
  struct Kill {
    std::uint32_t serial = 0;
    std::string reason;
  };
  using Action = std::variant<Fork, Grant, End, AskToEnd, Kill>;
  using Actions = std::vector<Action>;

  // `new_serial` names the next worker; 0: there is no room for one.
  WorkerPool(Limits limits, std::function<std::uint32_t(const WorkerKey&)> new_serial)
      : limits_(limits), new_serial_(std::move(new_serial)) {}

  Actions OnForkserverUp(std::uint32_t forkserver, double num_cpus);
  // Its workers are gone or going: OnWorkerGone follows for each. Leases wait for another forkserver, or for the end of
  // the node: its supervisor ends it, and the head then gives them elsewhere.
  void OnForkserverGone(std::uint32_t forkserver);

  // Forks a worker now if the key has none, so that the first lease finds one; then, one after the other, more, until
  // the node has a worker for each CPU. Not on a node without CPUs.
  Actions Prestart(const WorkerKey& key);
  Actions OnStartLease(const StartLease& lease);
  // `retire`: the worker is not to be used again.
  Actions OnLeaseReturn(LeaseId lease, bool retire, Time now);
  Actions OnKillWorker(LeaseId lease, const std::string& reason);
  // A new worker is there, or one that was asked to end stays.
  Actions OnWorkerReady(std::uint32_t serial, Time now);
  // `killed`: by SIGKILL.
  Actions OnWorkerGone(std::uint32_t serial, const std::string& cause, bool killed = false);
  // Leases of the key that wait cannot be served.
  Actions FailWaiting(const WorkerKey& key, const std::string& error);
  // The driver has ended: idle workers of the job are of no use, now and later, and leases that wait are void.
  Actions OnJobEnded(const JobId& job);

  Actions OnTick(Time now);
  // When OnTick is due; none while nobody is to be asked to end, and no end is waited for.
  std::optional<Time> NextTick() const;

  struct Statistics {
    std::size_t starting = 0, idle = 0, leased = 0, leaving = 0, waiting = 0;
  };
  Statistics Stats() const;

 private:
  // kStaying: retired, asked to end in vain.
  enum class State : std::uint8_t { kStarting, kIdle, kLeased, kLeaving, kStaying };
  struct Worker {
    State state = State::kStarting;
    WorkerKey key;
    std::uint32_t forkserver = 0;
    bool retired = false;
    bool has_run = false;  // tasks; what it owns outlives them, so no actor gets it, with whose end it would end
    LeaseId lease{};
    Time idle_since{};  // or since it was retired, or has said that it stays
  };
  struct Group {  // of one key
    std::deque<StartLease> waiting;
    std::deque<std::uint32_t> idle;  // the one used last is at the back and is taken first
    std::uint32_t starting = 0;
    std::uint32_t failures = 0;  // in a row, in parts of 1 / kKillsPerFailure
    bool prestarts = false;
  };
  struct Forkserver {
    double num_cpus = 1;
    std::uint32_t workers = 0;
  };

  static bool Suits(const Worker& worker, const StartLease& lease);
  void ForkWhereNeeded(Actions* actions);
  void ForkAhead(const WorkerKey& key, Group* group, Actions* actions);
  void ForkFor(const WorkerKey& key, Group* group, Actions* actions);
  std::optional<std::uint32_t> LeastLoaded() const;
  double NumCpus() const;
  std::uint32_t KeepIdle() const;
  // When something is to be done about the worker.
  std::optional<Time> DueAt(const Worker& worker) const;
  std::uint32_t MaxStarting() const { return std::max(limits_.max_starting, 2 * KeepIdle()); }
  void EndLease(Worker* worker, Actions* actions);
  void MakeIdle(std::uint32_t serial, Worker* worker, Time now, Actions* actions);
  void GiveLease(const StartLease& lease, std::uint32_t serial, Actions* actions);
  void AskIdleToEnd(std::uint32_t serial, Worker* worker, Actions* actions);
  void StartFailed(const WorkerKey& key, const std::string& cause, bool killed, Actions* actions);
  bool DropWaiting(LeaseId lease, Actions* actions);
  static WorkerKey KeyOf(const StartLease& lease) {
    return {lease.lease_class->job, lease.lease_class->environment, lease.units};
  }

  Limits limits_;
  std::function<std::uint32_t(const WorkerKey&)> new_serial_;
  absl::btree_map<std::uint32_t, Forkserver> forkservers_;
  absl::flat_hash_map<std::uint32_t, Worker> workers_;
  absl::flat_hash_map<LeaseId, std::uint32_t> by_lease_;
  std::map<WorkerKey, Group> groups_;
  absl::btree_set<JobId> ended_jobs_;
  std::uint32_t starting_ = 0, idle_ = 0;
};

}  // namespace ray_engine
