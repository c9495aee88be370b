#include "engine/core/task_submitter.h"

#include <gmock/gmock.h>

#include <memory>

#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr ProcessId kWorker{0, 2}, kWorker2{0, 3}, kRemote{1, 4};

class TaskSubmitterTest : public CoreFixture {
 protected:
  TaskSubmitterTest() : submitter_(&sender_, &tasks_) {
    quick_.name = "quick";
    quick_.mean_ns = 10'000;
  }

  TaskRecord* Submit(std::uint64_t number, CallOptions* options) {
    TaskRecord* record = Build(number, options);
    submitter_.Submit(record);
    return record;
  }
  // A large object of this process, and a task that gets it.
  ObjectEntry* Own(std::uint64_t number) { return ownership_.NewOwned(NumberedId<ObjectId>(number)); }
  void Store(ObjectEntry* entry, std::uint32_t node) {
    WireValue value;
    value.kind = WireValue::kStored;
    value.size = 200'000;
    value.node = node;
    ownership_.SetValue(entry, value);
  }
  void SubmitWith(ObjectEntry* argument, std::uint64_t number, CallOptions* options) {
    builder_.Ref(argument);
    Submit(number, options);
  }
  void Free(ObjectEntry* entry, std::uint32_t node) {
    ownership_.Drop(entry);
    sender_.TakeFrame(ProcessId{node, 0}, MessageType::kStoreFree);
  }
  void Grant(std::uint64_t lease, ProcessId worker = kWorker) {
    submitter_.On(LeaseGrant{LeaseId{lease}, 0, worker, NodeId()}, now_);
  }
  std::uint32_t TakeDemand() { return sender_.Take<LeaseDemand>(kHead).count; }
  // What the driver is told next.
  std::string TakeReport() {
    const auto report = sender_.Take<DriverLine>(kHead);
    EXPECT_EQ(report.kind, "worker_died");
    return report.text;
  }
  // The task that was pushed next.
  TaskHeader TakePush(ProcessId worker = kWorker) {
    return HeaderOf(sender_.TakeFrame(worker, MessageType::kPushTask).payload);
  }
  void Done(const TaskHeader& task, DoneHeader::Outcome outcome = DoneHeader::kOk,
            microseconds lasted = microseconds(10)) {
    DoneHeader done, read;
    done.slot = task.slot;
    done.attempt = task.attempt;
    done.outcome = outcome;
    done.ran = {0, Nanoseconds(lasted).count()};
    WireValue value = outcome == DoneHeader::kOk ? InlineValue("done") : UserError();
    if (outcome == DoneHeader::kCancelled) value = SystemError("TaskCancelledError", "");
    std::vector<WireValue> values;
    TaskRecord* record = tasks_.ReadDone(DonePayload(done, {value}), &read, &values);
    ASSERT_NE(record, nullptr);
    submitter_.OnDone(record, read, std::move(values), now_);
  }
  void GiveBack(const std::vector<TaskHeader>& tasks, ProcessId worker = kWorker) {
    TasksReturned returned;
    for (const TaskHeader& task : tasks) {
      returned.slots.push_back(task.slot);
      returned.attempts.push_back(task.attempt);
    }
    submitter_.On(worker, returned, now_);
  }
  void Pass(Nanoseconds time) {
    now_ += time;
    submitter_.Tick(now_);
  }
  // Lets the leases linger out.
  void ExpectLeasesReturned(std::initializer_list<std::uint64_t> leases) {
    Pass(milliseconds(1));
    Pass(TaskSubmitter::kLinger);
    for (std::size_t i = 0; i < leases.size(); ++i) {
      const LeaseId lease = sender_.Take<LeaseReturn>(kEngine).lease;
      EXPECT_NE(std::find(leases.begin(), leases.end(), static_cast<std::uint64_t>(lease)), leases.end());
    }
    EXPECT_EQ(submitter_.Stats().leases, 0u);
  }

  TaskSubmitter submitter_;
  Nanoseconds now_{std::chrono::seconds(1)};
  CallOptions options_;  // never measured
  CallOptions quick_;
};

TEST_F(TaskSubmitterTest, ATaskGoesToTheWorkerOfALeaseAndTheLeaseBackWhenIdle) {
  Submit(1, &options_);
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(7);
  const TaskHeader pushed = TakePush();
  EXPECT_EQ(pushed.task, Task(1));
  EXPECT_EQ(pushed.lease, LeaseId{7});
  Done(pushed);
  EXPECT_EQ(Result(1)->bytes, "done");
  EXPECT_TRUE(submitter_.NeedsTick());
  ExpectLeasesReturned({7});
  EXPECT_FALSE(submitter_.NeedsTick());
}

TEST_F(TaskSubmitterTest, OnceAFunctionIsKnownToBeShortAllItsWorkersGetMore) {
  for (std::uint64_t number = 1; number <= 10; ++number) Submit(number, &options_);
  TakeDemand();
  Grant(7);
  Grant(8, kWorker2);
  const TaskHeader first = TakePush();
  std::vector<TaskHeader> there = {TakePush(kWorker2)}, here;
  Done(first);
  while (!sender_.Nothing(kWorker)) here.push_back(TakePush());
  while (!sender_.Nothing(kWorker2)) there.push_back(TakePush(kWorker2));
  EXPECT_EQ(here.size() + there.size(), 9u);
  EXPECT_GE(here.size(), 4u);
  EXPECT_GE(there.size(), 4u);
  for (const TaskHeader& task : here) Done(task);
  for (const TaskHeader& task : there) Done(task);
  while (!sender_.Nothing(kHead)) sender_.Take<LeaseDemand>(kHead);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, WhileOthersAreFullTheWorkerThatEndsATaskGetsTheNext) {
  for (std::uint64_t number = 1; number <= 6; ++number) Submit(number, &options_);
  TakeDemand();
  Grant(7);
  Grant(8, kWorker2);
  TaskHeader here = TakePush(), there = TakePush(kWorker2);
  for (int i = 0; i < 3; ++i) {  // long ones, so one at a time
    Done(there, DoneHeader::kOk, milliseconds(50));
    there = TakePush(kWorker2);
    EXPECT_TRUE(sender_.Nothing(kWorker));
  }
  Done(here, DoneHeader::kOk, milliseconds(50));
  here = TakePush();
  Done(here, DoneHeader::kOk, milliseconds(50));
  Done(there, DoneHeader::kOk, milliseconds(50));
  while (!sender_.Nothing(kHead)) sender_.Take<LeaseDemand>(kHead);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, AnIdleWorkerTakesTheNextTaskWithoutAskingAnybody) {
  Submit(1, &options_);
  TakeDemand();
  Grant(7);
  Done(TakePush());
  Submit(2, &options_);
  Done(TakePush());
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, TasksWhoseArgumentsLieOnAnotherNodeAskForLeasesThere) {
  ObjectEntry *there = Own(100), *here = Own(101);
  Store(here, kSelf.node);
  SubmitWith(there, 1, &options_);
  SubmitWith(here, 2, &options_);
  const auto near_here = sender_.Take<LeaseDemand>(kHead);
  EXPECT_EQ(near_here.locality, kNoNode);
  EXPECT_TRUE(sender_.Nothing(kHead));  // the other argument is not there yet
  Store(there, 3);
  const auto near_there = sender_.Take<LeaseDemand>(kHead);
  EXPECT_EQ(near_there.locality, 3u);
  EXPECT_NE(near_there.key, near_here.key);
  EXPECT_EQ(near_there.count, 1u);
  submitter_.On(LeaseGrant{LeaseId{7}, near_there.key, kWorker, NodeId()}, now_);
  const TaskHeader first = TakePush();
  EXPECT_EQ(first.task, Task(1));
  GiveBack({first});  // it stays with those of its node
  Done(TakePush());
  submitter_.On(LeaseGrant{LeaseId{8}, near_here.key, kWorker2, NodeId()}, now_);
  Done(TakePush(kWorker2));
  ExpectLeasesReturned({7, 8});
  Free(there, 3);
  Free(here, kSelf.node);
}

TEST_F(TaskSubmitterTest, WhereATaskRunsByItsStrategyDoesNotDependOnItsArguments) {
  options_.lease_class.strategy = LeaseClass::kSpread;
  ObjectEntry* there = Own(100);
  Store(there, 3);
  SubmitWith(there, 1, &options_);
  EXPECT_EQ(sender_.Take<LeaseDemand>(kHead).locality, kNoNode);
  Grant(7);
  Done(TakePush());
  EXPECT_EQ(sender_.Take<LeaseReturn>(kEngine).lease, LeaseId{7});  // the next one is to run elsewhere
  Free(there, 3);
}

TEST_F(TaskSubmitterTest, ADemandTellsHowManyGrantsHaveArrived) {
  Submit(1, &options_);
  Submit(2, &options_);
  EXPECT_EQ(sender_.Take<LeaseDemand>(kHead).received, 0u);
  EXPECT_EQ(sender_.Take<LeaseDemand>(kHead).received, 0u);
  Grant(7);
  const TaskHeader first = TakePush();
  Submit(3, &options_);
  const auto demand = sender_.Take<LeaseDemand>(kHead);
  EXPECT_EQ(demand.count, 2u);
  EXPECT_EQ(demand.received, 1u);
  Done(first);
  Done(TakePush());
  Done(TakePush());
  EXPECT_EQ(TakeDemand(), 0u);
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, WhoHasLostLeasesWithANodeSaysAgainHowManyItWants) {
  Submit(1, &options_);
  EXPECT_EQ(TakeDemand(), 1u);
  submitter_.On(LeasesLost{0});  // what has been granted may never arrive
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(7);
  submitter_.On(LeasesLost{0});
  const auto demand = sender_.Take<LeaseDemand>(kHead);
  EXPECT_EQ(demand.count, 0u);
  EXPECT_EQ(demand.received, 1u);
  Done(TakePush());
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, UnknownTasksAskForAWorkerEach) {
  for (std::uint64_t i = 1; i <= 4; ++i) Submit(i, &options_);
  submitter_.FlushDemands();
  std::uint32_t demand = 0;
  while (!sender_.Nothing(kHead)) demand = TakeDemand();
  EXPECT_EQ(demand, 4u);
  Grant(7);
  Grant(8, kWorker2);
  TaskHeader at_first = TakePush(), at_second = TakePush(kWorker2);
  Done(at_first, DoneHeader::kOk, milliseconds(5));  // long: one at a time
  Done(at_second, DoneHeader::kOk, milliseconds(5));
  at_first = TakePush();
  at_second = TakePush(kWorker2);
  EXPECT_TRUE(sender_.Nothing(kWorker));
  Done(at_first, DoneHeader::kOk, milliseconds(5));
  Done(at_second, DoneHeader::kOk, milliseconds(5));
  while (!sender_.Nothing(kHead)) demand = TakeDemand();
  EXPECT_EQ(demand, 0u);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, QuickTasksAreQueuedAheadOnOneWorker) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  for (std::uint64_t i = 2; i <= 5; ++i) Submit(i, &quick_);
  std::vector<TaskHeader> pushed;
  for (int i = 0; i < 5; ++i) pushed.push_back(TakePush());
  for (const TaskHeader& task : pushed) Done(task);
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, QuickTasksBehindALongOneGetAWorkerOfTheirOwn) {
  Submit(1, &options_);
  TakeDemand();
  Grant(7);
  const TaskHeader unknown = TakePush();
  Submit(2, &quick_);  // perhaps the first one waits for it
  EXPECT_EQ(TakeDemand(), 1u);
  EXPECT_TRUE(sender_.Nothing(kWorker));
  Grant(8, kWorker2);
  Done(TakePush(kWorker2));
  Done(unknown);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, TasksGivenBackRunElsewhereInTheirOrder) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  for (std::uint64_t i = 2; i <= 4; ++i) Submit(i, &quick_);
  std::vector<TaskHeader> pushed;
  for (int i = 0; i < 4; ++i) pushed.push_back(TakePush());
  GiveBack({pushed[1], pushed[2], pushed[3]});  // the worker is blocked in the first
  EXPECT_TRUE(sender_.Nothing(kWorker));
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(8, kWorker2);
  for (std::uint64_t i = 2; i <= 4; ++i) {
    const TaskHeader again = TakePush(kWorker2);
    EXPECT_EQ(again.task, Task(i));
    EXPECT_NE(again.attempt, pushed[i - 1].attempt);
    Done(again);
  }
  Done(pushed[0]);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, AWorkerThatHasFinishedWhatStalledItIsUsedAgain) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  Submit(2, &quick_);
  const TaskHeader first = TakePush(), second = TakePush();
  GiveBack({second});
  TakeDemand();
  Done(first);
  Done(TakePush());
  EXPECT_EQ(TakeDemand(), 0u);
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, WhatWaitsBehindATaskThatTakesTooLongIsRecalled) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  Submit(2, &quick_);
  const TaskHeader first = TakePush(), second = TakePush();
  Pass(milliseconds(10));
  EXPECT_TRUE(sender_.Nothing(kWorker));
  Pass(milliseconds(10));
  EXPECT_EQ(sender_.Take<ReturnYourQueue>(kWorker).lease, LeaseId{7});
  GiveBack({second});
  EXPECT_EQ(TakeDemand(), 1u);
  Pass(milliseconds(10));  // nothing is queued there any more
  Grant(8, kWorker2);
  Done(TakePush(kWorker2));
  Done(first);
  ExpectLeasesReturned({7, 8});
}

TEST_F(TaskSubmitterTest, AReclaimedLeaseGoesBackWhenItsWorkerHasFinished) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  Submit(2, &quick_);
  const TaskHeader first = TakePush(), second = TakePush();
  submitter_.On(LeaseReclaim{LeaseId{7}});
  EXPECT_EQ(sender_.Take<ReturnYourQueue>(kWorker).lease, LeaseId{7});
  GiveBack({second});
  EXPECT_EQ(TakeDemand(), 1u);
  Done(first);
  EXPECT_EQ(sender_.Take<LeaseReturn>(kEngine).lease, LeaseId{7});
  Grant(8, kWorker2);
  Done(TakePush(kWorker2));
  ExpectLeasesReturned({8});
}

TEST_F(TaskSubmitterTest, AReclaimedLeaseGoesBackWhenItsWorkerHasGivenEverythingBack) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  const TaskHeader pushed = TakePush();
  submitter_.On(LeaseReclaim{LeaseId{7}});
  sender_.Take<ReturnYourQueue>(kWorker);
  GiveBack({pushed});
  EXPECT_EQ(sender_.Take<LeaseReturn>(kEngine).lease, LeaseId{7});
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(8, kWorker2);
  Done(TakePush(kWorker2));
  ExpectLeasesReturned({8});
}

TEST_F(TaskSubmitterTest, AnIdleReclaimedLeaseGoesBackAtOnce) {
  Submit(1, &options_);
  TakeDemand();
  Grant(7);
  Done(TakePush());
  submitter_.On(LeaseReclaim{LeaseId{7}});
  EXPECT_EQ(sender_.Take<LeaseReturn>(kEngine).lease, LeaseId{7});
  submitter_.On(LeaseReclaim{LeaseId{7}});  // known no more
}

TEST_F(TaskSubmitterTest, NothingGoesToLeasesInAGroupOnceItIsRemovedHere) {
  CallOptions in_group = options_;
  in_group.lease_class.group = PlacementGroupId::FromBinary(std::string(PlacementGroupId::kSize, 'g'));
  Submit(1, &in_group);
  TakeDemand();
  Grant(7);
  Done(TakePush());
  submitter_.OnGroupRemoved(in_group.lease_class.group);
  EXPECT_EQ(sender_.Take<LeaseReturn>(kEngine).lease, LeaseId{7});
  Submit(2, &in_group);
  EXPECT_EQ(TakeDemand(), 1u);
  submitter_.On(LeaseFailed{0, "the group is removed", true});
}

TEST_F(TaskSubmitterTest, OnlyTheTaskThatRanCostsARetryWhenAWorkerDies) {
  quick_.max_retries = 1;
  TaskRecord* ran = Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  TaskRecord* queued = Submit(2, &quick_);
  TakePush();
  TakePush();
  sender_.SetGone(kWorker);
  submitter_.OnProcessGone(kWorker, "killed");
  EXPECT_THAT(TakeReport(), testing::HasSubstr("killed. It is tried again."));
  EXPECT_EQ(ran->retries_left, 0);
  EXPECT_EQ(queued->retries_left, 1);
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(8, kWorker2);
  const TaskHeader first = TakePush(kWorker2), second = TakePush(kWorker2);
  EXPECT_EQ(first.task, Task(1));
  EXPECT_EQ(second.task, Task(2));
  sender_.SetGone(kWorker2);
  submitter_.OnProcessGone(kWorker2, "killed again");
  EXPECT_THAT(TakeReport(), testing::HasSubstr("killed again. It is not tried again."));
  EXPECT_EQ(KindOf(Result(1)), "WorkerCrashedError");
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(9, kRemote);
  Done(TakePush(kRemote));
  Pass(TaskSubmitter::kLinger);
  EXPECT_EQ(sender_.Take<LeaseReturn>(kRemote.Engine()).lease, LeaseId{9});
}

TEST_F(TaskSubmitterTest, ALeaseWhoseWorkerDiedFirstIsNotUsed) {
  Submit(1, &options_);
  TakeDemand();
  sender_.SetGone(kWorker);
  submitter_.OnProcessGone(kWorker, "killed");
  Grant(7);
  EXPECT_EQ(TakeDemand(), 1u);  // another one
  Grant(8, kWorker2);
  Done(TakePush(kWorker2));
  ExpectLeasesReturned({8});
}

TEST_F(TaskSubmitterTest, TasksThatFailAreRetriedIfTheyAskForItEachTimeLater) {
  options_.retry_exceptions = true;
  options_.max_retries = 2;
  Submit(1, &options_);
  TakeDemand();
  Grant(7);
  Done(TakePush(), DoneHeader::kUserError);
  for (const Nanoseconds delay : {TaskSubmitter::kFirstDelay, 2 * TaskSubmitter::kFirstDelay}) {
    Pass(delay - milliseconds(1));
    EXPECT_TRUE(sender_.Nothing(kWorker));
    EXPECT_TRUE(submitter_.NeedsTick());
    EXPECT_FALSE(Result(1)->ready);
    Pass(milliseconds(1));
    Done(TakePush(), DoneHeader::kUserError);
  }
  EXPECT_TRUE(Result(1)->is_error);
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, ATaskThatWaitsForItsNextAttemptIsCancelledAtOnce) {
  options_.retry_exceptions = true;
  TaskRecord* record = Submit(1, &options_);
  TakeDemand();
  Grant(7);
  Done(TakePush(), DoneHeader::kUserError);
  submitter_.Cancel(record, false, true);
  EXPECT_EQ(KindOf(Result(1)), "TaskCancelledError");
  ExpectLeasesReturned({7});
  EXPECT_FALSE(submitter_.NeedsTick());
}

TEST_F(TaskSubmitterTest, ATaskWaitsForItsArguments) {
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  Submit(1, &options_);
  EXPECT_TRUE(sender_.Nothing(kHead));
  ownership_.SetValue(argument, InlineValue("now"));
  EXPECT_EQ(TakeDemand(), 1u);
  Grant(7);
  Done(TakePush());
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, ATaskWithAFailedArgumentDoesNotRun) {
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  Submit(1, &options_);
  ownership_.SetValue(argument, UserError());
  EXPECT_TRUE(Result(1)->is_error);
}

TEST_F(TaskSubmitterTest, ATaskWhoseArgumentTheEngineLostSaysSoInItsName) {
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  quick_.name = "first";
  Submit(1, &quick_);
  builder_.Ref(Result(1));
  Submit(2, &options_);
  ownership_.SetValue(argument, SystemError("WorkerCrashedError", "killed"));
  for (const std::uint64_t number : {1, 2}) {
    const SystemErrorParts outer = PartsOf(Result(number)->bytes, Result(number)->id);
    EXPECT_EQ(outer.kind, "RayTaskError");
    EXPECT_EQ(outer.text, "first");  // the dependant's own dependants pass it on
    const SystemErrorParts inner = PartsOf(outer.detail, Result(number)->id);
    EXPECT_EQ(inner.kind, "WorkerCrashedError");
    EXPECT_EQ(inner.text, "killed");
    EXPECT_EQ(inner.detail, argument->id.Binary());
  }
}

TEST_F(TaskSubmitterTest, ATaskWhoseArgumentIsLostWaitsForItHereAndIsSentAgain) {
  ObjectEntry* argument = Own(100);
  Store(argument, 0);
  SubmitWith(argument, 1, &quick_);
  TakeDemand();
  Grant(1);
  const TaskHeader task = TakePush();
  argument->ready = false;  // its worker has told us so
  Done(task, DoneHeader::kArgsLost);
  EXPECT_TRUE(sender_.Nothing(kWorker));
  EXPECT_FALSE(Result(1)->ready);
  Store(argument, 0);
  const TaskHeader again = TakePush();
  EXPECT_EQ(again.task, Task(1));
  EXPECT_EQ(tasks_.Get(again.slot)->retries_left, quick_.max_retries);
  Done(again);
  Free(argument, 0);
}

TEST_F(TaskSubmitterTest, ATaskWithoutAWorkerIsCancelledAtOnce) {
  TaskRecord* record = Submit(1, &options_);
  EXPECT_EQ(TakeDemand(), 1u);
  submitter_.Cancel(record, false, false);
  EXPECT_EQ(KindOf(Result(1)), "TaskCancelledError");
  EXPECT_EQ(TakeDemand(), 0u);
}

TEST_F(TaskSubmitterTest, APushedTaskIsCancelledAtItsWorker) {
  TaskRecord* record = Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  const TaskHeader pushed = TakePush();
  submitter_.Cancel(record, false, true);
  const CancelTask cancel = sender_.Take<CancelTask>(kWorker);
  EXPECT_EQ(cancel.task, Task(1));
  EXPECT_TRUE(cancel.recursive);
  Done(pushed, DoneHeader::kCancelled, microseconds(0));
  EXPECT_EQ(KindOf(Result(1)), "TaskCancelledError");
  EXPECT_EQ(quick_.mean_ns, 10'000);  // it tells nothing of how long the function takes
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, ACancelledTaskThatComesBackHasEnded) {
  Submit(1, &quick_);
  TakeDemand();
  Grant(7);
  TaskRecord* record = Submit(2, &quick_);
  const TaskHeader first = TakePush(), second = TakePush();
  submitter_.Cancel(record, false, false);
  sender_.Take<CancelTask>(kWorker);
  GiveBack({second});
  EXPECT_EQ(KindOf(Result(2)), "TaskCancelledError");
  GiveBack({second});  // twice is once
  Done(first);
  ExpectLeasesReturned({7});
}

TEST_F(TaskSubmitterTest, TasksThatNobodyCanRunFail) {
  Submit(1, &options_);
  TakeDemand();
  submitter_.On(LeaseFailed{0, "no node has a GPU"});
  EXPECT_EQ(KindOf(Result(1)), "TaskUnschedulableError");
  EXPECT_EQ(submitter_.Stats().queued, 0u);
}

TEST_F(TaskSubmitterTest, LeasesAreSharedByClassNotByFunction) {
  CallOptions other, heavy;
  heavy.lease_class.resources.Set("CPU", 4 * ResourceSet::kUnit);
  Submit(1, &options_);
  EXPECT_EQ(sender_.Take<LeaseDemand>(kHead).key, 0u);
  Submit(2, &heavy);
  EXPECT_EQ(sender_.Take<LeaseDemand>(kHead).key, 1u);
  Grant(7);
  Done(TakePush());
  Submit(3, &other);
  Done(TakePush());
  submitter_.On(LeaseGrant{LeaseId{8}, 1, kWorker2, NodeId()}, now_);
  Done(TakePush(kWorker2));
  ExpectLeasesReturned({7, 8});
}

}  // namespace
}  // namespace ray_engine
