#include "objectstore/spill_thread.h"

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

class SpillThreadTest : public testing::Test {
 protected:
  SpillThreadTest() : folder_(testing::TempDir() + "/spill-thread-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    segment_.emplace(*Segment::Create(kSegment));
    Start(folder_);
  }
  ~SpillThreadTest() override {
    thread_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    std::filesystem::remove_all(folder_);
  }

  void Start(const std::string& folder) {
    auto thread = SpillThread::Create({folder, "test"}, segment_->fd(), segment_->size());
    ASSERT_TRUE(thread.ok()) << thread.status();
    thread_ = *std::move(thread);
  }
  void Fill(std::uint64_t offset, char filling) { std::memset(segment_->data() + offset, filling, kSize); }
  static SpillJob Write(char name, std::uint64_t offset) { return {SpillJob::kWrite, Object(name), offset, kSize, {}}; }

  // The next `count` that end, in that order.
  std::vector<SpillDone> Wait(std::size_t count) {
    std::vector<SpillDone> all;
    pollfd wait{thread_->EventFd(), POLLIN, 0};
    while (all.size() < count && poll(&wait, 1, 30'000) == 1) {
      for (SpillDone& done : thread_->TakeDone()) all.push_back(std::move(done));
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }

  std::string folder_;
  std::optional<Segment> segment_;
  std::unique_ptr<SpillThread> thread_;
};

TEST_F(SpillThreadTest, WritesFromTheSegmentAndReadsBackElsewhere) {
  Fill(0, 'a');
  Fill(kSize, 'b');
  thread_->Submit({Write('a', 0), Write('b', kSize)});
  const std::vector<SpillDone> written = Wait(2);
  for (const SpillDone& done : written) ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(thread_->Stats().bytes, 2 * kSize);
  Fill(0, '?');
  thread_->Submit({{SpillJob::kRead, Object('a'), 4 * kSize, kSize, written[0].job.slot}});
  ASSERT_TRUE(Wait(1)[0].status.ok());
  EXPECT_EQ(std::string(segment_->data() + 4 * kSize, kSize), std::string(kSize, 'a'));
}

TEST_F(SpillThreadTest, ReadsTakeTurnsWithWrites) {
  Fill(0, 'a');
  thread_->Submit({Write('a', 0)});
  const SpillSlot slot = Wait(1)[0].job.slot;
  std::vector<SpillJob> jobs;
  for (int i = 0; i < 8; ++i) jobs.push_back(Write(static_cast<char>('b' + i), 0));
  for (int i = 0; i < 3; ++i) jobs.push_back({SpillJob::kRead, Object('a'), 2 * kSize, kSize, slot});
  thread_->Submit(jobs);
  const std::vector<SpillDone> done = Wait(11);
  std::size_t last_read = 0;
  for (std::size_t i = 0; i < done.size(); ++i) {
    if (done[i].job.kind == SpillJob::kRead) last_read = i;
  }
  EXPECT_LE(last_read, 6u) << "reads wait for all writes";
}

TEST_F(SpillThreadTest, FreedSpaceIsUsedAgain) {
  for (int i = 0; i < 20; ++i) {
    thread_->Submit({Write('a', 0)});
    const SpillSlot slot = Wait(1)[0].job.slot;
    thread_->Submit({{SpillJob::kFree, Object('a'), 0, 0, slot}});
  }
  thread_->Submit({Write('z', 0)});
  Wait(1);
  EXPECT_EQ(thread_->Stats().objects, 1u);
  EXPECT_EQ(thread_->Stats().extent, kSize);
}

TEST_F(SpillThreadTest, AFolderThatIsGoneIsSaidWithEveryJobUntilItIsThere) {
  const std::string missing = folder_ + "/missing";
  Start(missing);
  thread_->Submit({Write('a', 0)});
  const absl::Status status = Wait(1)[0].status;
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  std::filesystem::create_directories(missing);
  thread_->Submit({Write('a', 0)});
  EXPECT_TRUE(Wait(1)[0].status.ok());
  thread_.reset();
  std::filesystem::remove(missing);
}

TEST_F(SpillThreadTest, EndsWithoutDoingWhatIsLeft) {
  std::vector<SpillJob> jobs;
  for (int i = 0; i < 2000; ++i) jobs.push_back(Write('a', 0));
  thread_->Submit(jobs);
  thread_.reset();
}

}  // namespace
}  // namespace ray_engine
