// The small tables of the engine: processes, watches, keys and values, owned objects, titles in worker output.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "engine/node/kv_table.h"
#include "engine/node/output_service.h"
#include "engine/node/process_table.h"
#include "engine/node/watch_table.h"

namespace ray_engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(ProcessTableTest, SerialsAreNeverReused) {
  ProcessTable table;
  const std::uint32_t first = table.Add(Process::kWorker)->serial;
  table.Remove(first, "gone");
  const std::uint32_t second = table.Add(Process::kWorker)->serial;
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, second);
  EXPECT_EQ(table.Find(first), nullptr);
  EXPECT_EQ(table.CauseOf(first), "gone");
  ASSERT_NE(table.FindAny(first), nullptr);
  EXPECT_EQ(table.FindAny(first)->serial, first);
}

TEST(ProcessTableTest, OnlyTheLatestDeadAreRemembered) {
  ProcessTable table;
  for (std::size_t i = 0; i <= ProcessTable::kRemembered; ++i)
    table.Remove(table.Add(Process::kWorker)->serial, "boom");
  EXPECT_EQ(table.FindAny(1), nullptr);
  EXPECT_EQ(table.CauseOf(1), "the process has ended");
  EXPECT_EQ(table.CauseOf(2), "boom");
}

TEST(ProcessTableTest, CauseOfDeathNamesSignalCodeOrTheReasonOfTheKill) {
  Process worker;
  worker.name = "worker";
  worker.pid = 4711;
  EXPECT_EQ(DescribeDeath({0, 7}, worker, SIGKILL), "worker 0.7 (pid 4711) was killed by signal 9 (SIGKILL)");
  EXPECT_EQ(DescribeDeath({0, 7}, worker, 3 << 8), "worker 0.7 (pid 4711) exited with code 3");
  worker.last_words = "step 1\nstep 2\n";
  EXPECT_EQ(DescribeDeath({0, 7}, worker, SIGSEGV),
            "worker 0.7 (pid 4711) was killed by signal 11 (SIGSEGV); it wrote last:\nstep 1\nstep 2");
  EXPECT_EQ(DescribeDeath({0, 7}, worker, 0), "worker 0.7 (pid 4711) exited with code 0");
  worker.kill_reason = "ray.kill";
  EXPECT_EQ(DescribeDeath({0, 7}, worker, SIGKILL), "worker 0.7 (pid 4711) was killed: ray.kill");
}

TEST(ProcessTableTest, LastWordsKeepTheEndInWholeLines) {
  std::string words;
  for (int i = 0; i < 1000; ++i) Remember(&words, "line " + std::to_string(i) + "\n");
  EXPECT_LE(words.size(), 2000u);
  EXPECT_EQ(words.substr(0, 5), "line ");
  EXPECT_THAT(words, HasSubstr("line 999\n"));
}

TEST(WatchTableTest, WatchersAreToldOnce) {
  WatchTable table;
  EXPECT_TRUE(table.Add({0, 1}, {0, 9}));
  EXPECT_FALSE(table.Add({0, 2}, {0, 9}));
  EXPECT_THAT(table.Take({0, 9}), UnorderedElementsAre(ProcessId{0, 1}, ProcessId{0, 2}));
  EXPECT_THAT(table.Take({0, 9}), IsEmpty());
}

TEST(WatchTableTest, AWatcherThatIsGoneIsForgotten) {
  WatchTable table;
  table.Add({0, 1}, {0, 8});
  table.Add({0, 1}, {0, 9});
  table.Add({0, 2}, {0, 9});
  table.Forget({0, 1});
  EXPECT_THAT(table.Take({0, 8}), IsEmpty());
  EXPECT_THAT(table.Take({0, 9}), ElementsAre(ProcessId{0, 2}));
  EXPECT_EQ(table.targets(), 0u);
}

TEST(WatchTableTest, TargetsOfANodeAreFound) {
  WatchTable table;
  for (const ProcessId target : {ProcessId{1, 4}, ProcessId{2, 0}, ProcessId{2, 5}, ProcessId{3, 1}})
    table.Add({0, 1}, target);
  EXPECT_THAT(table.TargetsOn(2), ElementsAre(ProcessId{2, 0}, ProcessId{2, 5}));
}

KvReply Ask(KvTable* table, KvRequest::Op op, const std::string& key, const std::string& value = "") {
  KvRequest request;
  request.token = 5;
  request.op = op;
  request.name_space = "n";
  request.key = key;
  request.value = value;
  return table->Apply(request);
}

TEST(KvTableTest, PutGetDelete) {
  KvTable table;
  EXPECT_TRUE(Ask(&table, KvRequest::kPut, "a", "1").found);
  EXPECT_FALSE(Ask(&table, KvRequest::kPut, "a", "2").found);
  EXPECT_FALSE(Ask(&table, KvRequest::kPutIfAbsent, "a", "3").found);
  EXPECT_THAT(Ask(&table, KvRequest::kGet, "a").values, ElementsAre("2"));
  EXPECT_TRUE(Ask(&table, KvRequest::kDelete, "a").found);
  const KvReply gone = Ask(&table, KvRequest::kGet, "a");
  EXPECT_FALSE(gone.found);
  EXPECT_EQ(gone.token, 5u);
}

TEST(KvTableTest, ListsKeysByPrefixInsideOneNameSpace) {
  KvTable table;
  for (const char* key : {"ab", "abc", "b", "a"}) Ask(&table, KvRequest::kPut, key, "v");
  KvRequest other;
  other.op = KvRequest::kPut;
  other.name_space = "o";
  other.key = "abd";
  table.Apply(other);
  EXPECT_THAT(Ask(&table, KvRequest::kList, "ab").values, ElementsAre("ab", "abc"));
}

TEST(OutputTest, TitleLinesAreTakenOut) {
  const auto cut = [](const std::string& text) {
    std::vector<std::pair<std::string, std::string>> pieces;
    for (const TitledText& piece : CutAtTitles(text)) pieces.emplace_back(piece.title, piece.text);
    return pieces;
  };
  EXPECT_THAT(cut("before\n:task_name:f\nhello\nagain\n:actor_name:Counter\nworld\n"),
              ElementsAre(Pair("", "before\n"), Pair("f", "hello\nagain\n"), Pair("Counter", "world\n")));
  EXPECT_THAT(cut("no title: _name: here\n"), ElementsAre(Pair("", "no title: _name: here\n")));
}

}  // namespace
}  // namespace ray_engine
