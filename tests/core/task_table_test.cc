#include "engine/core/task_table.h"

#include <algorithm>

#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

constexpr ProcessId kWorker{0, 7};

class TaskTableTest : public CoreFixture {
 protected:
  // Resolves the arguments; `done_` counts the calls back.
  void Resolve(TaskRecord* record) {
    tasks_.ResolveArgs(record, [this](TaskRecord*, const ObjectEntry* failed) {
      ++done_;
      failed_ = failed;
    });
  }

  CallOptions options_;
  int done_ = 0;
  const ObjectEntry* failed_ = nullptr;
};

TEST_F(TaskTableTest, ArgumentsAreWaitedForAndWrittenInPlace) {
  ObjectEntry* first = Pending(100);
  ObjectEntry* second = Pending(101);
  builder_.Ref(first).Value("between").Ref(second).Ref(first);
  TaskRecord* record = Build(1, &options_);
  Resolve(record);
  EXPECT_TRUE(tasks_.HasDependants());
  ownership_.SetValue(second, InlineValue("second"));
  EXPECT_EQ(done_, 0);
  ownership_.SetValue(first, InlineValue("a longer first"));
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(failed_, nullptr);
  EXPECT_FALSE(tasks_.HasDependants());

  TaskView view;
  ASSERT_TRUE(ParseTask(record->payload, &view));
  std::vector<std::string_view> values;
  for (const ArgView& arg : view.args) values.push_back(arg.bytes);
  EXPECT_EQ(values, (std::vector<std::string_view>{"a longer first", "between", "second", "a longer first"}));
  tasks_.Finish(record, {InlineValue("")});
}

TEST_F(TaskTableTest, AStoredArgumentTellsWhereItIsAndWhatItContains) {
  ObjectEntry* inner = Pending(100);
  ownership_.SetValue(inner, InlineValue("inner"));
  ObjectEntry* outer = Pending(101);
  WireValue value;
  value.kind = WireValue::kStored;
  value.node = 2;
  value.size = 1 << 20;
  ownership_.Hold(inner);
  ownership_.SetLocalValue(outer, value, {inner});
  TaskRecord* record = (builder_.Ref(outer).Value("after"), Build(1, &options_));
  Resolve(record);
  ASSERT_EQ(done_, 1);
  TaskView view;
  ASSERT_TRUE(ParseTask(record->payload, &view));
  const ArgView& arg = view.args[0];
  EXPECT_EQ(arg.kind, ArgHeader::kStored);
  EXPECT_EQ(arg.refs.at(0).object, outer->id);
  EXPECT_EQ(arg.contained.at(0).object, inner->id);
  EXPECT_EQ(arg.refs[0].node, 2u);
  EXPECT_EQ(arg.refs[0].size, 1u << 20);
  EXPECT_EQ(view.args[1].bytes, "after");
  tasks_.Finish(record, {InlineValue("")});
  ownership_.Drop(outer);
  results_.erase(std::find(results_.begin(), results_.end(), outer));
  sender_.Take<StoreFree>(ProcessId{2, 0});
}

TEST_F(TaskTableTest, BorrowedArgumentsAreAskedForAtTheirOwner) {
  const ProcessId owner{0, 2};
  ObjectEntry* borrowed = ownership_.Receive({NumberedId<ObjectId>(100), owner}, false);
  TaskRecord* record = (builder_.Ref(borrowed), Build(1, &options_));
  ownership_.Drop(borrowed);
  Resolve(record);
  sender_.Take<Watch>(kEngine);
  sender_.Take<ValueRequest>(owner);
  ownership_.On(ValueReply{NumberedId<ObjectId>(100), InlineValue("value")});
  EXPECT_EQ(done_, 1);
  tasks_.Finish(record, {InlineValue("")});
}

TEST_F(TaskTableTest, AFailedArgumentIsNamedAndItsErrorPassedOn) {
  ObjectEntry* good = Pending(100);
  ObjectEntry* bad = Pending(101);
  TaskRecord* record = (builder_.Ref(good).Ref(bad), Build(1, &options_));
  Resolve(record);
  ownership_.SetValue(bad, UserError());
  EXPECT_EQ(done_, 0);  // all arguments are waited for
  ownership_.SetValue(good, InlineValue("good"));
  EXPECT_EQ(failed_, bad);
  tasks_.FinishWithErrorOf(record, bad);
  EXPECT_TRUE(Result(1)->is_error);
  EXPECT_EQ(Result(1)->bytes, bad->bytes);
}

TEST_F(TaskTableTest, ATaskThatEndedIsNotCalledBackForItsArguments) {
  ObjectEntry* late = Pending(100);
  TaskRecord* record = (builder_.Ref(late), Build(1, &options_));
  Resolve(record);
  tasks_.FinishWithError(record, SystemError("TaskCancelledError", ""));
  EXPECT_FALSE(tasks_.HasDependants());
  TaskRecord* next = Build(2, &options_);  // in the same slot
  ownership_.SetValue(late, InlineValue("late"));
  EXPECT_EQ(done_, 0);
  tasks_.Finish(next, {InlineValue("")});
}

TEST_F(TaskTableTest, ALongChainOfFailuresNeedsNoDeepStack) {
  ObjectEntry* last = Pending(1'000'000);
  ObjectEntry* first = last;
  for (std::uint64_t i = 1; i <= 100'000; ++i) {
    TaskRecord* record = (builder_.Ref(last), Build(i, &options_));
    last = record->returns[0];
    tasks_.ResolveArgs(record,
                       [this](TaskRecord* ready, ObjectEntry* failed) { tasks_.FinishWithErrorOf(ready, failed); });
  }
  ownership_.SetValue(first, UserError());
  EXPECT_TRUE(last->is_error);
}

TEST_F(TaskTableTest, EachPushHasASerialOfItsOwn) {
  TaskRecord* first = Build(1, &options_);
  TaskRecord* second = Build(2, &options_);
  tasks_.BeginAttempt(first, kWorker, LeaseId{7});
  tasks_.BeginAttempt(second, kWorker);
  const std::uint32_t before = first->attempt;
  EXPECT_EQ(HeaderOf(first->payload).lease, LeaseId{7});
  EXPECT_EQ(HeaderOf(first->payload).attempt, before);
  EXPECT_NE(second->attempt, before);
  tasks_.BeginAttempt(first, kWorker);
  EXPECT_NE(first->attempt, before);
  for (TaskRecord* record : {first, second}) tasks_.Finish(record, {InlineValue("")});
}

TEST_F(TaskTableTest, OnlyTheLastAttemptBringsAResult) {
  TaskRecord* record = Build(1, &options_);
  tasks_.BeginAttempt(record, kWorker);
  DoneHeader done, read;
  done.slot = record->slot;
  done.attempt = record->attempt;
  tasks_.BeginAttempt(record, kWorker);
  WireValue stale = InlineValue("stale");
  const ProcessId owner{0, 2};
  stale.refs = {{NumberedId<ObjectId>(100), owner}};
  stale.granted = {1};
  std::vector<WireValue> values;
  EXPECT_EQ(tasks_.ReadDone(DonePayload(done, {stale}), &read, &values), nullptr);
  ownership_.Flush();
  EXPECT_EQ(sender_.Take<BorrowRemove>(owner).counts, std::vector<std::uint32_t>{1});  // its grant is given back

  done.attempt = record->attempt;
  EXPECT_EQ(tasks_.ReadDone("too short", &read, &values), nullptr);
  EXPECT_EQ(tasks_.ReadDone(DonePayload(done, {InlineValue("fresh")}), &read, &values), record);
  tasks_.Finish(record, std::move(values));
  EXPECT_EQ(Result(1)->bytes, "fresh");
}

TEST_F(TaskTableTest, AMissingReturnValueIsAnError) {
  options_.num_returns = 2;
  TaskRecord* record = Build(1, &options_);
  tasks_.Finish(record, {InlineValue("one")});
  EXPECT_EQ(Result(1, 1)->bytes, "one");
  EXPECT_EQ(KindOf(Result(1, 2)), "RaySystemError");
}

TEST_F(TaskTableTest, TheEndReleasesWhatTheArgumentsHeld) {
  const ProcessId owner{0, 2};
  ObjectEntry* borrowed = ownership_.Receive({NumberedId<ObjectId>(100), owner}, true);
  TaskRecord* record = (builder_.Value("x", {borrowed}), Build(1, &options_));
  ownership_.Drop(borrowed);
  EXPECT_NE(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  tasks_.Finish(record, {InlineValue("")});
  EXPECT_EQ(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(owner);
}

TEST_F(TaskTableTest, TasksAreFoundById) {
  TaskRecord* record = Build(1, &options_);
  EXPECT_EQ(tasks_.FindById(Task(1)), record);
  EXPECT_EQ(tasks_.FindById(Task(2)), nullptr);
  tasks_.Finish(record, {InlineValue("")});
  EXPECT_EQ(tasks_.FindById(Task(1)), nullptr);
}

TEST_F(TaskTableTest, ReportsWhatLivesAndTheLatestEnds) {
  options_.name = "f";
  TaskRecord* waiting = Build(1, &options_);
  TaskRecord* pushed = Build(2, &options_);
  TaskRecord* failing = Build(3, &options_);
  tasks_.BeginAttempt(pushed, kWorker);
  tasks_.BeginAttempt(failing, kWorker);
  tasks_.FinishWithError(failing, SystemError("WorkerCrashedError", "gone"));
  std::vector<TaskInfo> report = tasks_.Report();
  ASSERT_EQ(report.size(), 3u);
  EXPECT_EQ(report[0].state, TaskInfo::kFailed);
  EXPECT_EQ(report[0].process, kWorker);
  EXPECT_EQ(report[0].error, SystemError("WorkerCrashedError", "gone").bytes);
  EXPECT_EQ(report[1].state, TaskInfo::kWaitsForWorker);
  EXPECT_TRUE(report[1].process.IsNil());
  EXPECT_EQ(report[2].state, TaskInfo::kPushed);
  EXPECT_EQ(report[2].name, "f");
  tasks_.Finish(pushed, {});
  tasks_.Finish(waiting, {});
  report = tasks_.Report();
  ASSERT_EQ(report.size(), 3u);
  EXPECT_EQ(report[1].state, TaskInfo::kFinished);
}

TEST_F(TaskTableTest, ReportsWhenATaskHasRun) {
  TaskRecord* record = Build(1, &options_);
  tasks_.BeginAttempt(record, kWorker);
  DoneHeader done, read;
  done.slot = record->slot;
  done.attempt = record->attempt;
  done.ran = {1'000, 6'000'000'000, 7, 8};
  std::vector<WireValue> values;
  ASSERT_EQ(tasks_.ReadDone(DonePayload(done, {InlineValue("")}), &read, &values), record);
  tasks_.Finish(record, std::move(values), read.ran);
  const std::vector<TaskInfo> report = tasks_.Report();
  ASSERT_EQ(report.size(), 1u);
  EXPECT_EQ(report[0].started_ns, 1'000);
  EXPECT_EQ(report[0].ended_ns, 6'000'000'000);
  EXPECT_EQ(report[0].args_us, 7u);
  EXPECT_EQ(report[0].results_us, 8u);
}

TEST_F(TaskTableTest, RemembersOnlyTheLatest) {
  for (std::uint32_t i = 1; i <= TaskHistory::kCapacity + 5; ++i) tasks_.Finish(Build(i, &options_), {});
  const std::vector<TaskInfo> report = tasks_.Report();
  EXPECT_EQ(report.size(), TaskHistory::kCapacity);
  const auto is_first = [](const TaskInfo& info) { return info.task == Task(1); };
  EXPECT_TRUE(std::none_of(report.begin(), report.end(), is_first));
}

}  // namespace
}  // namespace ray_engine
