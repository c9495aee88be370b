#include "engine/core/lineage.h"

#include <optional>

#include "engine/core/actor_submitter.h"
#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

constexpr ProcessId kWorker{2, 7}, kBorrower{3, 4};

class LineageTest : public CoreFixture {
 protected:
  std::optional<WireValue> OnObjectLost(ObjectEntry* entry, const std::string& reason) override {
    const auto submit = [this](TaskRecord* record) {
      submitted_ == nullptr ? void(again_ = record) : submitted_->push_back(record);
    };
    std::optional<WireValue> error = tasks_.OnObjectLost(entry, reason, submit);
    why_not_ = error ? std::string(PartsOf(error->bytes, entry->id).text) : "";
    why_not_ = why_not_.substr(0, why_not_.find('\n'));
    return error;
  }
  void OnLineageUnneeded(const ObjectEntry& result) override { tasks_.OnLineageUnneeded(result); }

  void Run(TaskRecord* record, std::vector<WireValue> values) {
    tasks_.BeginAttempt(record, kWorker);
    tasks_.Finish(record, std::move(values));
  }
  void RunAgain(std::vector<WireValue> values) { Run(std::exchange(again_, nullptr), std::move(values)); }
  // A task that yields; its reader is `stream_`.
  TaskRecord* BuildStream(std::uint64_t number, std::uint32_t limit = 0) {
    options_.yields = Yields::kStreaming;
    TaskRecord* record = Build(number, &options_);
    record->Extra().stream = stream_ = std::make_shared<Stream>(&ownership_, &sender_, record->id, limit);
    tasks_.BeginAttempt(record, kWorker);
    return record;
  }
  TaskRecord* BuildDynamic(std::uint64_t number) {
    options_.yields = Yields::kDynamic;
    TaskRecord* record = Build(number, &options_);
    record->Extra().stream = std::make_shared<Stream>(&ownership_, &sender_, record->id, 0, Stream::kCollects);
    tasks_.BeginAttempt(record, kWorker);
    return record;
  }
  void Yield(const TaskRecord* record, std::uint32_t index, WireValue value) {
    tasks_.On(kWorker, {record->slot, record->attempt, index, std::move(value)});
  }
  void YieldStored(const TaskRecord* record, std::uint32_t count, std::uint32_t node) {
    for (std::uint32_t i = 0; i < count; ++i) Yield(record, i, StoredAt(node));
  }
  // Items are results from the return index 2 on.
  void ReadAll() {
    while (!stream_->AtEnd()) results_.push_back(stream_->Take());
    stream_->Close();
  }
  std::vector<std::uint32_t> NodesOfItems(std::uint32_t count) const {
    std::vector<std::uint32_t> nodes;
    for (std::uint32_t i = 0; i < count; ++i) {
      const ObjectEntry* item = Result(1, i + 2);
      nodes.push_back(item->ready && item->kind == WireValue::kStored ? item->node : 99);
    }
    return nodes;
  }
  void TakeFrees() {
    for (std::uint32_t node = 0; node < 10; ++node) {
      while (!sender_.Nothing(ProcessId{node, 0})) sender_.Take<StoreFree>(ProcessId{node, 0});
    }
  }
  void TearDown() override {
    for (ObjectEntry* entry : std::exchange(results_, {})) ownership_.Drop(entry);
    TakeFrees();
    EXPECT_EQ(tasks_.lineage().tasks, 0u);
    EXPECT_EQ(tasks_.lineage().bytes, 0u);
    CoreFixture::TearDown();
  }

  CallOptions options_;
  std::shared_ptr<Stream> stream_;
  TaskRecord* again_ = nullptr;
  std::vector<TaskRecord*>* submitted_ = nullptr;  // instead, where there are several
  std::string why_not_;
};

TEST_F(LineageTest, ALostResultIsMadeAgainWithTheSameSpec) {
  builder_.Value("argument");
  TaskRecord* record = Build(1, &options_);
  const std::string payload = record->payload;
  Run(record, {StoredAt(2)});
  ObjectEntry* result = Result(1);
  ownership_.Lose(result, 2, "node 2 is gone");
  ASSERT_NE(again_, nullptr);
  EXPECT_FALSE(result->ready);
  EXPECT_EQ(again_->retries_left, 2);
  TaskView view;
  ASSERT_TRUE(ParseTask(again_->payload, &view));
  EXPECT_EQ(view.args.at(0).bytes, "argument");
  EXPECT_EQ(view.header.slot, again_->slot);
  RunAgain({StoredAt(4)});
  EXPECT_TRUE(result->ready);
  EXPECT_EQ(result->node, 4u);
}

TEST_F(LineageTest, SmallResultsNeedNone) {
  Run(Build(1, &options_), {InlineValue("small")});
  EXPECT_EQ(tasks_.lineage().tasks, 0u);
}

TEST_F(LineageTest, WhatTheArgumentsMentionStaysAsLongAsAResult) {
  ObjectEntry* inner = ownership_.NewOwned(NumberedId<ObjectId>(100));
  ownership_.SetValue(inner, InlineValue("inner"));
  builder_.Value("x", {inner});
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Drop(inner);
  EXPECT_EQ(ownership_.Stats().entries, 2u);
  ownership_.Drop(std::exchange(results_, {}).front());
  EXPECT_EQ(ownership_.Stats().entries, 0u);
}

TEST_F(LineageTest, ResultsLostTogetherAreMadeOnce) {
  options_.num_returns = 2;
  Run(Build(1, &options_), {StoredAt(2), StoredAt(2)});
  ownership_.Lose(Result(1, 1), 2, "gone");
  TaskRecord* first = std::exchange(again_, nullptr);
  ASSERT_NE(first, nullptr);
  ownership_.Lose(Result(1, 2), 2, "gone");
  EXPECT_EQ(again_, nullptr);
  Run(first, {StoredAt(5), StoredAt(5)});
  EXPECT_TRUE(Result(1, 1)->ready && Result(1, 2)->ready);
}

TEST_F(LineageTest, ResultsThatAreNotLostStayAndTheNewCopyIsFreedWithThem) {
  options_.num_returns = 2;
  Run(Build(1, &options_), {StoredAt(2), StoredAt(2)});
  ownership_.Lose(Result(1, 1), 2, "gone");
  RunAgain({StoredAt(5), StoredAt(6)});
  EXPECT_EQ(Result(1, 2)->node, 2u);
  for (ObjectEntry* entry : std::exchange(results_, {})) ownership_.Drop(entry);
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{6, 0}).objects.at(0), ReturnObjectId(Task(1), 2));
}

TEST_F(LineageTest, AResultThatNobodyHoldsIsMadeAndFreedAgain) {
  options_.num_returns = 2;
  Run(Build(1, &options_), {StoredAt(2), StoredAt(2)});
  ownership_.Drop(results_.back());
  results_.pop_back();
  TakeFrees();
  ownership_.Lose(Result(1, 1), 2, "gone");
  RunAgain({StoredAt(5), StoredAt(5)});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{5, 0}).objects.at(0), ReturnObjectId(Task(1), 2));
}

TEST_F(LineageTest, AnotherCopyTakesThePlaceOfALostOne) {
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Export(Result(1));
  ownership_.On(CopyAdded{Result(1)->id, 3});
  ownership_.Lose(Result(1), 2, "gone");
  EXPECT_TRUE(Result(1)->ready);
  EXPECT_EQ(Result(1)->node, 3u);
  EXPECT_EQ(sender_.Take<StoreKeep>(ProcessId{3, 0}).object, Result(1)->id);
  ownership_.Lose(Result(1), 2, "gone");  // old news
  EXPECT_EQ(Result(1)->node, 3u);
  EXPECT_EQ(again_, nullptr);
}

TEST_F(LineageTest, ABorrowerThatFindsALossGetsTheNewPlace) {
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Export(Result(1));
  ownership_.On(kBorrower, BorrowAdd{{Result(1)->id}, kBorrower, 0});
  ownership_.On(kBorrower, ValueRequest{Result(1)->id, 2, "node 2 is gone"});
  EXPECT_TRUE(sender_.Nothing(kBorrower));
  RunAgain({StoredAt(5)});
  EXPECT_EQ(sender_.Take<ValueReply>(kBorrower).value.node, 5u);
  ownership_.On(kBorrower, ValueRequest{Result(1)->id, 2, "node 2 is gone"});  // another reader's old news
  EXPECT_EQ(sender_.Take<ValueReply>(kBorrower).value.node, 5u);
  ownership_.On(kBorrower, BorrowRemove{{Result(1)->id}, {1}});
  while (!sender_.Nothing(kEngine)) sender_.Take<Watch>(kEngine);
}

TEST_F(LineageTest, WhatALostValueContainedStaysUntilItIsThereAgain) {
  ObjectEntry* inner = ownership_.NewOwned(NumberedId<ObjectId>(100));
  ownership_.SetValue(inner, InlineValue("inner"));
  ownership_.Export(inner);
  WireValue value = StoredAt(2);
  value.refs = {ownership_.Export(inner)};
  Run(Build(1, &options_), {value});
  ownership_.Drop(inner);  // the result alone holds it
  ownership_.Lose(Result(1), 2, "gone");
  EXPECT_NE(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  RunAgain({StoredAt(5)});
  EXPECT_EQ(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
}

// A task has read it from an argument that is lost since, as another reader has found.
TEST_F(LineageTest, WhatSomebodyWaitsForStaysUntilItIsThere) {
  ObjectEntry* inner = ownership_.NewOwned(NumberedId<ObjectId>(100));
  ownership_.Export(inner);
  WireValue value = StoredAt(2);
  value.refs = {ownership_.Export(inner)};
  options_.max_retries = 0;
  Run(Build(1, &options_), {value});
  ownership_.On(kBorrower, ValueRequest{inner->id, kNoNode, ""});
  ownership_.Drop(inner);
  ownership_.Lose(Result(1), 2, "gone");
  EXPECT_TRUE(Result(1)->is_error);
  ASSERT_EQ(ownership_.Find(NumberedId<ObjectId>(100)), inner);
  ownership_.SetValue(inner, InlineValue("inner"));
  EXPECT_EQ(sender_.Take<ValueReply>(kBorrower).value.bytes, "inner");
  EXPECT_EQ(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  while (!sender_.Nothing(kEngine)) sender_.Take<Watch>(kEngine);
}

TEST_F(LineageTest, ACopyMadeAgainOfAFreedResultIsFreed) {
  options_.num_returns = 2;
  Run(Build(1, &options_), {StoredAt(2), StoredAt(2)});
  ownership_.Free(Result(1, 2));
  TakeFrees();
  ownership_.Lose(Result(1, 1), 2, "gone");
  RunAgain({StoredAt(5), StoredAt(6)});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{6, 0}).objects.at(0), ReturnObjectId(Task(1), 2));
}

TEST_F(LineageTest, ReasonsWhyNot) {
  options_.max_retries = 0;
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Lose(Result(1), 2, "gone");
  EXPECT_EQ(why_not_, "RETRIES_DISABLED");
  EXPECT_EQ(KindOf(Result(1)), "ObjectReconstructionFailedError");

  options_.max_retries = 1;
  Run(Build(2, &options_), {StoredAt(2)});
  ownership_.Lose(Result(2), 2, "gone");
  RunAgain({StoredAt(3)});
  ownership_.Lose(Result(2), 3, "gone");
  EXPECT_EQ(why_not_, "MAX_ATTEMPTS_EXCEEDED");

  options_.max_retries = -1;
  Run(Build(3, &options_), {StoredAt(2)});
  TaskTable::CancelLineage(*Result(3));
  ownership_.Lose(Result(3), 2, "gone");
  EXPECT_EQ(why_not_, "TASK_CANCELLED");

  ObjectEntry* put = Pending(100);
  put->origin = ObjectEntry::kPut;
  ownership_.SetLocalValue(put, StoredAt(0), {});
  ownership_.Lose(put, 0, "gone");
  EXPECT_EQ(why_not_, "PUT");
}

TEST_F(LineageTest, NoneIsKeptWhereItIsDisabled) {
  tasks_.set_lineage_limit(0);
  Run(Build(1, &options_), {StoredAt(2)});
  EXPECT_EQ(tasks_.lineage().tasks, 0u);
  EXPECT_EQ(LineageKeeper::WhyNot(*Result(1)), "LINEAGE_DISABLED");
}

TEST_F(LineageTest, TheOldestGoesWhereThereIsTooMuch) {
  builder_.Value("argument");
  Run(Build(1, &options_), {StoredAt(2)});
  tasks_.set_lineage_limit(5 * tasks_.lineage().bytes / 2);
  for (const std::uint64_t task : {2, 3, 4}) {
    builder_.Value("argument");
    Run(Build(task, &options_), {StoredAt(2)});
  }
  EXPECT_EQ(tasks_.lineage().tasks, 2u);
  EXPECT_EQ(LineageKeeper::WhyNot(*Result(1)), "LINEAGE_EVICTED");
  EXPECT_EQ(LineageKeeper::WhyNot(*Result(2)), "LINEAGE_EVICTED");
  EXPECT_EQ(LineageKeeper::WhyNot(*Result(4)), "");
}

TEST_F(LineageTest, SmallArgumentsThatItHoldsCount) {
  ObjectEntry* small = ownership_.NewOwned(NumberedId<ObjectId>(100));
  ownership_.SetValue(small, InlineValue(std::string(50'000, 'x')));
  builder_.Value("x", {small});
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Drop(small);
  EXPECT_GT(tasks_.lineage().bytes, 50'000u);
}

TEST_F(LineageTest, ADescendantOfWhatWasEvictedFailsWhenItIsNeeded) {
  Run(Build(1, &options_), {StoredAt(2)});
  builder_.Ref(Result(1));
  TaskRecord* record = Build(2, &options_);
  tasks_.ResolveArgs(record, [](TaskRecord*, ObjectEntry*) {});
  Run(record, {StoredAt(2)});
  ownership_.Drop(results_.front());  // its lineage alone is kept
  results_.erase(results_.begin());
  TakeFrees();
  tasks_.set_lineage_limit(1);
  Run(Build(3, &options_), {StoredAt(2)});
  EXPECT_EQ(tasks_.lineage().tasks, 0u);
  EXPECT_EQ(ownership_.Stats().entries, 2u);
  ownership_.Lose(Result(2), 2, "gone");
  EXPECT_EQ(why_not_, "LINEAGE_EVICTED");
}

TEST_F(LineageTest, AnErrorOfTheSecondMakingIsTheResult) {
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Lose(Result(1), 2, "gone");
  tasks_.FinishWithError(std::exchange(again_, nullptr), SystemError("WorkerCrashedError", "killed"));
  EXPECT_EQ(KindOf(Result(1)), "WorkerCrashedError");
}

TEST_F(LineageTest, WhatWasPutStaysForWhatWasMadeFromIt) {
  ObjectEntry* put = ownership_.NewOwned(NumberedId<ObjectId>(100));
  put->origin = ObjectEntry::kPut;
  ownership_.SetValue(put, StoredAt(1));
  builder_.Ref(put);
  TaskRecord* record = Build(1, &options_);
  tasks_.ResolveArgs(record, [](TaskRecord*, ObjectEntry*) {});
  Run(record, {StoredAt(2)});
  ownership_.Drop(put);
  EXPECT_TRUE(sender_.Nothing(ProcessId{1, 0}));  // it is not freed
  ownership_.Lose(Result(1), 2, "gone");
  tasks_.ResolveArgs(again_, [](TaskRecord*, ObjectEntry* failed) { EXPECT_EQ(failed, nullptr); });
  RunAgain({StoredAt(5)});
  EXPECT_EQ(Result(1)->node, 5u);
}

TEST_F(LineageTest, MakingAgainWhatWasReleasedCostsNoRetry) {
  options_.max_retries = 1;
  Run(Build(1, &options_), {StoredAt(2)});
  ObjectEntry* first = Result(1);
  for (const std::uint64_t task : {2, 3, 4}) {
    builder_.Ref(first);
    TaskRecord* record = Build(task, &options_);
    tasks_.ResolveArgs(record, [](TaskRecord*, ObjectEntry*) {});
    Run(record, {StoredAt(2)});
  }
  ownership_.Drop(first);
  results_.erase(results_.begin());
  for (const std::uint64_t task : {2, 3, 4}) {
    EXPECT_FALSE(first->ready);
    std::vector<TaskRecord*> again;
    submitted_ = &again;
    ownership_.Lose(Result(task), 2, "gone");
    submitted_ = nullptr;
    ASSERT_EQ(again.size(), 2u) << why_not_;
    tasks_.ResolveArgs(again[1], [](TaskRecord*, ObjectEntry*) {});
    Run(again[0], {StoredAt(3)});
    Run(again[1], {StoredAt(3)});
    EXPECT_TRUE(Result(task)->ready);
  }
}

TEST_F(LineageTest, AMethodIsCalledAgainOnItsActor) {
  ActorLine line;
  line.actor = NumberedId<ActorId>(7);
  options_.kind = TaskKind::kActorMethod;
  TaskRecord* record = Build(1, &options_);
  record->actor = &line;
  Run(record, {StoredAt(2)});
  ownership_.Lose(Result(1), 2, "gone");
  ASSERT_NE(again_, nullptr);
  EXPECT_EQ(again_->rare->lineage->actor, line.actor);
  RunAgain({StoredAt(4)});
  EXPECT_EQ(Result(1)->node, 4u);
}

TEST_F(LineageTest, AMethodThatMayNotBeTriedAgainIsNot) {
  options_.kind = TaskKind::kActorMethod;
  options_.max_retries = 0;
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Lose(Result(1), 2, "gone");
  EXPECT_EQ(why_not_, "RETRIES_DISABLED");
}

TEST_F(LineageTest, LostItemsAreYieldedAgainAndNotReadTwice) {
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 3, 2);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  ownership_.Lose(Result(1, 2), 2, "gone");
  ASSERT_NE(again_, nullptr);
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 3, 5);
  EXPECT_EQ(NodesOfItems(3), (std::vector<std::uint32_t>{5, 2, 2}));
  EXPECT_TRUE(stream_->AtEnd());
  RunAgain({InlineValue("")});
  EXPECT_TRUE(stream_->AtEnd());
}

TEST_F(LineageTest, AllItemsOfADynamicGeneratorBelongToTheCaller) {
  TaskRecord* record = BuildDynamic(1);
  Yield(record, 0, InlineValue("small"));
  YieldStored(record, 2, 2);  // the first again: it was tried before
  Yield(record, 2, StoredAt(2));
  tasks_.Finish(record, {InlineValue("generator")});
  ObjectEntry* generator = Result(1);
  ASSERT_EQ(generator->contained.size(), 3u);
  EXPECT_EQ(generator->contained[0]->bytes, "small");
  EXPECT_EQ(generator->contained[2]->node, 2u);
  EXPECT_EQ(tasks_.lineage().tasks, 1u);
  ownership_.Lose(generator->contained[1], 2, "gone");
  ASSERT_NE(again_, nullptr);
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 3, 5);
  RunAgain({InlineValue("generator")});
  EXPECT_EQ(generator->contained[1]->node, 5u);
  EXPECT_EQ(generator->contained[2]->node, 2u);
}

TEST_F(LineageTest, WhatADynamicGeneratorYieldedBeforeItFailedIsFreed) {
  TaskRecord* record = BuildDynamic(1);
  YieldStored(record, 2, 2);
  tasks_.FinishWithError(record, SystemError("WorkerCrashedError", "killed"));
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{2, 0}).objects.size(), 1u);
  EXPECT_EQ(KindOf(Result(1)), "WorkerCrashedError");
}

TEST_F(LineageTest, TheErrorOfADynamicGeneratorIsItsLastItemUnlessItIsTriedAgain) {
  TaskRecord* record = BuildDynamic(1);
  YieldStored(record, 2, 2);
  tasks_.TakeRetry(record, {InlineValue("generator"), UserError()});
  tasks_.BeginAttempt(record, kWorker);
  YieldStored(record, 1, 3);  // a second copy of the first item
  tasks_.Finish(record, {InlineValue("generator"), UserError()});
  ASSERT_EQ(Result(1)->contained.size(), 2u);
  EXPECT_EQ(Result(1)->contained[0]->node, 2u);
  EXPECT_TRUE(Result(1)->contained[1]->is_error);
  EXPECT_FALSE(Result(1)->is_error);
}

TEST_F(LineageTest, ValuesThatWereReturnedBeforeAnErrorStayWhenItIsTriedAgain) {
  options_.num_returns = 2;
  TaskRecord* record = Build(1, &options_);
  tasks_.BeginAttempt(record, kWorker);
  tasks_.TakeRetry(record, {StoredAt(2), UserError()});
  EXPECT_EQ(Result(1)->node, 2u);
  EXPECT_FALSE(Result(1, 2)->ready);
  Run(record, {StoredAt(3), StoredAt(3)});
  EXPECT_EQ(Result(1)->node, 2u);
  EXPECT_EQ(Result(1, 2)->node, 3u);
}

// One item is held by the program still, so the new generator has that one, and the others are new.
TEST_F(LineageTest, ADynamicGeneratorThatWasLetGoIsCollectedAgain) {
  TaskRecord* record = BuildDynamic(1);
  YieldStored(record, 2, 2);
  tasks_.Finish(record, {InlineValue("generator")});
  ObjectEntry* generator = results_.back();
  ObjectEntry* held = generator->contained[1];
  ownership_.Hold(held);
  results_.back() = held;
  ownership_.HoldLineage(generator);
  ownership_.Drop(generator);
  TakeFrees();
  ownership_.Recall(generator);
  ASSERT_NE(again_, nullptr);
  EXPECT_FALSE(generator->ready);
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 2, 5);
  tasks_.Finish(std::exchange(again_, nullptr), {InlineValue("generator")});
  ASSERT_TRUE(generator->ready);
  ASSERT_EQ(generator->contained.size(), 2u);
  EXPECT_EQ(generator->contained[0]->node, 5u);
  EXPECT_EQ(generator->contained[1], held);
  ownership_.DropLineage(generator);
  ownership_.Drop(generator);
}

TEST_F(LineageTest, AnItemThatNobodyHoldsIsYieldedAndFreedAgain) {
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 2, 2);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  ownership_.Drop(results_.back());
  results_.pop_back();
  TakeFrees();
  ownership_.Lose(Result(1, 2), 2, "gone");
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 2, 5);
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{5, 0}).objects.at(0), ReturnObjectId(Task(1), 3));
  RunAgain({InlineValue("")});
}

TEST_F(LineageTest, ALostItemThatIsNotYieldedAgainIsAnError) {
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 3, 2);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  ownership_.Lose(Result(1, 2), 2, "gone");
  ownership_.Lose(Result(1, 4), 2, "gone");
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 2, 5);
  RunAgain({InlineValue("")});
  EXPECT_EQ(Result(1, 2)->node, 5u);
  EXPECT_EQ(KindOf(Result(1, 4)), "StreamingGeneratorReplayInconsistentError");
}

TEST_F(LineageTest, ALostItemGetsTheErrorOfTheSecondRun) {
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 3, 2);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  for (std::uint32_t index : {2, 3, 4}) ownership_.Lose(Result(1, index), 2, "gone");
  tasks_.BeginAttempt(again_, kWorker);
  YieldStored(again_, 2, 5);
  tasks_.FinishWithError(std::exchange(again_, nullptr), SystemError("WorkerCrashedError", "killed"));
  EXPECT_EQ(NodesOfItems(3), (std::vector<std::uint32_t>{5, 5, 99}));
  EXPECT_EQ(KindOf(Result(1, 4)), "WorkerCrashedError");
}

TEST_F(LineageTest, AnItemLostWhileItsTaskIsTriedAgainComesWithThat) {
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 2, 2);
  results_.push_back(stream_->Take());
  TaskTable::TakeRetry(record);  // its worker has died, with its node
  ownership_.Lose(Result(1, 2), 2, "gone");
  tasks_.BeginAttempt(record, kWorker);
  YieldStored(record, 2, 5);
  EXPECT_EQ(Result(1, 2)->node, 5u);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  EXPECT_EQ(again_, nullptr);
}

TEST_F(LineageTest, ATaskWhoseItemIsLostWhileItRunsStartsOver) {
  TaskRecord* record = BuildStream(1, 1);
  Yield(record, 0, StoredAt(2));
  results_.push_back(stream_->Take());
  sender_.Take<StreamConsumed>(kWorker);
  ownership_.Lose(Result(1, 2), 2, "gone");
  EXPECT_EQ(sender_.Take<CancelTask>(kWorker).task, Task(1));
  EXPECT_TRUE(record->rare->starts_over);
  TaskTable::TakeRetry(record);
  tasks_.BeginAttempt(record, kWorker);
  Yield(record, 0, StoredAt(5));
  EXPECT_EQ(Result(1, 2)->node, 5u);
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 1u);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
}

TEST_F(LineageTest, AMethodWhoseItemIsLostWhileItRunsIsLetRunToItsEndAndCalledAgain) {
  options_.kind = TaskKind::kActorMethod;
  TaskRecord* record = BuildStream(1, 1);
  Yield(record, 0, StoredAt(2));
  results_.push_back(stream_->Take());
  sender_.Take<StreamConsumed>(kWorker);
  ownership_.Lose(Result(1, 2), 2, "gone");
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 0xffffffffu);
  EXPECT_EQ(again_, nullptr);
  tasks_.Finish(record, {InlineValue("")});
  ASSERT_NE(again_, nullptr);
  tasks_.BeginAttempt(again_, kWorker);
  Yield(again_, 0, StoredAt(5));
  EXPECT_EQ(sender_.Take<StreamConsumed>(kWorker).count, 0xffffffffu);  // nobody holds it up this time
  RunAgain({InlineValue("")});
  EXPECT_EQ(Result(1, 2)->node, 5u);
  ReadAll();
}

TEST_F(LineageTest, AnItemLostWithoutARetryLeftIsAnErrorAtOnce) {
  options_.max_retries = 1;
  TaskRecord* record = BuildStream(1);
  TaskTable::TakeRetry(record);
  tasks_.BeginAttempt(record, kWorker);
  YieldStored(record, 2, 2);
  results_.push_back(stream_->Take());
  ownership_.Lose(Result(1, 2), 2, "gone");
  EXPECT_EQ(why_not_, "MAX_ATTEMPTS_EXCEEDED");
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
}

TEST_F(LineageTest, ItemsOfAStreamWithoutRetriesAreNotMadeAgain) {
  options_.max_retries = 0;
  TaskRecord* record = BuildStream(1);
  YieldStored(record, 1, 2);
  tasks_.Finish(record, {InlineValue("")});
  ReadAll();
  EXPECT_EQ(tasks_.lineage().tasks, 0u);
  ownership_.Lose(Result(1, 2), 2, "gone");
  EXPECT_EQ(why_not_, "RETRIES_DISABLED");
}

TEST_F(LineageTest, ACopyOfWhatIsSmallInItsOtherMakingIsFreed) {
  options_.num_returns = 2;
  Run(Build(1, &options_), {StoredAt(2), InlineValue("small")});
  ownership_.Lose(Result(1, 1), 2, "gone");
  RunAgain({StoredAt(5), StoredAt(6)});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{6, 0}).objects.at(0), ReturnObjectId(Task(1), 2));
}

// The reader that said so may have meant an earlier copy on that node.
TEST_F(LineageTest, WhatIsSaidToBeLostIsFreedWhereItLay) {
  Run(Build(1, &options_), {StoredAt(2)});
  ownership_.Lose(Result(1), 2, "gone");
  RunAgain({InlineValue("small")});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{2, 0}).objects.at(0), ReturnObjectId(Task(1), 1));
}

TEST_F(LineageTest, AnArgumentLostWhileAnotherIsWaitedForIsWaitedForAgain) {
  Run(Build(1, &options_), {StoredAt(2)});
  ObjectEntry* late = Pending(100);
  builder_.Ref(Result(1)).Ref(late);
  TaskRecord* record = Build(2, &options_);
  int resolved = 0;
  tasks_.ResolveArgs(record, [&](TaskRecord*, ObjectEntry*) { ++resolved; });
  ownership_.Lose(Result(1), 2, "gone");
  ownership_.SetValue(late, InlineValue("late"));
  EXPECT_EQ(resolved, 0);
  RunAgain({StoredAt(5)});
  EXPECT_EQ(resolved, 1);
  TaskView view;
  ASSERT_TRUE(ParseTask(record->payload, &view));
  EXPECT_EQ(view.args.at(0).refs.at(0).node, 5u);
  tasks_.Finish(record, {InlineValue("")});
}

}  // namespace
}  // namespace ray_engine
