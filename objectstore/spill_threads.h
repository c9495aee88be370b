// SpillThreads: do what a node engine wants of its spill file, so that the engine's loop never waits for a disk.
//
// One thread writes and one reads, each in the order of what it is asked for: a disk that is busy writing makes a write
// wait for seconds, but not a read of what the kernel still has in memory. What is freed goes before writes, and small
// writes that wait are done together. The threads and the file come into being with their first job. When there is
// nothing to write, the file is flushed. The writer ends last. The loop is woken for what has ended when nothing is
// left to do for its thread or something long comes next, else every 200 us.
//
// Owns the file, the threads and its own view of the store segment. Submit(), TakeDone() and the others: Loop-bound;
// the rest runs on the threads.

#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "objectstore/spill_file.h"
#include "objectstore/spill_job.h"
#include "objectstore/store_client.h"

namespace ray_engine {

class SpillThreads : public SpillDisk {
 public:
  using Clock = std::chrono::steady_clock;
  struct Settings {
    std::string directory, file_name;
    std::uint64_t limit = SpillFile::kNoLimit;
  };

  // `segment_fd` is the store's, of `segment_bytes`; it is not taken.
  static absl::StatusOr<std::unique_ptr<SpillThreads>> Create(Settings settings, int segment_fd,
                                                              std::uint64_t segment_bytes);
  // Gives up what has not been done.
  ~SpillThreads() override;

  void Submit(const std::vector<SpillJob>& jobs) override;
  std::vector<SpillDone> TakeDone() override;
  int EventFd() const override { return eventfd_.get(); }
  SpillFileStats Stats() override;
  std::uint64_t Moved() const override { return moved_; }
  std::string Directory() const override { return settings_.directory; }

 private:
  struct Lane {  // what one of the threads has to do; guarded by mutex_ but for the thread and untold_since
    std::deque<SpillJob> jobs, frees;  // the writer frees
    std::condition_variable work;
    std::optional<Clock::time_point> untold_since;  // when the first ended that the loop was not woken for
    std::thread thread;
    bool empty() const { return jobs.empty() && frees.empty(); }
  };

  SpillThreads(Settings settings, StoreClient store, UniqueFd eventfd);
  void Start(Lane* lane);
  void Run(Lane* lane);
  // All that is to be freed, one object to be read, one to be written or several small ones; empty: nothing to do.
  // REQUIRES: mutex_ held.
  static std::vector<SpillJob> NextJobs(Lane* lane);
  void Rest(Lane* lane);
  void Do(Lane* lane, std::vector<SpillJob> jobs);
  std::vector<absl::Status> Perform(std::vector<SpillJob>* jobs);
  std::vector<absl::Status> Write(std::vector<SpillJob>* jobs);
  absl::Status OpenFile();
  void Tell(Lane* lane, std::vector<SpillDone> dones);
  void Notify(Lane* lane);

  const Settings settings_;
  StoreClient store_;
  UniqueFd eventfd_;
  std::unique_ptr<SpillFile> file_;  // the writer's; the reader's, too, once something has been written

  std::mutex mutex_;  // guards the lanes, done_ and stats_
  Lane writer_, reader_;
  std::vector<SpillDone> done_;
  SpillFileStats stats_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> moved_{0};
};

}  // namespace ray_engine
