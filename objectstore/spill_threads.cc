#include "objectstore/spill_threads.h"

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

absl::StatusOr<std::unique_ptr<SpillThreads>> SpillThreads::Create(Settings settings, int segment_fd,
                                                                   std::uint64_t segment_bytes) {
  absl::StatusOr<StoreClient> store = StoreClient::Map(fcntl(segment_fd, F_DUPFD_CLOEXEC, 0), segment_bytes);
  if (!store.ok()) return store.status();
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (event.get() < 0) return absl::ErrnoToStatus(errno, "cannot create an eventfd");
  return std::unique_ptr<SpillThreads>(new SpillThreads(std::move(settings), *std::move(store), std::move(event)));
}

SpillThreads::SpillThreads(Settings settings, StoreClient store, UniqueFd eventfd)
    : settings_(std::move(settings)), store_(std::move(store)), eventfd_(std::move(eventfd)) {}

SpillThreads::~SpillThreads() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  reader_.work.notify_one();
  writer_.work.notify_one();
  if (writer_.thread.joinable()) writer_.thread.join();
}

void SpillThreads::Submit(const std::vector<SpillJob>& jobs) {
  {
    const std::lock_guard lock(mutex_);
    for (const SpillJob& job : jobs) {
      (job.kind == SpillJob::kRead    ? reader_.jobs
       : job.kind == SpillJob::kWrite ? writer_.jobs
                                      : writer_.frees)
          .push_back(job);
    }
  }
  const auto reads = [](const SpillJob& job) { return job.kind == SpillJob::kRead; };
  if (std::any_of(jobs.begin(), jobs.end(), reads)) Start(&reader_);
  if (!std::all_of(jobs.begin(), jobs.end(), reads)) Start(&writer_);
}

void SpillThreads::Start(Lane* lane) {
  lane->work.notify_one();
  if (!lane->thread.joinable()) lane->thread = std::thread([this, lane] { Run(lane); });
}

std::vector<SpillDone> SpillThreads::TakeDone() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(eventfd_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

SpillFileStats SpillThreads::Stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void SpillThreads::Run(Lane* lane) {
  BlockSignals();
  pthread_setname_np(pthread_self(), lane == &reader_ ? "restore" : "spill");
  bool rested = true;
  while (true) {
    std::vector<SpillJob> jobs;
    {
      std::unique_lock lock(mutex_);
      if (rested) lane->work.wait(lock, [&] { return stop_ || !lane->empty(); });
      if (stop_) break;
      jobs = NextJobs(lane);
    }
    rested = jobs.empty();
    if (rested) {
      Rest(lane);
    } else {
      Do(lane, std::move(jobs));
    }
  }
  if (lane != &writer_) return;
  if (reader_.thread.joinable()) reader_.thread.join();
  file_.reset();  // HDF5 belongs to this thread
}

std::vector<SpillJob> SpillThreads::NextJobs(Lane* lane) {
  if (!lane->frees.empty()) {
    std::vector<SpillJob> all(lane->frees.begin(), lane->frees.end());
    lane->frees.clear();
    return all;
  }
  std::vector<SpillJob> jobs;
  std::uint64_t bytes = 0;
  while (!lane->jobs.empty()) {
    const SpillJob& next = lane->jobs.front();
    bytes += next.size;
    const bool together = next.kind == SpillJob::kWrite && bytes <= SpillFile::kTogether && jobs.size() < kMostTogether;
    if (!jobs.empty() && !together) break;
    jobs.push_back(next);
    lane->jobs.pop_front();
  }
  return jobs;
}

void SpillThreads::Rest(Lane* lane) {
  Notify(lane);
  if (lane == &writer_ && file_ != nullptr) (void)file_->Flush();  // failure matters to copies of the file alone
}

void SpillThreads::Do(Lane* lane, std::vector<SpillJob> jobs) {
  if (jobs.front().size >= kLong) Notify(lane);
  const Clock::time_point start = Clock::now();
  const std::vector<absl::Status> statuses = Perform(&jobs);
  const auto took = static_cast<std::uint64_t>((Clock::now() - start) / std::chrono::nanoseconds(1));
  std::vector<SpillDone> dones;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].kind != SpillJob::kFree) dones.push_back({jobs[i], statuses[i], took / jobs.size()});
  }
  Tell(lane, std::move(dones));
}

// REQUIRES: they are of one kind, and only one is read.
std::vector<absl::Status> SpillThreads::Perform(std::vector<SpillJob>* jobs) {
  const SpillJob& job = jobs->front();
  if (job.kind == SpillJob::kRead)
    return {file_->Read(job.slot, job.object, store_.ForWriting(job.offset, job.size), job.size)};
  if (job.kind == SpillJob::kWrite) return Write(jobs);
  for (const SpillJob& freed : *jobs) file_->Free(freed.slot);
  return std::vector<absl::Status>(jobs->size());
}

std::vector<absl::Status> SpillThreads::Write(std::vector<SpillJob>* jobs) {
  if (absl::Status opened = OpenFile(); !opened.ok()) return {jobs->size(), opened};
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

absl::Status SpillThreads::OpenFile() {
  if (file_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<SpillFile>> file =
      SpillFile::Create(settings_.directory, settings_.file_name, settings_.limit);
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  file_->Watch(&stop_, &moved_);
  return absl::OkStatus();
}

void SpillThreads::Tell(Lane* lane, std::vector<SpillDone> dones) {
  const bool told = dones.empty();
  {
    const std::lock_guard lock(mutex_);
    if (lane == &writer_ && file_ != nullptr) stats_ = file_->Stats();
    std::move(dones.begin(), dones.end(), std::back_inserter(done_));
  }
  if (told) return;
  const Clock::time_point now = Clock::now();
  if (!lane->untold_since) lane->untold_since = now;
  if (now - *lane->untold_since >= kTellEvery) Notify(lane);
}

void SpillThreads::Notify(Lane* lane) {
  if (!lane->untold_since) return;
  lane->untold_since.reset();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(eventfd_.get(), &one, sizeof one);
}

}  // namespace ray_engine
