#include "engine/core/stream.h"

#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

class StreamTest : public CoreFixture {
 protected:
  static constexpr ProcessId kWorker{0, 7}, kOther{0, 8};

  Stream Make(std::uint32_t limit = 0) { return Stream(&ownership_, &sender_, Task(1), limit); }
  // The bytes of the next item, or "end".
  std::string Read(Stream* stream) {
    EXPECT_TRUE(stream->Peek()->ready);
    if (stream->AtEnd()) return "end";
    ObjectEntry* entry = stream->Take();
    const std::string bytes = entry->is_error ? "error" : entry->bytes;
    ownership_.Drop(entry);
    return bytes;
  }
};

TEST_F(StreamTest, ItemsAreReadInOrderAsTheyCome) {
  Stream stream = Make();
  EXPECT_FALSE(stream.Peek()->ready);
  stream.OnItem(kWorker, 0, InlineValue("a"));
  stream.OnItem(kWorker, 1, InlineValue("b"));
  EXPECT_EQ(Read(&stream), "a");
  EXPECT_EQ(Read(&stream), "b");
  EXPECT_FALSE(stream.Peek()->ready);
  stream.End(nullptr);
  EXPECT_EQ(Read(&stream), "end");
  stream.Close();
}

TEST_F(StreamTest, WhoWaitsForTheNextItemIsWokenByItAndByTheEnd) {
  Stream stream = Make();
  int woken = 0;
  stream.Peek()->Extra().on_ready.push_back([&](ObjectEntry*) { ++woken; });
  stream.OnItem(kWorker, 0, InlineValue("a"));
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(Read(&stream), "a");
  stream.Peek()->Extra().on_ready.push_back([&](ObjectEntry*) { ++woken; });
  stream.End(nullptr);
  EXPECT_EQ(woken, 2);
  stream.Close();
}

TEST_F(StreamTest, AnErrorIsTheLastItem) {
  Stream stream = Make();
  stream.OnItem(kWorker, 0, InlineValue("a"));
  const WireValue error = UserError();
  stream.End(&error);
  EXPECT_EQ(Read(&stream), "a");
  EXPECT_EQ(Read(&stream), "error");
  EXPECT_EQ(Read(&stream), "end");
  stream.Close();
}

TEST_F(StreamTest, ARetryBringsOnlyWhatIsNew) {
  Stream stream = Make();
  stream.OnItem(kWorker, 0, InlineValue("a"));
  stream.OnItem(kWorker, 1, InlineValue("b"));
  EXPECT_EQ(Read(&stream), "a");
  stream.OnItem(kOther, 0, InlineValue("again"));
  stream.OnItem(kOther, 1, InlineValue("again"));
  stream.OnItem(kOther, 2, InlineValue("c"));
  stream.End(nullptr);
  EXPECT_EQ(Read(&stream), "b");
  EXPECT_EQ(Read(&stream), "c");
  EXPECT_EQ(Read(&stream), "end");
  stream.Close();
}

TEST_F(StreamTest, ALimitedWorkerIsToldWhatHasBeenRead) {
  Stream stream = Make(2);
  stream.OnItem(kWorker, 0, InlineValue("a"));
  EXPECT_TRUE(sender_.Nothing(kWorker));
  Read(&stream);
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 1u);
  stream.OnItem(kOther, 0, InlineValue("again"));  // a retry starts its count anew
  EXPECT_EQ(sender_.Take<StreamConsumed>(kOther).count, 1u);
  stream.Close();
  EXPECT_EQ(sender_.Take<StreamConsumed>(kOther).count, 0xffffffffu);
}

TEST_F(StreamTest, AWorkerThatBeginsAnewIsToldAgainWhatHasBeenRead) {
  Stream stream = Make(2);
  stream.OnItem(kWorker, 0, InlineValue("a"));
  Read(&stream);
  sender_.Take<StreamConsumed>(kWorker);
  stream.BeginAttempt();
  stream.OnItem(kWorker, 0, InlineValue("again"));
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 1u);
  stream.Close();
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 0xffffffffu);
}

TEST_F(StreamTest, NobodyKeepsWhatComesAfterTheReaderHasGone) {
  Stream stream = Make(1);
  stream.Close();
  WireValue stored;
  stored.kind = WireValue::kStored;
  stored.node = 3;
  stream.OnItem(kWorker, 0, stored);
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 0xffffffffu);
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{3, 0}).objects, std::vector<ObjectId>{ReturnObjectId(Task(1), 2)});
  stream.End(nullptr);
}

TEST_F(StreamTest, UnreadItemsGoWithTheReader) {
  Stream stream = Make();
  stream.OnItem(kWorker, 0, InlineValue("a"));
  stream.OnItem(kWorker, 1, InlineValue("b"));
  stream.Close();  // the fixture sees that no entry is left
}

}  // namespace
}  // namespace ray_engine
