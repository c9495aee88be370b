// ProcessTable: the processes of this node, workers and drivers, living and dead.
//
// A serial number is given out once per session, so whatever still names a dead process is recognised. Of the dead the
// latest kRemembered are kept, with the cause of death.
//
// Pure bookkeeping. Loop-bound.

#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include <cstdint>
#include <deque>
#include <string>

#include "engine/base/ids.h"

namespace ray_engine {

struct Process {
  enum Kind : std::uint8_t { kWorker = 0, kDriver = 1 };
  std::uint32_t serial = 0;
  Kind kind = kWorker;
  bool ready = false;     // it has mapped its links and listens
  std::uint32_t pid = 0;  // 0: not known yet
  WorkerId worker;
  JobId job;                     // workers; drivers once their job has started
  std::uint32_t forkserver = 0;  // workers
  std::string name;              // for people: "worker", "driver"
  std::string titles[2];         // what it runs, as its standard output and its standard error have said
  std::string last_words;        // workers: the last lines written, to standard output or standard error
  std::string kill_reason;       // why the engine killed it
  int status = 0;                // workers: wait status of the dead
};

class ProcessTable {
 public:
  static constexpr std::size_t kRemembered = 4096;

  Process* Add(Process::Kind kind);
  // nullptr if it does not live.
  Process* Find(std::uint32_t serial);
  // The process has died.
  void Remove(std::uint32_t serial, const std::string& cause);
  // Of the dead.
  std::string CauseOf(std::uint32_t serial) const;
  // Living, or dead and remembered; nullptr otherwise. What a worker wrote last may arrive after the news of its death.
  Process* FindAny(std::uint32_t serial);

  std::size_t size() const { return living_.size(); }
  const absl::node_hash_map<std::uint32_t, Process>& living() const { return living_; }
  struct Dead {
    Process process;
    std::string cause;
  };
  const absl::flat_hash_map<std::uint32_t, Dead>& dead() const { return dead_; }

 private:
  std::uint32_t next_serial_ = 1;  // 0 is the engine
  absl::node_hash_map<std::uint32_t, Process> living_;
  absl::flat_hash_map<std::uint32_t, Dead> dead_;
  std::deque<std::uint32_t> dead_order_;
};

// "worker 0.7 (pid 4711) was killed by signal 9 (SIGKILL)"; `status` is a wait status. Of one that has ended neither
// well nor by the engine's will, its last words follow.
std::string DescribeDeath(ProcessId id, const Process& process, int status);

// Adds text to `last_words`, keeping the end of it.
void Remember(std::string* last_words, const std::string& text);

}  // namespace ray_engine
