#include "objectstore/segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "objectstore/store_client.h"
#include "tests/support/memory_map.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// How many pages of the range are mapped in this process, by /proc/self/pagemap.
std::size_t PagesPresent(const char* begin, std::uint64_t size) {
  std::vector<std::uint64_t> entries(size / 4096);
  FILE* pagemap = fopen("/proc/self/pagemap", "rb");
  fseek(pagemap, static_cast<long>(reinterpret_cast<std::uintptr_t>(begin) / 4096 * sizeof entries[0]), SEEK_SET);
  const std::size_t read = fread(entries.data(), sizeof entries[0], entries.size(), pagemap);
  fclose(pagemap);
  EXPECT_EQ(read, entries.size());
  std::size_t present = 0;
  for (const std::uint64_t entry : entries) present += entry >> 63;
  return present;
}

TEST(Segment, IsRoundedToPagesAndStartsAsZeros) {
  const auto segment = Segment::Create(5000);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ(segment->size(), 8192u);
  EXPECT_EQ(segment->data()[0], 0);
  EXPECT_EQ(segment->data()[8191], 0);
}

TEST(Segment, IsLeftOutOfCoreFiles) {
  const auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_TRUE(LeftOutOfCoreFiles(segment->data()));
}

TEST(Segment, AsksForHugePages) {
  if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) GTEST_SKIP() << "this kernel has none";
  auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok());
  EXPECT_TRUE(HasMappingFlag(segment->data(), "hg"));
  const auto mapped = Segment::Map(dup(segment->fd()));
  ASSERT_TRUE(mapped.ok());
  EXPECT_TRUE(HasMappingFlag(mapped->data(), "hg"));
}

TEST(Segment, SaysWhetherItGetsHugePages) {
  EXPECT_THAT(DescribeHugePages("always within_size advise [never] deny force"), testing::HasSubstr("small pages"));
  EXPECT_THAT(DescribeHugePages(""), testing::HasSubstr("small pages"));
  EXPECT_THAT(DescribeHugePages("always within_size [advise] never deny force"), testing::HasSubstr("huge pages"));
}

TEST(Segment, SizeIsSealed) {
  const auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok());
  EXPECT_NE(ftruncate(segment->fd(), 4096), 0);
  EXPECT_NE(ftruncate(segment->fd(), 2 * kMiB), 0);
}

TEST(Segment, IsSharedWithWhoeverMapsItsDescriptor) {
  auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok());
  std::strcpy(segment->data() + 1000, "from the engine");
  if (fork() == 0) {
    auto mapped = Segment::Map(dup(segment->fd()));
    if (!mapped.ok() || std::strcmp(mapped->data() + 1000, "from the engine") != 0) _exit(1);
    std::strcpy(mapped->data() + 2000, "from the worker");
    _exit(0);
  }
  int status = -1;
  wait(&status);
  EXPECT_EQ(status, 0);
  EXPECT_STREQ(segment->data() + 2000, "from the worker");
}

TEST(Segment, OtherDescriptorsAreRefused) {
  EXPECT_FALSE(Segment::Map(memfd_create("unsealed", MFD_CLOEXEC)).ok());
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(Segment::Map(ends[0]).ok());
  close(ends[1]);
  EXPECT_FALSE(Segment::Create(0).ok());
}

TEST(Segment, MovesItsMapping) {
  auto made = Segment::Create(kMiB);
  ASSERT_TRUE(made.ok());
  char* data = made->data();
  Segment moved = *std::move(made);
  EXPECT_EQ(moved.data(), data);
  auto other = Segment::Create(kMiB);
  moved = *std::move(other);
  EXPECT_NE(moved.data(), data);
  moved.data()[0] = 1;
}

TEST(Segment, PrefaultMakesExactlyTheRangePresent) {
  const auto segment = Segment::Create(4 * kMiB);
  ASSERT_TRUE(segment.ok());
  segment->Prefault(kMiB + 100, kMiB - 200);
  EXPECT_EQ(PagesPresent(segment->data() + kMiB, kMiB), kMiB / 4096);
  EXPECT_EQ(PagesPresent(segment->data() + 3 * kMiB, kMiB), 0u);
}

TEST(StoreClient, GivesPointersInsideTheSegmentOnly) {
  const auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok());
  auto client = StoreClient::Map(dup(segment->fd()), kMiB);
  ASSERT_TRUE(client.ok()) << client.status();
  std::strcpy(client->ForWriting(500, 10), "value");
  EXPECT_STREQ(segment->data() + 500, "value");
  EXPECT_STREQ(client->ForReading(500, 6), "value");
  EXPECT_NE(client->ForReading(kMiB, 0), nullptr);
  EXPECT_EQ(client->ForReading(kMiB, 1), nullptr);
  EXPECT_EQ(client->ForWriting(kMiB - 10, 11), nullptr);
  EXPECT_EQ(client->ForWriting(~std::uint64_t{0}, 2), nullptr);
}

TEST(StoreClient, AnotherSizeThanAnnouncedIsAnError) {
  const auto segment = Segment::Create(kMiB);
  ASSERT_TRUE(segment.ok());
  EXPECT_FALSE(StoreClient::Map(dup(segment->fd()), 2 * kMiB).ok());
}

TEST(StoreClient, PagesArePresentBeforeTheyAreUsed) {
  const auto segment = Segment::Create(8 * kMiB);
  ASSERT_TRUE(segment.ok());
  auto client = StoreClient::Map(dup(segment->fd()), 8 * kMiB);
  ASSERT_TRUE(client.ok());
  client->ForWriting(5 * kMiB, kMiB);
  const char* middle = client->ForWriting(4 * kMiB + 100, 3 * kMiB);
  EXPECT_EQ(PagesPresent(middle - 100, 3 * kMiB), 3 * kMiB / 4096);
  EXPECT_EQ(PagesPresent(middle - 100 - 4 * kMiB, 3 * kMiB), 0u);
}

}  // namespace
}  // namespace ray_engine
