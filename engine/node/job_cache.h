// JobCache: what this engine knows of the jobs it forks workers for.
//
// The head's key-value table holds a JobInfo per job; an engine asks for it once, when the first worker of the job is
// needed, and from then on watches the driver.
//
// Loop-bound.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/node/router.h"
#include "engine/wire/messages.h"

namespace ray_engine {

struct JobInfo {
  ProcessId driver;
  std::string config;  // pickled, for the workers
  bool log_to_driver = true;
  template <class A>
  void Fields(A& a) {
    a(driver, config, log_to_driver);
  }
};

// Where JobInfo lies in the key-value table; the key is the job's id.
inline constexpr char kJobNameSpace[] = "ray_engine.jobs";

class JobCache {
 public:
  using Use = std::function<void(const JobInfo*)>;

  explicit JobCache(Router* router);

  // Calls `use` at once, or when the head has answered; with nullptr if there is no such job.
  void WhenKnown(const JobId& job, Use use);
  // The job whose driver this is; nil if it is none that this engine has dealt with.
  JobId JobOf(ProcessId driver) const;

 private:
  void HandleReply(const KvReply& reply);

  Router* router_;
  std::map<JobId, JobInfo> known_;
  std::map<JobId, std::vector<Use>> waiting_;
  std::map<std::uint64_t, JobId> asked_;  // by token
  std::uint64_t last_token_ = 0;
};

}  // namespace ray_engine
