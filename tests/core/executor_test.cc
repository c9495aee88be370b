#include "engine/core/executor.h"

#include "gtest/gtest.h"
#include "tests/support/recording_sender.h"
#include "tests/support/task_builder.h"

namespace ray_engine {
namespace {

using std::chrono::milliseconds;

constexpr ProcessId kSelf{0, 1}, kOwner{0, 2}, kOther{0, 3};

class ExecutorTest : public ::testing::Test {
 protected:
  ExecutorTest() : sender_(kSelf), executor_(&sender_) {}
  void TearDown() override { EXPECT_EQ(sender_.Left(), ""); }

  static std::string Spec(std::uint64_t number, TaskKind kind = TaskKind::kNormal, std::uint8_t group = 0) {
    TaskHeader header;
    header.task = NumberedId<TaskId>(number);
    header.slot = static_cast<std::uint32_t>(number);
    header.attempt = static_cast<std::uint32_t>(100 + number);
    header.lease = LeaseId{5};
    header.kind = kind;
    header.concurrency_group = group;
    std::string payload;
    AppendPlain(&payload, header);
    return payload;
  }
  void Push(std::uint64_t number, ProcessId owner = kOwner, TaskKind kind = TaskKind::kNormal) {
    executor_.OnPushTask(owner, Spec(number, kind));
  }
  ExecTask* Start() { return executor_.Start(now_); }
  static std::uint64_t NumberOf(const ExecTask& task) { return task.header.slot; }

  RecordingSender sender_;
  Executor executor_;
  Nanoseconds now_{std::chrono::seconds(1)};
};

TEST_F(ExecutorTest, TasksRunInTheOrderTheyCame) {
  for (std::uint64_t i = 1; i <= 3; ++i) Push(i);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(executor_.HasWork());
    ExecTask* task = Start();
    EXPECT_EQ(NumberOf(*task), i);
    EXPECT_EQ(task->owner, kOwner);
    EXPECT_EQ(executor_.LeaseOf(*task), LeaseId{5});
    executor_.Finished(task);
  }
  EXPECT_FALSE(executor_.HasWork());
}

TEST_F(ExecutorTest, CallsOfTheSystemGroupAreForTheirThreadAlone) {
  executor_.OnPushTask(kOwner, Spec(1, TaskKind::kActorMethod, kSystemGroup));
  EXPECT_FALSE(executor_.HasWork());
  EXPECT_FALSE(executor_.HasWork(0));
  EXPECT_FALSE(executor_.IsEmpty());
  EXPECT_FALSE(executor_.HasGroups());
  EXPECT_TRUE(executor_.TakeNeedOfSystemThread());
  EXPECT_TRUE(executor_.HasGroups());
  executor_.OnPushTask(kOwner, Spec(2, TaskKind::kActorMethod, kSystemGroup));
  executor_.OnPushTask(kOwner, Spec(3, TaskKind::kActorMethod));
  executor_.OnPushTask(kOther, Spec(4, TaskKind::kActorMethod, kSystemGroup));
  EXPECT_FALSE(executor_.TakeNeedOfSystemThread());
  EXPECT_EQ(NumberOf(*Start()), 3u);
  EXPECT_EQ(NumberOf(*executor_.Start(now_, kSystemGroup)), 1u);
  EXPECT_EQ(executor_.Cancel(NumberedId<TaskId>(2)), nullptr);
  sender_.TakeFrame(kOwner, MessageType::kTaskDone);
  executor_.OnProcessGone(kOther);
  EXPECT_TRUE(executor_.IsEmpty());
}

TEST_F(ExecutorTest, AnAsyncActorHandsCallsOfTheSystemGroupOverWithTheOthers) {
  StartActor start;
  start.spec.is_async = true;
  start.spec.creation_task = Spec(1, TaskKind::kActorCreation);
  executor_.On(start);
  executor_.OnPushTask(kOwner, Spec(2, TaskKind::kActorMethod, kSystemGroup));
  EXPECT_FALSE(executor_.TakeNeedOfSystemThread());
  executor_.Finished(Start());
  EXPECT_EQ(NumberOf(*Start()), 2u);
}

TEST_F(ExecutorTest, WhatWasNotedOfATaskIsNotThereForTheNext) {
  Push(1);
  ExecTask* task = Start();
  task->called_at = task->returned_at = now_;
  task->leaving = true;
  executor_.Finished(task);
  Push(2);
  task = Start();
  EXPECT_EQ(task->called_at.count(), 0);
  EXPECT_EQ(task->returned_at.count(), 0);
  EXPECT_FALSE(task->leaving);
  executor_.Finished(task);
}

TEST_F(ExecutorTest, AThreadOfAConcurrencyGroupTakesTheFirstOfItsOwn) {
  for (std::uint64_t i = 1; i <= 4; ++i) executor_.OnPushTask(kOwner, Spec(i, TaskKind::kActorMethod, i % 2));
  EXPECT_FALSE(executor_.HasWork(2));
  ExecTask* even = executor_.Start(now_, 0);
  ExecTask* odd = executor_.Start(now_, 1);
  EXPECT_EQ(NumberOf(*even), 2u);
  EXPECT_EQ(NumberOf(*odd), 1u);
  executor_.Finished(executor_.Start(now_, 0));
  EXPECT_FALSE(executor_.HasWork(0));
  EXPECT_TRUE(executor_.HasWork());
  executor_.Finished(executor_.Start(now_));
  executor_.Finished(even);
  executor_.Finished(odd);
}

TEST_F(ExecutorTest, ATaskThatLeavesIsLeavingUntilItHasEnded) {
  Push(1);
  ExecTask* task = Start();
  EXPECT_FALSE(executor_.AnyLeaving());
  task->leaving = true;
  EXPECT_TRUE(executor_.AnyLeaving());
  executor_.Finished(task);
  EXPECT_FALSE(executor_.AnyLeaving());
  Push(2);
  EXPECT_FALSE(Start()->leaving);  // records are used again
}

TEST_F(ExecutorTest, ABlockedWorkerGivesBackWhatHasNotStarted) {
  Push(1);
  Push(2);
  Push(3, kOther);
  Push(4);
  ExecTask* running = Start();
  executor_.GiveBack();
  const TasksReturned to_owner = sender_.Take<TasksReturned>(kOwner);
  EXPECT_EQ(to_owner.slots, (std::vector<std::uint32_t>{2, 4}));
  EXPECT_EQ(to_owner.attempts, (std::vector<std::uint32_t>{102, 104}));
  EXPECT_EQ(sender_.Take<TasksReturned>(kOther).slots, std::vector<std::uint32_t>{3});
  EXPECT_FALSE(executor_.HasWork());
  executor_.GiveBack();  // nothing is left
  executor_.Finished(running);
}

TEST_F(ExecutorTest, OnlyTasksBehindOneThatOverrunsAreGivenBack) {
  Push(1);
  ExecTask* running = Start();
  EXPECT_FALSE(executor_.NeedsTick());
  Push(2);
  EXPECT_TRUE(executor_.NeedsTick());
  executor_.GiveBackIfOverrun(now_ + Executor::kOverrun - milliseconds(1));
  EXPECT_TRUE(executor_.HasWork());
  executor_.GiveBackIfOverrun(now_ + Executor::kOverrun);
  EXPECT_EQ(sender_.Take<TasksReturned>(kOwner).slots, std::vector<std::uint32_t>{2});
  executor_.Finished(running);
}

TEST_F(ExecutorTest, MethodsAreNeverGivenBack) {
  Push(1, kOwner, TaskKind::kActorMethod);
  executor_.GiveBack();
  ExecTask* task = Start();
  EXPECT_EQ(NumberOf(*task), 1u);
  executor_.Finished(task);
}

TEST_F(ExecutorTest, AQueuedTaskIsCancelledAtOnceAndItsOwnerTold) {
  Push(1);
  EXPECT_EQ(executor_.Cancel(NumberedId<TaskId>(1)), nullptr);
  EXPECT_FALSE(executor_.HasWork());
  const std::string payload = sender_.TakeFrame(kOwner, MessageType::kTaskDone).payload;
  DoneHeader done;
  ASSERT_GE(payload.size(), sizeof done);
  std::memcpy(static_cast<void*>(&done), payload.data(), sizeof done);
  EXPECT_EQ(done.outcome, DoneHeader::kCancelled);
  EXPECT_EQ(done.attempt, 101u);
  EXPECT_EQ(done.num_returns, 1u);
}

TEST_F(ExecutorTest, ARunningTaskIsMarkedAndTheNextOneIsNot) {
  Push(1);
  Push(2);
  ExecTask* task = Start();
  EXPECT_EQ(executor_.Cancel(NumberedId<TaskId>(1)), task);
  EXPECT_TRUE(task->cancelled);
  EXPECT_TRUE(executor_.IsRunning(NumberedId<TaskId>(1)));
  executor_.Finished(task);
  EXPECT_FALSE(executor_.IsRunning(NumberedId<TaskId>(1)));
  EXPECT_EQ(executor_.Cancel(NumberedId<TaskId>(1)), nullptr);
  task = Start();
  EXPECT_FALSE(task->cancelled);
  EXPECT_TRUE(task->interruptible);
  executor_.Finished(task);
}

TEST_F(ExecutorTest, QueuedTasksOfADeadOwnerAreDropped) {
  Push(1);
  Push(2, kOther);
  StartActor actor;
  actor.lease = LeaseId{9};
  actor.spec.creator = kOwner;
  actor.spec.creation_task = Spec(3, TaskKind::kActorCreation);
  executor_.On(actor);
  executor_.OnProcessGone(kOwner);
  ExecTask* task = Start();
  EXPECT_EQ(NumberOf(*task), 2u);
  executor_.Finished(task);
  task = Start();  // the head decides about actors
  EXPECT_EQ(NumberOf(*task), 3u);
  EXPECT_TRUE(task->actor.has_value());
  EXPECT_EQ(executor_.LeaseOf(*task), LeaseId{9});
  executor_.Finished(task);
  EXPECT_FALSE(executor_.HasWork());
}

TEST_F(ExecutorTest, MalformedSpecsAreIgnored) {
  executor_.OnPushTask(kOwner, "short");
  StartActor actor;
  actor.spec.creation_task = "short";
  executor_.On(actor);
  EXPECT_FALSE(executor_.HasWork());
}

TEST_F(ExecutorTest, SeveralTasksRunAtOnceInAThreadedActor) {
  for (std::uint64_t i = 1; i <= 3; ++i) Push(i, kOwner, TaskKind::kActorMethod);
  ExecTask* first = Start();
  ExecTask* second = Start();
  EXPECT_EQ(executor_.running().size(), 2u);
  executor_.Finished(first);
  EXPECT_TRUE(executor_.IsRunning(NumberedId<TaskId>(2)));
  ExecTask* third = Start();
  executor_.Finished(third);
  executor_.Finished(second);
  EXPECT_TRUE(executor_.running().empty());
}

}  // namespace
}  // namespace ray_engine
