// Process: starting children, telling how they ended, and leaving none behind.
//
// A child is started by vfork and exec, so the size of the parent does not matter, and with all signals as they are by
// default. Descriptors are close-on-exec unless a child is to inherit them.
//
// Spawn: one thread at a time. The rest: Thread-safe.

#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ray_engine {

// The environment of a process, to be looked at and changed before it is handed to a child.
class Environment {
 public:
  static Environment OfThisProcess();

  bool Has(const std::string& name) const { return variables_.count(name) != 0; }
  // Empty if there is none.
  std::string Get(const std::string& name) const;
  void Set(const std::string& name, std::string value) { variables_[name] = std::move(value); }
  void Drop(const std::string& name) { variables_.erase(name); }
  void DropPrefix(std::string_view prefix);
  // Puts `path` before the entries of a list like PATH, once.
  void Prepend(const std::string& name, const std::string& path);

  std::vector<std::string> Entries() const;  // "NAME=value"

 private:
  std::map<std::string, std::string> variables_;
};

struct SpawnRequest {
  std::vector<std::string> argv;  // argv[0] is the path of the program
  Environment environment;
  std::string directory;           // to start in; empty: this process's
  std::vector<int> inherited_fds;  // keep their numbers
  bool null_input = false;         // standard input is /dev/null
  bool new_session = false;        // leave the terminal and the process group
  bool new_group = false;
  bool die_with_parent = false;  // SIGKILL when the calling thread ends
};

absl::StatusOr<pid_t> Spawn(const SpawnRequest& request);

// The path of a program named as in a shell; empty if there is none.
std::string FindProgram(const std::string& name, const std::string& search_path);

// What a shell shows: the exit code, or 128 + the signal's number.
int ExitCodeOf(int wait_status);
// "exited with code 3", "was killed by signal 9 (SIGKILL)".
std::string DescribeEnd(int wait_status);

// -1 if there is no such process.
pid_t ParentOf(pid_t process);

// Orphaned descendants become children of this process.
void BecomeSubreaper();
// Kills and reaps all descendants of this process, those that children leave behind too. REQUIRES: SIGCHLD is blocked.
void KillDescendants(std::chrono::milliseconds limit);

}  // namespace ray_engine
