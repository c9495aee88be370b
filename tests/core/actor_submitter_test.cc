#include "engine/core/actor_submitter.h"

#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

constexpr ProcessId kActor{0, 2}, kReborn{0, 3};

class ActorSubmitterTest : public CoreFixture {
 protected:
  ActorSubmitterTest() : actors_(&sender_, &ownership_, &tasks_), actor_(NumberedId<ActorId>(50)) {
    method_.kind = TaskKind::kActorMethod;
    method_.max_retries = 0;
    retried_.kind = TaskKind::kActorMethod;
    retried_.max_retries = 1;
    constructor_.kind = TaskKind::kActorCreation;
    constructor_.num_returns = 0;
  }

  TaskRecord* Call(std::uint64_t number, CallOptions* options) {
    TaskRecord* record = Build(number, options);
    actors_.Submit(record, actor_);
    return record;
  }
  void Update(ActorState state, std::uint32_t incarnation = 0, ProcessId process = ProcessId()) {
    ActorUpdate update;
    update.actor = actor_;
    update.state = state;
    update.incarnation = incarnation;
    update.process = process;
    update.cause = "because";
    actors_.On(update);
  }
  // The first of two calls of a living actor waits for its argument, which is returned.
  ObjectEntry* CallTwiceWithAPendingArgument() {
    Update(ActorState::kAlive, 0, kActor);
    ObjectEntry* argument = Pending(100);
    builder_.Ref(argument);
    Call(1, &method_);
    Call(2, &method_);
    ExpectWatch();
    return argument;
  }
  void ExpectWatch() { EXPECT_EQ(sender_.Take<ActorWatch>(kHead).actor, actor_); }
  TaskHeader TakePush(ProcessId process = kActor) {
    return HeaderOf(sender_.TakeFrame(process, MessageType::kPushTask).payload);
  }
  void Done(const TaskHeader& task, DoneHeader::Outcome outcome = DoneHeader::kOk) {
    DoneHeader done, read;
    done.slot = task.slot;
    done.attempt = task.attempt;
    done.outcome = outcome;
    std::vector<WireValue> values;
    TaskRecord* record = tasks_.ReadDone(
        DonePayload(done, {outcome == DoneHeader::kUserError ? UserError() : InlineValue("done")}), &read, &values);
    if (record != nullptr) actors_.OnDone(record, read, std::move(values));
  }
  // A handle that counts, and an actor created with it.
  ObjectEntry* Create() {
    ObjectEntry* handle = ownership_.NewOwned(NumberedId<ObjectId>(60));
    handle->origin = ObjectEntry::kHandle;
    ownership_.SetLocalValue(handle, WireValue{}, {});
    ActorSpec spec;
    spec.actor = actor_;
    spec.creator = kSelf;
    actors_.Create(builder_.Build(Task(99), &constructor_), std::move(spec), 0, handle);
    return handle;
  }
  void OnObjectFreed(const ObjectId& object) override { actors_.OnHandleFreed(object); }
  void OnHandleFaded(const ObjectId& object) override { actors_.OnHandleFaded(object); }
  std::optional<WireValue> OnObjectLost(ObjectEntry* entry, const std::string&) override {
    if (!actors_.Recall(entry)) lost_ = entry;
    return std::nullopt;
  }
  // The actor lives, and is out of scope but for the lineage of its results.
  ObjectEntry* CreateAndFade() {
    ObjectEntry* handle = Create();
    sender_.Take<ActorCreate>(kHead);
    ExpectWatch();
    Update(ActorState::kAlive, 0, kActor);
    ownership_.HoldLineage(handle);
    ownership_.Drop(handle);
    EXPECT_TRUE(sender_.Take<ActorOutOfScope>(kHead).may_return);
    return handle;
  }
  void UpdateDead(bool restartable) {
    ActorUpdate update;
    update.actor = actor_;
    update.state = ActorState::kDead;
    update.restartable = restartable;
    actors_.On(update);
  }

  ActorSubmitter actors_;
  ActorId actor_;
  CallOptions method_, retried_, constructor_;
  ObjectEntry* lost_ = nullptr;
};

TEST_F(ActorSubmitterTest, ManyCallsUnderWayAreWarnedAboutAtEachDoubling) {
  actors_.Line(actor_)->warn_above = 2;
  for (std::uint64_t number = 1; number <= 5; ++number) Call(number, &method_);
  ExpectWatch();
  for (const char* count : {"More than 2 tasks", "More than 4 tasks"}) {
    const auto report = sender_.Take<DriverLine>(kHead);
    EXPECT_EQ(report.kind, "excess_queueing_warning");
    EXPECT_EQ(report.job.Binary(), actor_.Binary().substr(12));
    EXPECT_NE(report.text.find(count), std::string::npos) << report.text;
  }
  Update(ActorState::kDead);
}

TEST_F(ActorSubmitterTest, CallsWaitUntilTheActorLives) {
  Call(1, &method_);
  Call(2, &method_);
  ExpectWatch();
  Update(ActorState::kPending);
  EXPECT_TRUE(sender_.Nothing(kActor));
  Update(ActorState::kAlive, 0, kActor);
  const TaskHeader first = TakePush(), second = TakePush();
  EXPECT_EQ(first.task, Task(1));
  EXPECT_EQ(second.task, Task(2));
  Call(3, &method_);
  const TaskHeader third = TakePush();
  for (const TaskHeader& task : {first, second, third}) Done(task);
  EXPECT_EQ(Result(3)->bytes, "done");
}

TEST_F(ActorSubmitterTest, WhatIsMadeAgainOvertakesTheCallsThatWaitForIt) {
  Update(ActorState::kAlive, 0, kActor);
  ObjectEntry* argument = Pending(100);
  ownership_.SetValue(argument, StoredAt(2));
  builder_.Ref(argument);
  Call(1, &method_);
  ExpectWatch();
  const TaskHeader first = TakePush();
  argument->ready = false;  // the actor has told us so
  Done(first, DoneHeader::kArgsLost);
  TaskRecord* again = Build(2, &method_);
  again->Extra().lineage = std::make_shared<Lineage>();
  actors_.Submit(again, actor_);
  const TaskHeader second = TakePush();
  EXPECT_EQ(second.task, Task(2));
  Done(second);
  ownership_.SetValue(argument, StoredAt(3));
  sender_.Take<StoreFree>(ProcessId{2, 0});
  Done(TakePush());
  EXPECT_EQ(Result(1)->bytes, "done");
  ownership_.Drop(argument);
  results_.erase(results_.begin());
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{3, 0}).objects.at(0), NumberedId<ObjectId>(100));
}

TEST_F(ActorSubmitterTest, ACallWithoutItsArgumentsHoldsBackThoseBehindIt) {
  ObjectEntry* argument = CallTwiceWithAPendingArgument();
  EXPECT_TRUE(sender_.Nothing(kActor));
  ownership_.SetValue(argument, InlineValue("now"));
  const TaskHeader first = TakePush(), second = TakePush();
  EXPECT_EQ(first.task, Task(1));
  Done(first);
  Done(second);
}

TEST_F(ActorSubmitterTest, CallsInAnyOrderOvertakeOneWithoutItsArguments) {
  method_.out_of_order = true;
  ObjectEntry* argument = CallTwiceWithAPendingArgument();
  Done(TakePush());
  EXPECT_EQ(Result(2)->bytes, "done");
  Call(3, &method_);
  Done(TakePush());
  ownership_.SetValue(argument, InlineValue("now"));
  const TaskHeader first = TakePush();
  EXPECT_EQ(first.task, Task(1));
  Done(first);
}

TEST_F(ActorSubmitterTest, CallsInAnyOrderThatWaitForTheActorGoWhenTheyCan) {
  method_.out_of_order = true;
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  Call(1, &method_);
  Call(2, &method_);
  ExpectWatch();
  Update(ActorState::kAlive, 0, kActor);
  const TaskHeader second = TakePush();
  EXPECT_EQ(second.task, Task(2));
  EXPECT_TRUE(sender_.Nothing(kActor));
  Done(second);
  ownership_.SetValue(argument, InlineValue("now"));
  Done(TakePush());
}

TEST_F(ActorSubmitterTest, ACallThatIsRetriedGoesBeforeThoseThatWaitForIt) {
  retried_.retry_exceptions = true;
  Update(ActorState::kAlive, 0, kActor);
  TaskRecord* record = Call(1, &retried_);
  const TaskHeader first = TakePush();
  builder_.Ref(record->returns[0]);
  Call(2, &method_);
  ExpectWatch();
  Done(first, DoneHeader::kUserError);
  const TaskHeader again = TakePush();
  EXPECT_EQ(again.task, Task(1));
  Done(again);
  Done(TakePush());
}

TEST_F(ActorSubmitterTest, ACallWithAFailedArgumentLetsTheOthersPass) {
  ObjectEntry* argument = CallTwiceWithAPendingArgument();
  ownership_.SetValue(argument, UserError());
  EXPECT_TRUE(Result(1)->is_error);
  Done(TakePush());
}

TEST_F(ActorSubmitterTest, ACancelledCallLetsTheOthersPass) {
  Update(ActorState::kAlive, 0, kActor);
  builder_.Ref(Pending(100));
  TaskRecord* record = Call(1, &method_);
  Call(2, &method_);
  ExpectWatch();
  actors_.Cancel(record, false, false);
  EXPECT_EQ(KindOf(Result(1)), "TaskCancelledError");
  Done(TakePush());
}

TEST_F(ActorSubmitterTest, CallsUnderWayAreRetriedOrFailWhenTheActorRestarts) {
  Update(ActorState::kAlive, 0, kActor);
  Call(1, &method_);
  Call(2, &retried_);
  const TaskHeader first = TakePush(), second = TakePush();
  sender_.SetGone(kActor);
  actors_.OnProcessGone(kActor);
  Call(3, &method_);
  Call(4, &retried_);
  ExpectWatch();
  Update(ActorState::kRestarting, 1);
  EXPECT_EQ(KindOf(Result(1)), "ActorUnavailableError");
  EXPECT_EQ(KindOf(Result(3)), "ActorUnavailableError");
  Call(5, &method_);
  EXPECT_EQ(KindOf(Result(5)), "ActorUnavailableError");
  Update(ActorState::kAlive, 1, kReborn);
  const TaskHeader again = TakePush(kReborn), fourth = TakePush(kReborn);
  EXPECT_EQ(again.task, Task(2));
  EXPECT_NE(again.attempt, second.attempt);
  Done(first);  // of the former life: nobody waits for them
  Done(second);
  EXPECT_FALSE(Result(2)->ready);
  Done(again);
  Done(fourth);
}

TEST_F(ActorSubmitterTest, AResultThatComesBeforeTheCallIsSentAgainCounts) {
  Update(ActorState::kAlive, 0, kActor);
  Call(1, &retried_);
  const TaskHeader pushed = TakePush();
  Update(ActorState::kRestarting, 1);
  Done(pushed);
  EXPECT_EQ(Result(1)->bytes, "done");
  Update(ActorState::kAlive, 1, kReborn);
  EXPECT_TRUE(sender_.Nothing(kReborn));
}

TEST_F(ActorSubmitterTest, ACancelledCallIsNotSentAgain) {
  Update(ActorState::kAlive, 0, kActor);
  TaskRecord* record = Call(1, &retried_);
  TakePush();
  actors_.Cancel(record, false, false);
  sender_.Take<CancelTask>(kActor);
  Update(ActorState::kRestarting, 1);
  EXPECT_EQ(KindOf(Result(1)), "TaskCancelledError");
}

TEST_F(ActorSubmitterTest, NewsOfALifeThatIsOverChangesNothing) {
  Update(ActorState::kAlive, 0, kActor);
  sender_.SetGone(kActor);
  actors_.OnProcessGone(kActor);
  Update(ActorState::kAlive, 0, kActor);  // overtaken by the end of the process
  Call(1, &method_);
  ExpectWatch();
  Update(ActorState::kAlive, 1, kReborn);
  Update(ActorState::kRestarting, 0);
  Done(TakePush(kReborn));
}

TEST_F(ActorSubmitterTest, AllCallsOfADeadActorFailAlsoThoseThatWaitForEachOther) {
  Call(1, &method_);
  ExpectWatch();
  builder_.Ref(Result(1));
  Call(2, &method_);
  builder_.Ref(Result(2));
  Call(3, &method_);
  Update(ActorState::kDead);
  for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_EQ(KindOf(Result(i)), "ActorDiedError");
  Call(4, &method_);
  EXPECT_EQ(KindOf(Result(4)), "ActorDiedError");
  EXPECT_NE(Result(4)->bytes.find("because"), std::string::npos);
}

TEST_F(ActorSubmitterTest, FailedCallsAreRetriedIfTheyAskForIt) {
  retried_.retry_exceptions = true;
  Update(ActorState::kAlive, 0, kActor);
  Call(1, &retried_);
  Done(TakePush(), DoneHeader::kUserError);
  EXPECT_FALSE(Result(1)->ready);
  Done(TakePush(), DoneHeader::kUserError);
  EXPECT_TRUE(Result(1)->ready);
}

TEST_F(ActorSubmitterTest, AnActorEndsWithItsLastHandle) {
  EXPECT_FALSE(actors_.IsCreating());
  ObjectEntry* handle = Create();
  EXPECT_TRUE(actors_.IsCreating());
  EXPECT_EQ(sender_.Take<ActorCreate>(kHead).spec.actor, actor_);
  ExpectWatch();
  ownership_.Hold(handle);
  ownership_.Drop(handle);
  EXPECT_TRUE(sender_.Nothing(kHead));
  ownership_.Drop(handle);
  EXPECT_EQ(sender_.Take<ActorOutOfScope>(kHead).actor, actor_);
  EXPECT_FALSE(actors_.IsCreating());
  Update(ActorState::kDead);
}

TEST_F(ActorSubmitterTest, AnActorIsBeingCreatedUntilTheHeadSaysWhatBecameOfIt) {
  ObjectEntry* handle = Create();
  sender_.Take<ActorCreate>(kHead);
  ExpectWatch();
  Update(ActorState::kPending);
  EXPECT_TRUE(actors_.IsCreating());
  Update(ActorState::kDead);
  EXPECT_FALSE(actors_.IsCreating());
  ownership_.Drop(handle);
  sender_.Take<ActorOutOfScope>(kHead);
}

TEST_F(ActorSubmitterTest, AnActorIsCreatedWhenTheArgumentsOfItsConstructorAreThere) {
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  ObjectEntry* handle = Create();
  EXPECT_TRUE(sender_.Nothing(kHead));
  ownership_.Drop(handle);  // a handle that is dropped meanwhile ends it after its creation
  EXPECT_TRUE(sender_.Nothing(kHead));
  ownership_.SetValue(argument, InlineValue("now"));
  const ActorCreate create = sender_.Take<ActorCreate>(kHead);
  TaskView view;
  ASSERT_TRUE(ParseTask(create.spec.creation_task, &view));
  EXPECT_EQ(view.args.at(0).bytes, "now");
  ExpectWatch();
  sender_.Take<ActorOutOfScope>(kHead);
  Update(ActorState::kDead);
}

TEST_F(ActorSubmitterTest, WhatTheConstructorMentionsIsHeldAsLongAsTheActorLives) {
  const ProcessId owner{0, 9};
  ObjectEntry* borrowed = ownership_.Receive({NumberedId<ObjectId>(100), owner}, true);
  builder_.Value("x", {borrowed});
  ownership_.Drop(borrowed);
  ObjectEntry* handle = Create();
  sender_.Take<ActorCreate>(kHead);
  ExpectWatch();
  Update(ActorState::kAlive, 0, kActor);
  EXPECT_NE(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  Update(ActorState::kDead);
  EXPECT_EQ(ownership_.Find(NumberedId<ObjectId>(100)), nullptr);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(owner);
  ownership_.Drop(handle);
  sender_.Take<ActorOutOfScope>(kHead);
}

TEST_F(ActorSubmitterTest, AnActorWhoseConstructorHasAFailedArgumentIsDead) {
  ObjectEntry* argument = Pending(100);
  builder_.Ref(argument);
  ObjectEntry* handle = Create();
  Call(1, &method_);
  ExpectWatch();
  ownership_.SetValue(argument, UserError());
  EXPECT_EQ(KindOf(Result(1)), "ActorDiedError");
  ownership_.Drop(handle);
  sender_.Take<ActorOutOfScope>(kHead);
}

TEST_F(ActorSubmitterTest, LostArgumentsOfTheConstructorAreSentOnceMoreWhenTheyAreThere) {
  for (const bool there : {true, false}) {
    ObjectEntry* argument = Pending(there ? 100 : 101);
    ownership_.SetValue(argument, StoredAt(2));
    actor_ = NumberedId<ActorId>(there ? 50 : 51);
    builder_.Ref(argument);
    ObjectEntry* handle = Create();
    sender_.Take<ActorCreate>(kHead);
    ExpectWatch();
    ownership_.Lose(argument, 2, "gone");
    EXPECT_EQ(lost_, argument);
    actors_.On(ActorArgsLost{actor_});
    EXPECT_TRUE(sender_.Nothing(kHead));
    ownership_.SetValue(argument, there ? StoredAt(3) : SystemError("ObjectReconstructionFailedError", "PUT"));
    const ActorArgs args = sender_.Take<ActorArgs>(kHead);
    EXPECT_EQ(args.cause.empty(), there);
    if (there) {
      TaskView view;
      ASSERT_TRUE(ParseTask(args.creation_task, &view));
      EXPECT_EQ(view.args.at(0).refs.at(0).node, 3u);
      Update(ActorState::kDead);
    } else {
      EXPECT_EQ(PartsOf(args.init_error, argument->id).kind, "RayTaskError");
    }
    ownership_.Drop(handle);
    sender_.Take<ActorOutOfScope>(kHead);
    sender_.Take<StoreFree>(ProcessId{2, 0});
  }
  for (ObjectEntry* entry : std::exchange(results_, {})) ownership_.Drop(entry);
  sender_.Take<StoreFree>(ProcessId{3, 0});
}

TEST_F(ActorSubmitterTest, AnActorOutOfScopeComesBackWhenItsHandleIsRecalled) {
  ObjectEntry* handle = CreateAndFade();
  UpdateDead(true);
  ownership_.Recall(handle);
  EXPECT_EQ(sender_.Take<ActorRestart>(kHead).actor, actor_);
  ExpectWatch();
  Call(1, &retried_);
  Update(ActorState::kAlive, 1, kReborn);
  Done(TakePush(kReborn));
  EXPECT_EQ(Result(1)->bytes, "done");
  ownership_.Drop(handle);
  EXPECT_TRUE(sender_.Take<ActorOutOfScope>(kHead).may_return);
  UpdateDead(true);
  ownership_.DropLineage(handle);
  EXPECT_FALSE(sender_.Take<ActorOutOfScope>(kHead).may_return);
}

TEST_F(ActorSubmitterTest, AnActorThatIsRecalledWhileItLeavesIsStartedAgainAfterwards) {
  ObjectEntry* handle = CreateAndFade();
  ownership_.Recall(handle);
  Call(1, &retried_);
  EXPECT_TRUE(sender_.Nothing(kActor));
  UpdateDead(true);
  sender_.Take<ActorRestart>(kHead);
  ExpectWatch();
  Update(ActorState::kAlive, 1, kReborn);
  Done(TakePush(kReborn));
  ownership_.DropLineage(handle);
  ownership_.Drop(handle);
  EXPECT_FALSE(sender_.Take<ActorOutOfScope>(kHead).may_return);
  Update(ActorState::kDead, 1);
}

TEST_F(ActorSubmitterTest, AnActorOutOfScopeThatMayNotBeRestartedStaysDead) {
  ObjectEntry* handle = CreateAndFade();
  ownership_.Recall(handle);
  Call(1, &retried_);
  UpdateDead(false);
  EXPECT_EQ(KindOf(Result(1)), "ActorDiedError");
  ownership_.DropLineage(handle);
  ownership_.Drop(handle);
  sender_.Take<ActorOutOfScope>(kHead);
}

}  // namespace
}  // namespace ray_engine
