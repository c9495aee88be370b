#include "objectstore/spill_threads.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "objectstore/segment.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kSegment = 16 << 20, kSize = 1 << 20;

ObjectId Object(char name) { return ObjectId::FromBinary(std::string(ObjectId::kSize, name)); }

class SpillThreadsTest : public testing::Test {
 protected:
  SpillThreadsTest() : folder_(testing::TempDir() + "/spill-threads-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    segment_.emplace(*Segment::Create(kSegment));
    Start(folder_);
  }
  ~SpillThreadsTest() override {
    threads_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    std::filesystem::remove_all(folder_);
  }

  void Start(const std::string& folder) {
    auto threads = SpillThreads::Create({folder, "test"}, segment_->fd(), segment_->size());
    ASSERT_TRUE(threads.ok()) << threads.status();
    threads_ = *std::move(threads);
  }
  void Fill(std::uint64_t offset, char filling) { std::memset(segment_->data() + offset, filling, kSize); }
  static SpillJob Write(char name, std::uint64_t offset) { return {SpillJob::kWrite, Object(name), offset, kSize, {}}; }

  // The next that end, `count` at least, in that order.
  std::vector<SpillDone> Wait(std::size_t count) {
    std::vector<SpillDone> all;
    pollfd wait{threads_->EventFd(), POLLIN, 0};
    while (all.size() < count && poll(&wait, 1, 30'000) == 1) {
      for (SpillDone& done : threads_->TakeDone()) all.push_back(std::move(done));
    }
    EXPECT_GE(all.size(), count);
    return all;
  }

  std::string folder_;
  std::optional<Segment> segment_;
  std::unique_ptr<SpillThreads> threads_;
};

TEST_F(SpillThreadsTest, WritesFromTheSegmentAndReadsBackElsewhere) {
  Fill(0, 'a');
  Fill(kSize, 'b');
  threads_->Submit({Write('a', 0), Write('b', kSize)});
  const std::vector<SpillDone> written = Wait(2);
  ASSERT_EQ(written.size(), 2u);
  for (const SpillDone& done : written) ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(threads_->Stats().bytes, 2 * kSize);
  Fill(0, '?');
  threads_->Submit({{SpillJob::kRead, Object('a'), 4 * kSize, kSize, written[0].job.slot}});
  ASSERT_TRUE(Wait(1)[0].status.ok());
  EXPECT_EQ(std::string(segment_->data() + 4 * kSize, kSize), std::string(kSize, 'a'));
}

TEST_F(SpillThreadsTest, ReadsDoNotWaitForWrites) {
  constexpr std::size_t kWrites = 2000, kReads = 3;
  Fill(0, 'a');
  threads_->Submit({Write('a', 0)});
  const SpillSlot slot = Wait(1)[0].job.slot;
  std::vector<SpillJob> jobs(kWrites, Write('b', kSize));
  for (std::size_t i = 0; i < kReads; ++i) jobs.push_back({SpillJob::kRead, Object('a'), (2 + i) * kSize, kSize, slot});
  threads_->Submit(jobs);
  std::size_t writes = 0, reads = 0;
  while (reads < kReads) {
    const std::vector<SpillDone> done = Wait(1);
    ASSERT_FALSE(done.empty());
    for (const SpillDone& one : done) {
      ASSERT_TRUE(one.status.ok()) << one.status;
      ++(one.job.kind == SpillJob::kRead ? reads : writes);
    }
  }
  EXPECT_LT(writes, kWrites / 2);
}

TEST_F(SpillThreadsTest, ReadsWhatIsThereWhileMoreIsWritten) {
  std::vector<SpillSlot> slots;
  for (int round = 0; round < 50; ++round) {
    const char name = static_cast<char>('0' + round);
    Fill(0, name);
    std::vector<SpillJob> jobs = {Write(name, 0)};
    if (round > 0) {
      const auto before = static_cast<char>(name - 1);
      jobs.push_back({SpillJob::kRead, Object(before), 2 * kSize, kSize, slots.back()});
    }
    threads_->Submit(jobs);
    for (const SpillDone& done : Wait(jobs.size())) {
      ASSERT_TRUE(done.status.ok()) << done.status;
      if (done.job.kind == SpillJob::kWrite) slots.push_back(done.job.slot);
    }
    if (round > 0) {
      ASSERT_EQ(segment_->data()[3 * kSize - 1], name - 1);
    }
  }
}

TEST_F(SpillThreadsTest, FreedSpaceIsUsedAgain) {
  for (int i = 0; i < 20; ++i) {
    threads_->Submit({Write('a', 0)});
    const SpillSlot slot = Wait(1)[0].job.slot;
    threads_->Submit({{SpillJob::kFree, Object('a'), 0, 0, slot}});
  }
  threads_->Submit({Write('z', 0)});
  Wait(1);
  EXPECT_EQ(threads_->Stats().objects, 1u);
  EXPECT_EQ(threads_->Stats().extent, kSize);
}

TEST_F(SpillThreadsTest, AFolderThatIsGoneIsSaidWithEveryJobUntilItIsThere) {
  const std::string missing = folder_ + "/missing";
  Start(missing);
  threads_->Submit({Write('a', 0)});
  const absl::Status status = Wait(1)[0].status;
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  std::filesystem::create_directories(missing);
  threads_->Submit({Write('a', 0)});
  EXPECT_TRUE(Wait(1)[0].status.ok());
  threads_.reset();
  std::filesystem::remove(missing);
}

TEST_F(SpillThreadsTest, EndsWithoutDoingWhatIsLeft) {
  std::vector<SpillJob> jobs;
  for (int i = 0; i < 2000; ++i) jobs.push_back(Write('a', 0));
  threads_->Submit(jobs);
  threads_.reset();
}

}  // namespace
}  // namespace ray_engine
