#include "objectstore/spill_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace ray_engine {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = 1 << 20;

ObjectId Object(std::uint32_t number) {
  std::string binary(ObjectId::kSize, 'o');
  std::memcpy(binary.data(), &number, sizeof number);
  return ObjectId::FromBinary(binary);
}

std::string Content(std::uint32_t seed, std::uint64_t size) {
  std::mt19937_64 random(seed);
  std::string content(size, '\0');
  for (std::uint64_t at = 0; at < size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(content.data() + at, &word, std::min<std::uint64_t>(8, size - at));
  }
  return content;
}

class SpillFileTest : public testing::Test {
 protected:
  SpillFileTest() : folder_(testing::TempDir() + "/spill-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~SpillFileTest() override {
    file_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    std::filesystem::remove_all(folder_);
  }

  void Open(std::uint64_t limit = SpillFile::kNoLimit) {
    absl::StatusOr<std::unique_ptr<SpillFile>> file = SpillFile::Create(folder_, "test", limit);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }
  absl::StatusOr<SpillSlot> TryWrite(std::uint32_t number, const std::string& content) {
    return file_->Write({{Object(number), content.data(), content.size()}})[0];
  }
  SpillSlot Write(std::uint32_t number, const std::string& content) {
    const absl::StatusOr<SpillSlot> slot = TryWrite(number, content);
    EXPECT_TRUE(slot.ok()) << slot.status();
    return slot.value_or(SpillSlot{});
  }
  absl::Status Read(SpillSlot slot, std::uint32_t number, std::string* content) {
    return file_->Read(slot, Object(number), content->data(), content->size());
  }
  void ExpectThere(SpillSlot slot, std::uint32_t number, const std::string& content) {
    std::string read(content.size(), '?');
    const absl::Status status = Read(slot, number, &read);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(read == content) << "object " << number;
  }
  std::uint64_t BytesOnDisk() const {
    struct stat info {};
    fstat(file_->fd(), &info);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
  }

  std::string folder_;
  std::unique_ptr<SpillFile> file_;
};

TEST(Hdf5Version, HasThreeParts) {
  const std::string version = Hdf5Version();
  EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;
}

TEST_F(SpillFileTest, WhatIsWrittenIsReadAgain) {
  Open();
  const std::vector<std::uint64_t> sizes = {
      0, 1, 4095, 4096, 4097, 131'072, 3 * kMiB + 5, SpillFile::kBlock, 2 * SpillFile::kBlock + 1};
  std::vector<SpillSlot> slots;
  for (std::uint32_t i = 0; i < sizes.size(); ++i) slots.push_back(Write(i, Content(i, sizes[i])));
  for (std::uint32_t i = 0; i < sizes.size(); ++i) ExpectThere(slots[i], i, Content(i, sizes[i]));
  EXPECT_EQ(file_->Stats().objects, sizes.size());
}

TEST_F(SpillFileTest, RandomWritesFreesAndReads) {
  Open();
  std::mt19937 random(7);
  std::map<std::uint32_t, std::pair<SpillSlot, std::uint64_t>> there;
  std::uint64_t bytes = 0, most = 0;
  for (std::uint32_t number = 0; number < 3000; ++number) {
    const std::uint64_t size = random() % 8 == 0 ? random() % (4 * kMiB) : random() % 300'000;
    there[number] = {Write(number, Content(number, size)), size};
    bytes += (size + SpillFile::kPage) / SpillFile::kPage * SpillFile::kPage;
    most = std::max(most, bytes);
    while (there.size() > 100 || (!there.empty() && random() % 3 == 0)) {
      const auto victim = std::next(there.begin(), random() % there.size());
      const auto [slot, length] = victim->second;
      ASSERT_NO_FATAL_FAILURE(ExpectThere(slot, victim->first, Content(victim->first, length)));
      file_->Free(slot);
      bytes -= (length + SpillFile::kPage) / SpillFile::kPage * SpillFile::kPage;
      there.erase(victim);
    }
  }
  EXPECT_EQ(file_->Stats().objects, there.size());
  EXPECT_LE(file_->Stats().extent, most * 3 / 2) << "space of freed objects is used again";
}

// Writes objects 0, 1, ... of these contents at once.
std::vector<absl::StatusOr<SpillSlot>> WriteAll(SpillFile* file, const std::vector<std::string>& contents) {
  std::vector<SpillSource> sources;
  for (std::uint32_t i = 0; i < contents.size(); ++i)
    sources.push_back({Object(i), contents[i].data(), contents[i].size()});
  return file->Write(sources);
}

TEST_F(SpillFileTest, ManyAtOnceAreReadAgain) {
  Open();
  Write(100, Content(100, SpillFile::kBlock - 6 * SpillFile::kPage));  // the neighbours reach over the end of the block
  std::vector<std::string> contents;
  for (const std::uint64_t size : {1, 0, 4096, 5000, 100'000, 600'000, 600'000, 3, 2'000'000, 4097})
    contents.push_back(Content(static_cast<std::uint32_t>(contents.size()), size));
  const std::vector<absl::StatusOr<SpillSlot>> slots = WriteAll(file_.get(), contents);
  for (std::uint32_t i = 0; i < contents.size(); ++i) {
    ASSERT_TRUE(slots[i].ok()) << slots[i].status();
    ExpectThere(*slots[i], i, contents[i]);
  }
}

TEST_F(SpillFileTest, OfManyAtOnceThoseStayThatTheLimitHasRoomFor) {
  Open(10 * SpillFile::kPage);
  const std::vector<std::string> contents = {Content(0, 20'000), Content(1, 30'000), Content(2, 20'000)};
  const std::vector<absl::StatusOr<SpillSlot>> slots = WriteAll(file_.get(), contents);
  EXPECT_TRUE(absl::IsResourceExhausted(slots[1].status())) << slots[1].status();
  for (const std::uint32_t i : {0, 2}) ExpectThere(*slots[i], i, contents[i]);
  EXPECT_EQ(file_->Stats().objects, 2u);
}

TEST_F(SpillFileTest, GivesTheDiskItsSpaceBackWhenEmpty) {
  Open();
  const SpillSlot slot = Write(1, Content(1, 20 * kMiB));
  ASSERT_TRUE(file_->Flush().ok());
  EXPECT_GE(BytesOnDisk(), 20 * kMiB);
  file_->Free(slot);
  ASSERT_TRUE(file_->Flush().ok());
  EXPECT_LT(BytesOnDisk(), 2 * kMiB);
  ExpectThere(Write(2, Content(2, 10 * kMiB)), 2, Content(2, 10 * kMiB));
}

TEST_F(SpillFileTest, TakesTheSpaceOfABlockAtOnceAgainAfterItWasGivenBack) {
  Open();
  if (fallocate(file_->fd(), FALLOC_FL_KEEP_SIZE, 0, 4096) != 0) GTEST_SKIP() << "the file system cannot reserve space";
  for (int round = 0; round < 2; ++round) {
    const SpillSlot slot = Write(1, "small");
    EXPECT_GE(BytesOnDisk(), SpillFile::kBlock);
    EXPECT_LT(BytesOnDisk(), SpillFile::kBlock + 2 * kMiB);
    file_->Free(slot);
    ASSERT_TRUE(file_->Flush().ok());
    EXPECT_LT(BytesOnDisk(), 2 * kMiB);
  }
  Open(5 * kMiB);
  Write(1, "small");
  EXPECT_LT(BytesOnDisk(), 7 * kMiB) << "more than the limit is taken";
}

TEST_F(SpillFileTest, BlocksAreAligned) {
  Open();
  Write(1, Content(1, 2 * SpillFile::kBlock));
  for (std::uint64_t block = 0; block < 2; ++block)
    EXPECT_EQ(file_->FileOffset(block * SpillFile::kBlock) % (2 * kMiB), 0u);
}

TEST_F(SpillFileTest, DamagedBytesAreNoticed) {
  Open();
  const std::string content = Content(1, 3 * kMiB), other = Content(2, 5000);
  const SpillSlot first = Write(1, content), second = Write(2, other);
  for (const std::uint64_t at : {std::uint64_t{0}, kMiB + 77, content.size() - 1}) {
    const char wrong = static_cast<char>(content[at] ^ 1);
    ASSERT_EQ(pwrite(file_->fd(), &wrong, 1, static_cast<off_t>(file_->FileOffset(at))), 1);
    std::string read(content.size(), '\0');
    const absl::Status status = Read(first, 1, &read);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("checksum"));
    ASSERT_EQ(pwrite(file_->fd(), &content[at], 1, static_cast<off_t>(file_->FileOffset(at))), 1);
  }
  ExpectThere(first, 1, content);
  ExpectThere(second, 2, other);
}

TEST_F(SpillFileTest, AnotherObjectOrSizeIsNotGivenOut) {
  Open();
  const SpillSlot slot = Write(1, Content(1, 5000));
  std::string five(5000, '\0'), four(4000, '\0');
  EXPECT_TRUE(absl::IsDataLoss(Read(slot, 2, &five)));
  EXPECT_TRUE(absl::IsDataLoss(Read(slot, 1, &four)));
  file_->Free(slot);
  EXPECT_TRUE(absl::IsDataLoss(Read(slot, 1, &five)));
  const SpillSlot reused = Write(3, Content(3, 5000));
  EXPECT_TRUE(absl::IsDataLoss(Read(reused, 1, &five)));
}

TEST_F(SpillFileTest, TruncationIsNoticed) {
  Open();
  const SpillSlot cut = Write(2, Content(2, 10 * kMiB));
  ASSERT_TRUE(file_->Flush().ok());
  ASSERT_EQ(ftruncate(file_->fd(), static_cast<off_t>(file_->FileOffset(4 * kMiB))), 0);
  std::string read(10 * kMiB, '\0');
  const absl::Status status = Read(cut, 2, &read);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(SpillFileTest, TheLimitIsKept) {
  Open(10 * kMiB);
  const SpillSlot slot = Write(1, Content(1, 6 * kMiB));
  const std::string more = Content(2, 5 * kMiB);
  const absl::Status full = TryWrite(2, more).status();
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr(folder_));
  EXPECT_THAT(std::string(full.message()), HasSubstr("--spill-limit"));
  ExpectThere(slot, 1, Content(1, 6 * kMiB));
  file_->Free(slot);
  ExpectThere(Write(2, more), 2, more);
}

// Lowers the limit of file sizes for its lifetime; writing beyond is an error then, as on a full disk.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit small = before_;
    small.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST_F(SpillFileTest, AFullDiskIsSaidAndWhatIsThereStays) {
  Open();
  const SpillSlot slot = Write(1, Content(1, 2 * kMiB));
  const std::string more = Content(2, 8 * kMiB);
  {
    const SmallFiles small(6 * kMiB);
    const absl::Status full = TryWrite(2, more).status();
    EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
    EXPECT_THAT(std::string(full.message()), HasSubstr(folder_));
    EXPECT_EQ(file_->Stats().objects, 1u);
  }
  ExpectThere(slot, 1, Content(1, 2 * kMiB));
  ExpectThere(Write(2, more), 2, more);
}

TEST_F(SpillFileTest, OfManyAtOnceThoseStayThatTheDiskHasRoomFor) {
  Open();
  file_->Free(Write(9, Content(9, 100)));  // what belongs to a file with a first object is there
  const std::vector<std::string> contents = {Content(0, 8000), Content(1, 8000), Content(2, 8000), Content(3, 8000)};
  const SmallFiles small(file_->FileOffset(5 * SpillFile::kPage));
  const std::vector<absl::StatusOr<SpillSlot>> slots = WriteAll(file_.get(), contents);
  for (const std::uint32_t i : {0, 1}) ExpectThere(*slots[i], i, contents[i]);
  for (const std::uint32_t i : {2, 3}) EXPECT_TRUE(absl::IsResourceExhausted(slots[i].status())) << slots[i].status();
  EXPECT_EQ(file_->Stats().objects, 2u);
}

TEST_F(SpillFileTest, FoldersThatCannotBeUsed) {
  for (const char* folder : {"/nonexistent/folder", "/dev/null", "/proc"}) {
    const absl::Status status = SpillFile::Create(folder, "test").status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder));
  }
}

// From now on this thread has no file locks, as on a file system without them. False: it cannot be arranged here.
bool RefuseLocks() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(filter), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
         flock(STDERR_FILENO, LOCK_SH) != 0 && errno == ENOLCK;
}

TEST_F(SpillFileTest, NeedsNoFileLocks) {
  bool refused = false;
  std::thread([&] {
    refused = RefuseLocks();
    if (!refused) return;
    Open();
    if (file_ != nullptr) ExpectThere(Write(1, Content(1, 5000)), 1, Content(1, 5000));
  }).join();
  if (!refused) GTEST_SKIP() << "file locks cannot be taken away here";
}

TEST_F(SpillFileTest, ManyObjectsTakeSeveralIndexes) {
  Open();
  std::vector<SpillSlot> slots;
  const auto count = static_cast<std::uint32_t>(SpillFile::kRowsPerIndex * 2 + 10);
  for (std::uint32_t i = 0; i < count; ++i) slots.push_back(Write(i, std::to_string(i)));
  for (std::uint32_t i = 0; i < count; i += 97) ExpectThere(slots[i], i, std::to_string(i));
  for (const SpillSlot slot : slots) file_->Free(slot);
  EXPECT_EQ(file_->Stats().bytes, 0u);
}

TEST_F(SpillFileTest, CanBeStopped) {
  Open();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> moved{0};
  file_->Watch(&stop, &moved);
  const std::string content = Content(1, 1000);
  file_->Free(Write(2, content));
  EXPECT_EQ(moved, 1000u);
  stop = true;
  EXPECT_TRUE(absl::IsCancelled(TryWrite(1, content).status()));
  EXPECT_EQ(file_->Stats().objects, 0u);
}

}  // namespace
}  // namespace ray_engine
