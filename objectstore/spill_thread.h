// SpillThread: does what a node engine wants of its spill file, so that the engine's loop never waits for a disk.
//
// Reads go before writes, in turns if both wait, and what is freed before either. Small writes that wait are done
// together. The thread and the file come into
// being with the first job. When there is nothing to do, the file is flushed. The loop is woken for what has ended when
// nothing is left to do or something long comes next, else every 200 us.
//
// Owns the file, the thread and its own view of the store segment. Submit(), TakeDone() and the others: Loop-bound; the
// rest runs on the thread.

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

class SpillThread : public SpillDisk {
 public:
  using Clock = std::chrono::steady_clock;
  struct Settings {
    std::string directory, file_name;
    std::uint64_t limit = SpillFile::kNoLimit;
  };

  // `segment_fd` is the store's, of `segment_bytes`; it is not taken.
  static absl::StatusOr<std::unique_ptr<SpillThread>> Create(Settings settings, int segment_fd,
                                                             std::uint64_t segment_bytes);
  // Gives up what has not been done.
  ~SpillThread() override;

  void Submit(const std::vector<SpillJob>& jobs) override;
  std::vector<SpillDone> TakeDone() override;
  int EventFd() const override { return eventfd_.get(); }
  SpillFileStats Stats() override;
  std::uint64_t Moved() const override { return moved_; }
  std::string Directory() const override { return settings_.directory; }

 private:
  SpillThread(Settings settings, StoreClient store, UniqueFd eventfd);
  void Run();
  // One, or several small writes; empty: nothing to do. REQUIRES: mutex_ held.
  std::vector<SpillJob> NextJobs();
  // REQUIRES: mutex_ held.
  bool HasWork() const { return stop_ || !reads_.empty() || !writes_.empty() || !frees_.empty(); }
  void Do(std::vector<SpillJob> jobs);
  std::vector<absl::Status> Perform(std::vector<SpillJob>* jobs);
  std::vector<absl::Status> Write(std::vector<SpillJob>* jobs);
  absl::Status OpenFile();
  void Tell(std::vector<SpillDone> dones);
  void Notify();

  const Settings settings_;
  StoreClient store_;
  UniqueFd eventfd_;
  std::unique_ptr<SpillFile> file_;                // the thread's
  bool read_last_ = false;                         // the thread's
  std::optional<Clock::time_point> untold_since_;  // when the first ended that the loop was not woken for; the thread's

  std::mutex mutex_;  // guards what follows, but for the atomics and thread_
  std::condition_variable work_;
  std::deque<SpillJob> reads_, writes_, frees_;
  std::vector<SpillDone> done_;
  SpillFileStats stats_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> moved_{0};
  std::thread thread_;
};

}  // namespace ray_engine
