#include "objectstore/spill_thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <utility>

namespace ray_engine {
namespace {

constexpr auto kTellEvery = std::chrono::microseconds(200);
constexpr std::uint64_t kLong = 2 << 20;   // bytes that take about as long
constexpr std::size_t kMostTogether = 64;  // writes

// Signals are the loop's business; a file that may not grow further shall be an error, not the end of the engine.
void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SpillThread>> SpillThread::Create(Settings settings, int segment_fd,
                                                                 std::uint64_t segment_bytes) {
  absl::StatusOr<StoreClient> store = StoreClient::Map(fcntl(segment_fd, F_DUPFD_CLOEXEC, 0), segment_bytes);
  if (!store.ok()) return store.status();
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (event.get() < 0) return absl::ErrnoToStatus(errno, "cannot create an eventfd");
  return std::unique_ptr<SpillThread>(new SpillThread(std::move(settings), *std::move(store), std::move(event)));
}

SpillThread::SpillThread(Settings settings, StoreClient store, UniqueFd eventfd)
    : settings_(std::move(settings)), store_(std::move(store)), eventfd_(std::move(eventfd)) {}

SpillThread::~SpillThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SpillThread::Submit(const std::vector<SpillJob>& jobs) {
  {
    const std::lock_guard lock(mutex_);
    for (const SpillJob& job : jobs)
      (job.kind == SpillJob::kWrite ? writes_ : job.kind == SpillJob::kRead ? reads_ : frees_).push_back(job);
  }
  work_.notify_one();
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
}

std::vector<SpillDone> SpillThread::TakeDone() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(eventfd_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

SpillFileStats SpillThread::Stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void SpillThread::Run() {
  BlockSignals();
  pthread_setname_np(pthread_self(), "spill");
  bool flushed = true;
  while (true) {
    std::vector<SpillJob> jobs;
    {
      std::unique_lock lock(mutex_);
      if (flushed) work_.wait(lock, [this] { return HasWork(); });
      if (stop_) break;
      jobs = NextJobs();
    }
    flushed = jobs.empty();
    if (!flushed) {
      if (jobs.front().size >= kLong) Notify();
      Do(std::move(jobs));
    } else {
      Notify();
      if (file_ != nullptr) (void)file_->Flush();  // what cannot be flushed matters to copies of the file alone
    }
  }
  file_.reset();  // HDF5 belongs to this thread
}

std::vector<SpillJob> SpillThread::NextJobs() {
  std::deque<SpillJob>* from = &frees_;
  if (frees_.empty()) {
    const bool read = !reads_.empty() && (writes_.empty() || !read_last_);
    from = read ? &reads_ : &writes_;
    read_last_ = read;
  }
  std::vector<SpillJob> jobs;
  std::uint64_t bytes = 0;
  while (!from->empty()) {
    bytes += from->front().size;
    if (!jobs.empty() && (from != &writes_ || bytes > SpillFile::kTogether || jobs.size() == kMostTogether)) break;
    jobs.push_back(from->front());
    from->pop_front();
  }
  return jobs;
}

void SpillThread::Do(std::vector<SpillJob> jobs) {
  const Clock::time_point start = Clock::now();
  const std::vector<absl::Status> statuses = Perform(&jobs);
  const auto took = static_cast<std::uint64_t>((Clock::now() - start) / std::chrono::nanoseconds(1));
  std::vector<SpillDone> dones;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].kind != SpillJob::kFree) dones.push_back({jobs[i], statuses[i], took / jobs.size()});
  }
  Tell(std::move(dones));
}

// REQUIRES: all of them are writes, or there is one.
std::vector<absl::Status> SpillThread::Perform(std::vector<SpillJob>* jobs) {
  if (absl::Status opened = OpenFile(); !opened.ok()) return {jobs->size(), opened};
  const SpillJob& job = jobs->front();
  if (job.kind == SpillJob::kWrite) return Write(jobs);
  if (job.kind == SpillJob::kRead)
    return {file_->Read(job.slot, job.object, store_.ForWriting(job.offset, job.size), job.size)};
  file_->Free(job.slot);
  return {absl::OkStatus()};
}

std::vector<absl::Status> SpillThread::Write(std::vector<SpillJob>* jobs) {
  std::vector<SpillSource> sources;
  for (const SpillJob& job : *jobs) sources.push_back({job.object, store_.ForReading(job.offset, job.size), job.size});
  const std::vector<absl::StatusOr<SpillSlot>> slots = file_->Write(sources);
  std::vector<absl::Status> statuses;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].ok()) (*jobs)[i].slot = *slots[i];
    statuses.push_back(slots[i].status());
  }
  return statuses;
}

absl::Status SpillThread::OpenFile() {
  if (file_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<SpillFile>> file =
      SpillFile::Create(settings_.directory, settings_.file_name, settings_.limit);
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  file_->Watch(&stop_, &moved_);
  return absl::OkStatus();
}

void SpillThread::Tell(std::vector<SpillDone> dones) {
  const SpillFileStats stats = file_ == nullptr ? SpillFileStats() : file_->Stats();
  {
    const std::lock_guard lock(mutex_);
    stats_ = stats;
    std::move(dones.begin(), dones.end(), std::back_inserter(done_));
  }
  if (dones.empty()) return;
  const Clock::time_point now = Clock::now();
  if (!untold_since_) untold_since_ = now;
  if (now - *untold_since_ >= kTellEvery) Notify();
}

void SpillThread::Notify() {
  if (!untold_since_) return;
  untold_since_.reset();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(eventfd_.get(), &one, sizeof one);
}

}  // namespace ray_engine
