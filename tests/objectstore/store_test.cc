#include "objectstore/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr ProcessId kWriter{0, 1}, kReader{0, 2}, kOther{0, 3};

ObjectId Object(char name) { return ObjectId::FromBinary(std::string(ObjectId::kSize, name)); }

class StoreTest : public testing::Test {
 protected:
  ~StoreTest() override { EXPECT_EQ(store_.CheckInvariants(), ""); }

  void Put(char name, std::uint64_t size, Store::Copy copy = Store::Copy::kPrimary) {
    ASSERT_TRUE(store_.Create(Object(name), size, kWriter, copy).ok());
    ASSERT_TRUE(store_.Seal(Object(name), kWriter).ok());
  }
  std::uint64_t Used() const { return store_.Stats().memory.used; }

  Store store_{10 * kMiB};
};

TEST_F(StoreTest, ObjectIsVisibleOnceSealed) {
  const auto offset = store_.Create(Object('a'), 100, kWriter);
  ASSERT_TRUE(offset.ok());
  EXPECT_FALSE(store_.Contains(Object('a')));
  EXPECT_TRUE(absl::IsNotFound(store_.Pin(Object('a'), kReader).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_.Seal(Object('a'), kReader)));
  ASSERT_TRUE(store_.Seal(Object('a'), kWriter).ok());
  const auto pinned = store_.Pin(Object('a'), kReader);
  ASSERT_TRUE(pinned.ok());
  EXPECT_EQ(pinned->offset, *offset);
  EXPECT_EQ(pinned->size, 100u);
  EXPECT_EQ(store_.Stats().pinned_bytes, 100u);
  store_.Unpin(Object('a'), kReader);
  EXPECT_EQ(store_.Stats().pinned_bytes, 0u);
}

TEST_F(StoreTest, UnknownObjectsAreErrorsOrIgnored) {
  EXPECT_TRUE(absl::IsNotFound(store_.Seal(Object('x'), kWriter)));
  store_.Unpin(Object('x'), kReader);
  store_.Free(Object('x'));
  store_.Abort(Object('x'), kWriter);
  store_.OnClientGone(kOther);
  EXPECT_EQ(store_.Stats().freed, 0u);
}

TEST_F(StoreTest, AChunkTakesThePlaceOfCopiesThatAreOnDisk) {
  for (char name = 'a'; name < 'k'; ++name) Put(name, kMiB);
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Reserve(kMiB, kWriter, Store::Use::kChunk).status()));
  for (char name = 'a'; name < 'k'; ++name) store_.SetBacked(Object(name), true);
  EXPECT_TRUE(store_.Reserve(kMiB, kWriter, Store::Use::kChunk).ok());
  EXPECT_EQ(store_.Stats().evicted, 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Reserve(2 * kMiB, kWriter, Store::Use::kChunk).status()));
  EXPECT_EQ(store_.Stats().evicted, 1u);
}

TEST_F(StoreTest, ForAChunkNotEverythingIsGivenUp) {
  constexpr std::uint64_t kSmall = 64 << 10;
  for (int i = 0; i < 160; ++i) Put(static_cast<char>(i), kSmall);
  for (int i = 0; i < 160; i += 2) store_.SetBacked(Object(static_cast<char>(i)), true);  // none beside another
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Reserve(2 * kSmall, kWriter, Store::Use::kChunk).status()));
  EXPECT_EQ(store_.Stats().evicted, 2 * Store::kChunkShare);
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Reserve(2 * kSmall, kWriter, Store::Use::kObject).status()));
  EXPECT_EQ(store_.Stats().evicted, 80u);
}

TEST_F(StoreTest, FreedObjectStaysUntilItsLastPinIsGone) {
  Put('a', kMiB);
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  ASSERT_TRUE(store_.Pin(Object('a'), kOther).ok());
  store_.Free(Object('a'));
  store_.Unpin(Object('a'), kReader);
  store_.Unpin(Object('a'), kReader);
  store_.Unpin(Object('a'), kReader);  // has none left: must not take the other's
  EXPECT_EQ(Used(), kMiB);
  store_.Unpin(Object('a'), kOther);
  EXPECT_EQ(Used(), 0u);
  EXPECT_FALSE(store_.Contains(Object('a')));
}

TEST_F(StoreTest, ObjectFreedWhileItIsWrittenGoesWhenItIsSealed) {
  ASSERT_TRUE(store_.Create(Object('a'), kMiB, kWriter).ok());
  store_.Free(Object('a'));
  EXPECT_EQ(Used(), kMiB);
  EXPECT_TRUE(store_.Seal(Object('a'), kWriter).ok());
  EXPECT_EQ(Used(), 0u);
}

TEST_F(StoreTest, DeadClientGivesBackWhatItHeld) {
  Put('a', kMiB);
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  ASSERT_TRUE(store_.Create(Object('b'), kMiB, kReader).ok());
  store_.Free(Object('a'));
  store_.OnClientGone(kReader);
  EXPECT_EQ(Used(), 0u);
  EXPECT_TRUE(store_.Create(Object('b'), kMiB, kOther).ok());
}

TEST_F(StoreTest, SecondWriterIsToldWhy) {
  ASSERT_TRUE(store_.Create(Object('a'), 10, kWriter).ok());
  const auto second = store_.Create(Object('a'), 10, kOther);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("0.1"));
  ASSERT_TRUE(store_.Seal(Object('a'), kWriter).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(store_.Create(Object('a'), 10, kOther).status()));
}

TEST_F(StoreTest, AbortedCreationLeavesNothing) {
  ASSERT_TRUE(store_.Create(Object('a'), kMiB, kWriter).ok());
  store_.Abort(Object('a'), kOther);
  EXPECT_EQ(Used(), kMiB);
  store_.Abort(Object('a'), kWriter);
  EXPECT_EQ(Used(), 0u);
  Put('b', kMiB);
  store_.Abort(Object('b'), kWriter);
  EXPECT_TRUE(store_.Contains(Object('b')));
}

TEST_F(StoreTest, FullStoreNamesTheSizes) {
  Put('a', 6 * kMiB);
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  const auto status = store_.Create(Object('b'), 5 * kMiB, kWriter).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "object store full: needs 5242880 bytes, 6291456 of 10485760 in use, 6291456 pinned");
}

TEST_F(StoreTest, FragmentedStoreNamesTheLongestRange) {
  Put('a', 4 * kMiB);
  Put('b', 2 * kMiB);
  Put('c', 4 * kMiB);
  store_.Free(Object('a'));
  store_.Free(Object('c'));
  const auto status = store_.Create(Object('d'), 6 * kMiB, kWriter).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the longest free range has 4194304"));
}

TEST_F(StoreTest, SecondaryCopiesAreEvictedOldestFirst) {
  for (const char name : {'a', 'b', 'c'}) Put(name, 3 * kMiB, Store::Copy::kSecondary);
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  store_.Unpin(Object('a'), kReader);  // used last
  Put('d', 3 * kMiB);
  EXPECT_TRUE(store_.Contains(Object('a')));
  EXPECT_FALSE(store_.Contains(Object('b')));
  EXPECT_TRUE(store_.Contains(Object('c')));
  EXPECT_EQ(store_.Stats().evicted, 1u);
}

TEST_F(StoreTest, PinnedAndPrimaryCopiesAreNotEvicted) {
  Put('p', 4 * kMiB);
  Put('s', 4 * kMiB, Store::Copy::kSecondary);
  ASSERT_TRUE(store_.Pin(Object('s'), kReader).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Create(Object('x'), 4 * kMiB, kWriter).status()));
  EXPECT_TRUE(store_.Contains(Object('p')) && store_.Contains(Object('s')));
  store_.Unpin(Object('s'), kReader);
  EXPECT_TRUE(store_.Create(Object('x'), 4 * kMiB, kWriter).ok());
}

TEST_F(StoreTest, AnObjectLargerThanTheStoreIsToldSo) {
  const auto status = store_.Create(Object('x'), 11 * kMiB, kWriter).status();
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("an object of 11534336 bytes (11.0 MiB) is larger than the whole"),
                             testing::HasSubstr("10485760 bytes (10.0 MiB)")));
}

TEST_F(StoreTest, NothingIsEvictedForWhatCanNeverFit) {
  Put('s', 4 * kMiB, Store::Copy::kSecondary);
  EXPECT_FALSE(store_.CouldHold(11 * kMiB));
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Create(Object('x'), 11 * kMiB, kWriter).status()));
  EXPECT_TRUE(store_.Contains(Object('s')));
}

TEST_F(StoreTest, CreatingAFreedObjectAgainKeepsIt) {
  Put('a', kMiB);
  ASSERT_TRUE(store_.Pin(Object('a'), kReader).ok());
  store_.Free(Object('a'));
  EXPECT_TRUE(absl::IsAlreadyExists(store_.Create(Object('a'), kMiB, kWriter).status()));
  store_.Unpin(Object('a'), kReader);
  EXPECT_TRUE(store_.Contains(Object('a')));
}

TEST_F(StoreTest, SecondaryCopyBecomesPrimaryWhenItIsCreatedHere) {
  Put('a', 6 * kMiB, Store::Copy::kSecondary);
  EXPECT_TRUE(absl::IsAlreadyExists(store_.Create(Object('a'), 6 * kMiB, kWriter).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(store_.Create(Object('b'), 6 * kMiB, kWriter).status()));
  EXPECT_EQ(store_.Stats().primary_bytes, 6 * kMiB);
  EXPECT_EQ(store_.Stats().secondary_bytes, 0u);
}

TEST_F(StoreTest, OnlyItsWriterPinsAnObjectThatIsNotWhole) {
  ASSERT_TRUE(store_.Create(Object('a'), 100, kWriter).ok());
  EXPECT_FALSE(store_.PinWhileWriting(Object('a'), kReader).ok());
  EXPECT_EQ(store_.Written(Object('a')), 0u);
  store_.SetWritten(Object('a'), 60);
  ASSERT_TRUE(store_.PinWhileWriting(Object('a'), kWriter).ok());
  EXPECT_EQ(store_.Written(Object('a')), 60u);
  ASSERT_TRUE(store_.Seal(Object('a'), kWriter).ok());
  EXPECT_EQ(store_.Written(Object('a')), 100u);
  EXPECT_EQ(store_.Stats().pinned_objects, 1u);
  store_.Unpin(Object('a'), kWriter);
  EXPECT_TRUE(store_.Contains(Object('a')));
}

TEST_F(StoreTest, MemoryOfAnAbortedObjectStaysUntilItsWritersPinsAreGone) {
  ASSERT_TRUE(store_.Create(Object('a'), kMiB, kWriter).ok());
  ASSERT_TRUE(store_.PinWhileWriting(Object('a'), kWriter).ok());
  store_.Abort(Object('a'), kWriter);
  EXPECT_EQ(Used(), kMiB);
  EXPECT_FALSE(store_.PinWhileWriting(Object('a'), kWriter).ok());
  EXPECT_FALSE(store_.Seal(Object('a'), kWriter).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_.Create(Object('a'), kMiB, kOther).status()));
  store_.Unpin(Object('a'), kWriter);
  EXPECT_EQ(Used(), 0u);
  EXPECT_TRUE(store_.Create(Object('a'), kMiB, kOther).ok());
}

TEST_F(StoreTest, DeadWritersPinsOfWhatItWroteGoWithIt) {
  ASSERT_TRUE(store_.Create(Object('a'), kMiB, kWriter).ok());
  ASSERT_TRUE(store_.PinWhileWriting(Object('a'), kWriter).ok());
  store_.OnClientGone(kWriter);
  EXPECT_EQ(Used(), 0u);
}

}  // namespace
}  // namespace ray_engine
