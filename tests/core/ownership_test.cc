#include "engine/core/ownership.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/recording_sender.h"
#include "tests/support/task_builder.h"

namespace ray_engine {
namespace {

constexpr ProcessId kSelf{0, 1}, kOwner{0, 2}, kCaller{0, 3}, kOther{1, 4};
constexpr ProcessId kEngine{0, 0};

ObjectId Object(std::uint64_t number) { return NumberedId<ObjectId>(number); }

class OwnershipTest : public ::testing::Test, private Ownership::Listener {
 protected:
  OwnershipTest() : sender_(kSelf), ownership_(&sender_, this) {}
  void TearDown() override {
    EXPECT_EQ(entries(), 0u);
    EXPECT_EQ(sender_.Left(), "");
  }

  ObjectEntry* Put(std::uint64_t number, std::string_view bytes, std::vector<ObjectEntry*> contained = {}) {
    ObjectEntry* entry = ownership_.NewOwned(Object(number));
    ownership_.SetLocalValue(entry, InlineValue(bytes), std::move(contained));
    return entry;
  }
  // A reference of another process that has arrived without a grant.
  ObjectEntry* Borrow(std::uint64_t number, ProcessId owner = kOwner) {
    return ownership_.Receive({Object(number), owner}, false);
  }
  std::size_t entries() const { return ownership_.Stats().entries; }
  void ExpectWatch(ProcessId process) { EXPECT_EQ(sender_.Take<Watch>(kEngine).process, process); }

  void OnObjectReady(ObjectEntry* entry) override { ready_.push_back(entry->id); }
  void OnObjectFreed(const ObjectId& object) override { freed_.push_back(object); }
  void OnErrorUnseen(const ObjectEntry& entry) override { unseen_.push_back(entry.id); }

  RecordingSender sender_;
  Ownership ownership_;
  std::vector<ObjectId> ready_, freed_, unseen_;
};

// ---- own objects ---------------------------------------------------------------------------------------------------

TEST_F(OwnershipTest, AnOwnObjectIsFreedWithItsLastHold) {
  ObjectEntry* entry = Put(1, "value");
  ownership_.Hold(entry);
  ownership_.Drop(entry);
  EXPECT_TRUE(freed_.empty());
  ownership_.Drop(entry);
  EXPECT_EQ(freed_, std::vector<ObjectId>{Object(1)});
  EXPECT_EQ(entries(), 0u);
}

// ---- errors that nobody sees ---------------------------------------------------------------------------------------

WireValue ErrorValue() {
  WireValue value = InlineValue("Perror");
  value.is_error = true;
  return value;
}

TEST_F(OwnershipTest, AnErrorThatGoesUnseenIsTold) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.SetValue(entry, ErrorValue());
  EXPECT_TRUE(unseen_.empty());
  ownership_.Drop(entry);
  EXPECT_EQ(unseen_, std::vector<ObjectId>{Object(1)});
}

TEST_F(OwnershipTest, AnErrorThatWasSentToSomebodyIsSeen) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.Export(entry);
  ownership_.SetValue(entry, ErrorValue());
  ownership_.On(kOther, ValueRequest{Object(1), kNoNode, ""});
  EXPECT_TRUE(sender_.Take<ValueReply>(kOther).value.is_error);
  ownership_.Drop(entry);
  EXPECT_TRUE(unseen_.empty());
}

TEST_F(OwnershipTest, ErrorsOfTheEngineAndOfOtherOwnersAreNotTold) {
  ObjectEntry* own = ownership_.NewOwned(Object(1));
  ownership_.SetValue(own, SystemError("WorkerCrashedError", "killed"));
  ObjectEntry* borrowed = Borrow(2);
  ownership_.SetValue(borrowed, ErrorValue());
  ownership_.Drop(own);
  ownership_.Drop(borrowed);
  EXPECT_TRUE(unseen_.empty());
}

// ---- objects given up by the program -------------------------------------------------------------------------------

TEST_F(OwnershipTest, AFreedObjectIsAnErrorAndItsCopiesGoOnce) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.Export(entry);
  ownership_.SetLocalValue(entry, StoredAt(0), {});
  ownership_.On(CopyAdded{Object(1), 2});
  ownership_.Free(entry);
  ownership_.Free(entry);
  EXPECT_EQ(sender_.Take<StoreFree>(kEngine).objects, std::vector<ObjectId>{Object(1)});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{2, 0}).objects, std::vector<ObjectId>{Object(1)});
  const WireValue value = ownership_.ValueOf(entry);
  EXPECT_EQ(value.kind, WireValue::kSystemError);
  EXPECT_EQ(value.bytes.substr(0, 16), "ObjectFreedError");
  ownership_.On(CopyAdded{Object(1), 3});  // made while it was being freed
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{3, 0}).objects, std::vector<ObjectId>{Object(1)});
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AnObjectThatIsNotThereYetIsNotFreed) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.Free(entry);
  EXPECT_FALSE(entry->freed);
  ownership_.SetLocalValue(entry, InlineValue("value"), {});
  EXPECT_EQ(ownership_.ValueOf(entry).bytes, InlineValue("value").bytes);
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, ABorrowerAsksTheOwnerToFree) {
  ObjectEntry* borrowed = Borrow(1);
  ownership_.Free(borrowed);
  EXPECT_EQ(sender_.Take<StoreFree>(kOwner).objects, std::vector<ObjectId>{Object(1)});
  EXPECT_FALSE(borrowed->freed);  // the owner knows whether it was there
  ownership_.Drop(borrowed);

  ObjectEntry* own = Put(2, "value");
  ownership_.Export(own);
  ownership_.On(StoreFree{{Object(2), Object(3)}});
  EXPECT_TRUE(own->freed);
  ownership_.Drop(own);
}

// ---- references ----------------------------------------------------------------------------------------------------

TEST_F(OwnershipTest, AnObjectWhoseReferenceNeverLeftIsNotInTheTable) {
  ObjectEntry* entry = Put(1, "value");
  EXPECT_EQ(ownership_.Find(Object(1)), nullptr);
  ownership_.Export(entry);
  EXPECT_EQ(ownership_.Find(Object(1)), entry);
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, ABorrowerKeepsAnObjectUntilItHasGivenBackAllGrants) {
  ObjectEntry* entry = Put(1, "value");
  ownership_.Export(entry);
  ownership_.On(kCaller, BorrowAdd{{Object(1)}, kOther, 7});
  ExpectWatch(kOther);
  EXPECT_EQ(sender_.Take<BorrowAck>(kCaller).token, 7u);
  ownership_.On(kOther, BorrowAdd{{Object(1)}, kOther, 0});
  ownership_.Drop(entry);
  ownership_.On(kOther, BorrowRemove{{Object(1)}, {1}});
  EXPECT_TRUE(freed_.empty());
  ownership_.On(kOther, BorrowRemove{{Object(1)}, {1}});
  EXPECT_EQ(freed_, std::vector<ObjectId>{Object(1)});
}

TEST_F(OwnershipTest, AFreedObjectIsLostForThoseWhoAskTooLate) {
  ownership_.On(kOther, ValueRequest{Object(1), kNoNode, ""});
  const ValueReply reply = sender_.Take<ValueReply>(kOther);
  EXPECT_EQ(reply.value.kind, WireValue::kSystemError);
  EXPECT_EQ(reply.value.bytes.substr(0, 15), "ObjectLostError");
  ObjectEntry* lost = ownership_.Receive({Object(1), kSelf}, false);
  EXPECT_TRUE(lost->ready && lost->is_error);
  ownership_.Drop(lost);
}

TEST_F(OwnershipTest, WhoAskedBeforeTheValueWasThereIsToldOnce) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.Export(entry);
  ownership_.On(kOther, ValueRequest{Object(1), kNoNode, ""});
  ExpectWatch(kOther);
  EXPECT_TRUE(sender_.Nothing(kOther));
  ownership_.SetValue(entry, InlineValue("late"));
  EXPECT_EQ(sender_.Take<ValueReply>(kOther).value.bytes, "late");
  ownership_.SetValue(entry, InlineValue("later"));
  EXPECT_EQ(entry->bytes, "late");
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AStoredObjectIsFreedWhereverACopyLies) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  WireValue value;
  value.kind = WireValue::kStored;
  value.node = 3;
  ownership_.SetLocalValue(entry, value, {});
  ownership_.Export(entry);
  ownership_.On(CopyAdded{Object(1), 5});
  ownership_.On(CopyAdded{Object(1), 5});
  ownership_.On(CopyAdded{Object(1), 3});  // the primary itself
  ownership_.Drop(entry);
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{3, 0}).objects, std::vector<ObjectId>{Object(1)});
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{5, 0}).objects, std::vector<ObjectId>{Object(1)});
  ownership_.On(CopyAdded{Object(1), 6});  // came too late
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{6, 0}).objects, std::vector<ObjectId>{Object(1)});
}

TEST_F(OwnershipTest, ACopyOfAnObjectThatIsKeptInMindAloneIsFreed) {
  ObjectEntry* entry = ownership_.NewOwned(Object(1));
  ownership_.Export(entry);
  ownership_.SetLocalValue(entry, StoredAt(3), {});
  ownership_.HoldLineage(entry);
  ownership_.Drop(entry);
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{3, 0}).objects, std::vector<ObjectId>{Object(1)});
  ownership_.On(CopyAdded{Object(1), 5});  // was under way
  EXPECT_EQ(sender_.Take<StoreFree>(ProcessId{5, 0}).objects, std::vector<ObjectId>{Object(1)});
  ownership_.DropLineage(entry);
}

TEST_F(OwnershipTest, WhatAnObjectContainsGoesWithIt) {
  ObjectEntry* inner = Put(1, "inner");
  ObjectEntry* outer = Put(2, "outer", {inner});
  ObjectEntry* outermost = Put(3, "outermost", {outer});
  ownership_.Drop(outermost);
  EXPECT_EQ(freed_, (std::vector<ObjectId>{Object(3), Object(2), Object(1)}));
}

TEST_F(OwnershipTest, LongChainsNeedNoDeepStack) {
  constexpr std::uint64_t kLength = 200'000;
  ObjectEntry* last = Put(1, "");
  for (std::uint64_t i = 2; i <= kLength; ++i) last = Put(i, "", {last});
  ownership_.Drop(last);
  EXPECT_EQ(entries(), 0u);
  // The same for news of errors: each object is told about by the one before.
  std::vector<ObjectEntry*> chain;
  for (std::uint64_t i = 1; i <= kLength; ++i) chain.push_back(ownership_.NewOwned(Object(i)));
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
    chain[i]->Extra().on_ready.push_back(
        [this, next = chain[i + 1]](ObjectEntry*) { ownership_.SetValue(next, InlineValue("")); });
  }
  ownership_.SetValue(chain.front(), InlineValue(""));
  EXPECT_TRUE(chain.back()->ready);
  for (ObjectEntry* entry : chain) ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AnEntryLivesWhileItsReadinessIsTold) {
  ObjectEntry* entry = Put(1, "x");
  ObjectEntry* pending = ownership_.NewOwned(Object(2));
  int told = 0;
  pending->Extra().on_ready.push_back([&](ObjectEntry* ready) {
    ownership_.Drop(pending);  // the last hold of the program
    told += ready->ready;
  });
  pending->Extra().on_ready.push_back([&](ObjectEntry* ready) { told += ready->ready; });
  ownership_.SetValue(pending, InlineValue("value"));
  EXPECT_EQ(told, 2);
  EXPECT_EQ(entries(), 1u);
  ownership_.Drop(entry);
}

// ---- borrowed objects ----------------------------------------------------------------------------------------------

TEST_F(OwnershipTest, AValueIsAskedForOnce) {
  ObjectEntry* entry = Borrow(1);
  ownership_.RequestValue(entry);
  ownership_.RequestValue(entry);
  ExpectWatch(kOwner);
  EXPECT_EQ(sender_.Take<ValueRequest>(kOwner).object, Object(1));
  ownership_.On(ValueReply{Object(1), InlineValue("value")});
  EXPECT_EQ(entry->bytes, "value");
  EXPECT_EQ(ready_, std::vector<ObjectId>{Object(1)});
  ownership_.Drop(entry);
  ownership_.On(ValueReply{Object(1), InlineValue("nobody waits for it")});
  EXPECT_EQ(entries(), 0u);
}

TEST_F(OwnershipTest, ExactlyTheGrantsReceivedAreGivenBack) {
  ObjectEntry* first = ownership_.Receive({Object(1), kOwner}, true);
  ObjectEntry* again = ownership_.Receive({Object(1), kOwner}, true);
  ObjectEntry* other = ownership_.Receive({Object(2), kOwner}, true);
  EXPECT_EQ(first, again);
  ownership_.Drop(first);
  ownership_.Drop(again);
  ownership_.Drop(other);
  EXPECT_TRUE(ownership_.NeedsFlush());
  ownership_.Flush();
  const BorrowRemove removal = sender_.Take<BorrowRemove>(kOwner);
  EXPECT_EQ(removal.objects, (std::vector<ObjectId>{Object(1), Object(2)}));
  EXPECT_EQ(removal.counts, (std::vector<std::uint32_t>{2, 1}));
  EXPECT_FALSE(ownership_.NeedsFlush());
}

TEST_F(OwnershipTest, ManyRemovalsDoNotWaitForTheClock) {
  for (std::uint64_t i = 1; i <= 64; ++i) ownership_.Drop(ownership_.Receive({Object(i), kOwner}, true));
  EXPECT_EQ(sender_.Take<BorrowRemove>(kOwner).objects.size(), 64u);
}

TEST_F(OwnershipTest, AReferenceFromATaskLeavesNoTraceUnlessItIsKept) {
  ObjectEntry* entry = Borrow(1);
  ownership_.CloseScope({entry});
  EXPECT_EQ(entries(), 0u);
  ownership_.Flush();
}

TEST_F(OwnershipTest, AResultWaitsUntilWhatTheTaskKeptIsRegistered) {
  ObjectEntry* entry = Borrow(1);
  ownership_.Hold(entry);  // in the program's state
  ownership_.CloseScope({entry});
  ExpectWatch(kOwner);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOwner);
  EXPECT_EQ(add.borrower, kSelf);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "result", false);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "next", false);
  ownership_.SendGuarded(kOwner, MessageType::kTaskDone, "to the owner itself: the order is enough", false);
  sender_.TakeFrame(kOwner, MessageType::kTaskDone);
  EXPECT_TRUE(sender_.Nothing(kCaller));
  EXPECT_EQ(ownership_.Stats().guarded, 2u);
  ownership_.On(BorrowAck{add.token});
  EXPECT_EQ(sender_.TakeFrame(kCaller, MessageType::kTaskDone).payload, "result");
  EXPECT_EQ(sender_.TakeFrame(kCaller, MessageType::kTaskDone).payload, "next");
  ownership_.Drop(entry);
  ownership_.Flush();
  EXPECT_EQ(sender_.Take<BorrowRemove>(kOwner).counts, std::vector<std::uint32_t>{1});
}

TEST_F(OwnershipTest, ALaterRegistrationDoesNotHoldBackAnEarlierResult) {
  ObjectEntry* first = Borrow(1);
  ownership_.RegisterNow(first);
  ExpectWatch(kOwner);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOwner);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "result", false);
  ObjectEntry* second = Borrow(2);
  ownership_.RegisterNow(second);
  const BorrowAdd later = sender_.Take<BorrowAdd>(kOwner);
  ownership_.On(BorrowAck{add.token});
  sender_.TakeFrame(kCaller, MessageType::kTaskDone);
  ownership_.On(BorrowAck{later.token});
  for (ObjectEntry* entry : {first, second}) ownership_.Drop(entry);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(kOwner);
}

TEST_F(OwnershipTest, WhatWasReadFromABorrowedObjectIsRegisteredBeforeThatIsReleased) {
  ObjectEntry* outer = ownership_.Receive({Object(1), kOwner}, true);
  ownership_.RequestValue(outer);
  ExpectWatch(kOwner);
  sender_.Take<ValueRequest>(kOwner);
  WireValue value = InlineValue("outer");
  value.refs = {{Object(2), kOther}};
  ownership_.On(ValueReply{Object(1), value});
  ObjectEntry* inner = ownership_.Find(Object(2));
  ownership_.Hold(inner);
  ownership_.Drop(outer);
  ExpectWatch(kOther);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOther);
  ownership_.Flush();
  EXPECT_TRUE(sender_.Nothing(kOwner));  // the owner of the outer object still keeps the inner one
  ownership_.On(BorrowAck{add.token});
  EXPECT_EQ(sender_.Take<BorrowRemove>(kOwner).objects, std::vector<ObjectId>{Object(1)});
  ownership_.Drop(inner);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(kOther);
}

TEST_F(OwnershipTest, WhatWasReadFromABorrowedObjectIsRegisteredBeforeItsOwnerHearsThatItIsLost) {
  ObjectEntry* outer = ownership_.Receive({Object(1), kOwner}, true);
  ownership_.RequestValue(outer);
  ExpectWatch(kOwner);
  sender_.Take<ValueRequest>(kOwner);
  WireValue value = StoredAt(3);
  value.refs = {{Object(2), kOther}};
  ownership_.On(ValueReply{Object(1), value});
  ObjectEntry* inner = ownership_.Find(Object(2));
  ownership_.Hold(inner);
  ownership_.Lose(outer, 3, "node 3 is gone");
  ExpectWatch(kOther);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOther);
  EXPECT_TRUE(sender_.Nothing(kOwner));  // it may make the value again, and then lets go of the inner one
  ownership_.On(BorrowAck{add.token});
  EXPECT_EQ(sender_.Take<ValueRequest>(kOwner).lost_at, 3u);
  ownership_.Drop(inner);
  ownership_.Drop(outer);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(kOther);
  sender_.Take<BorrowRemove>(kOwner);
}

TEST_F(OwnershipTest, AnOwnArgumentThatIsLostStaysLostWhereverItsTaskSaysThatItLies) {
  ObjectEntry* mine = ownership_.NewOwned(Object(1));
  const WireRef ref = ownership_.Export(mine);
  ArgView arg;
  arg.kind = ArgHeader::kStored;
  arg.refs = {ref};
  TaskView task;
  task.args = {arg};
  const std::vector<ObjectEntry*> received = ownership_.ReceiveArgs(task);
  EXPECT_FALSE(mine->ready);
  ownership_.CloseScope(received);
  ownership_.Drop(mine);
}

// ---- references in results -----------------------------------------------------------------------------------------

TEST_F(OwnershipTest, OwnReferencesInAResultAreGrantedAtOnce) {
  ObjectEntry* mine = Put(1, "mine");
  WireValue value;
  ownership_.GrantContained({mine}, kCaller, &value);
  ExpectWatch(kCaller);
  EXPECT_EQ(value.granted, std::vector<std::uint8_t>{1});
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "", false);
  sender_.TakeFrame(kCaller, MessageType::kTaskDone);
  ownership_.Drop(mine);
  EXPECT_TRUE(freed_.empty());
  ownership_.On(kCaller, BorrowRemove{{Object(1)}, {1}});
  EXPECT_EQ(freed_.size(), 1u);
}

TEST_F(OwnershipTest, OtherReferencesInAResultAreGrantedByTheirOwnerFirst) {
  ObjectEntry* borrowed = Borrow(1);
  WireValue value;
  ownership_.GrantContained({borrowed}, kCaller, &value);
  ExpectWatch(kOwner);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOwner);
  EXPECT_EQ(add.borrower, kCaller);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "", false);
  EXPECT_TRUE(sender_.Nothing(kCaller));
  ownership_.On(BorrowAck{add.token});
  sender_.TakeFrame(kCaller, MessageType::kTaskDone);
  ownership_.Drop(borrowed);
}

TEST_F(OwnershipTest, AReferenceThatReturnsToItsOwnerIsRegisteredOnTheSameWay) {
  ObjectEntry* borrowed = Borrow(1, kCaller);
  WireValue value;
  ownership_.GrantContained({borrowed}, kCaller, &value);
  EXPECT_EQ(value.granted, std::vector<std::uint8_t>{0});
  ExpectWatch(kCaller);
  EXPECT_EQ(sender_.Take<BorrowAdd>(kCaller).borrower, kSelf);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "", false);  // after it, and without an acknowledgement
  ownership_.Drop(borrowed);
  ownership_.Flush();
  sender_.TakeFrame(kCaller, MessageType::kTaskDone);
  EXPECT_EQ(sender_.Take<BorrowRemove>(kCaller).counts, std::vector<std::uint32_t>{1});
}

TEST_F(OwnershipTest, AResultToItselfKeepsWhatItContains) {
  ObjectEntry* mine = Put(1, "mine");
  WireValue value;
  ownership_.GrantContained({mine}, kSelf, &value);
  ownership_.Drop(mine);
  EXPECT_TRUE(freed_.empty());
  ObjectEntry* result = ownership_.NewOwned(Object(2));
  ownership_.SetValue(result, value);
  ASSERT_EQ(result->contained.size(), 1u);
  EXPECT_EQ(result->contained[0]->bytes, "mine");
  ownership_.Drop(result);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(OwnershipTest, AResultThatNobodyWaitsForGivesItsGrantsBack) {
  WireValue value;
  value.refs = {{Object(1), kOwner}, {Object(2), kOwner}};
  value.granted = {1, 0};
  ownership_.Refuse(value);
  ownership_.Flush();
  EXPECT_EQ(sender_.Take<BorrowRemove>(kOwner).objects, std::vector<ObjectId>{Object(1)});
  EXPECT_EQ(entries(), 0u);
}

TEST_F(OwnershipTest, ValuesReadFromAnOwnerBringTheirReferencesWithoutGrants) {
  ObjectEntry* inner = Put(1, "inner");
  ObjectEntry* outer = Put(2, "outer", {inner});
  ownership_.Export(outer);
  ownership_.On(kOther, ValueRequest{Object(2), kNoNode, ""});
  const ValueReply reply = sender_.Take<ValueReply>(kOther);
  ASSERT_EQ(reply.value.refs.size(), 1u);
  EXPECT_EQ(reply.value.refs[0].object, Object(1));
  EXPECT_TRUE(reply.value.granted.empty());
  ownership_.Drop(outer);
}

// ---- deaths --------------------------------------------------------------------------------------------------------

TEST_F(OwnershipTest, ADeadBorrowerKeepsNothing) {
  ObjectEntry* entry = Put(1, "value");
  ownership_.Export(entry);
  ownership_.On(kOther, BorrowAdd{{Object(1)}, kOther, 0});
  ExpectWatch(kOther);
  ownership_.Drop(entry);
  ownership_.OnProcessGone(kOther, "killed");
  EXPECT_EQ(freed_.size(), 1u);
}

TEST_F(OwnershipTest, AGrantForADeadProcessIsNone) {
  ObjectEntry* entry = Put(1, "value");
  ownership_.Export(entry);
  ownership_.OnProcessGone(kOther, "killed");
  ownership_.On(kCaller, BorrowAdd{{Object(1)}, kOther, 1});  // on its behalf, from a process that does not know yet
  sender_.Take<BorrowAck>(kCaller);
  ownership_.Drop(entry);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(OwnershipTest, ObjectsOfADeadOwnerAreErrorsForThoseWhoWait) {
  ObjectEntry* asked = Borrow(1);
  ObjectEntry* not_asked = Borrow(2);
  ownership_.RequestValue(asked);
  ExpectWatch(kOwner);
  sender_.Take<ValueRequest>(kOwner);
  ownership_.OnProcessGone(kOwner, "it was killed");
  EXPECT_TRUE(asked->ready && asked->is_error);
  EXPECT_NE(asked->bytes.find("it was killed"), std::string::npos);
  EXPECT_FALSE(not_asked->ready);
  ownership_.RequestValue(not_asked);
  EXPECT_TRUE(not_asked->ready && not_asked->is_error);
  for (ObjectEntry* entry : {asked, not_asked}) ownership_.Drop(entry);
}

TEST_F(OwnershipTest, ADeadOwnerHoldsBackNoResults) {
  ObjectEntry* entry = Borrow(1);
  ownership_.RegisterNow(entry);
  ExpectWatch(kOwner);
  sender_.Take<BorrowAdd>(kOwner);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "", false);
  ownership_.OnProcessGone(kOwner, "killed");
  sender_.TakeFrame(kCaller, MessageType::kTaskDone);
  EXPECT_EQ(ownership_.Stats().unacknowledged, 0u);
  ownership_.Drop(entry);
  EXPECT_FALSE(ownership_.NeedsFlush());
}

TEST_F(OwnershipTest, ResultsForADeadCallerAreForgotten) {
  ObjectEntry* entry = Borrow(1);
  ownership_.RegisterNow(entry);
  ExpectWatch(kOwner);
  const BorrowAdd add = sender_.Take<BorrowAdd>(kOwner);
  ownership_.SendGuarded(kCaller, MessageType::kTaskDone, "", false);
  ownership_.OnProcessGone(kCaller, "killed");
  EXPECT_EQ(ownership_.Stats().guarded, 0u);
  ownership_.On(BorrowAck{add.token});
  EXPECT_TRUE(sender_.Nothing(kCaller));
  ownership_.Drop(entry);
  ownership_.Flush();
  sender_.Take<BorrowRemove>(kOwner);
}

TEST_F(OwnershipTest, AStoredArgumentBringsWhatItContains) {
  TaskView task;
  task.args.resize(1);
  task.args[0].kind = ArgHeader::kStored;
  task.args[0].refs = {{Object(1), kOwner, 4, 1 << 20}};
  task.args[0].contained = {{Object(2), kOther}};
  const std::vector<ObjectEntry*> received = ownership_.ReceiveArgs(task);
  ASSERT_EQ(received.size(), 1u);
  EXPECT_TRUE(received[0]->ready);
  EXPECT_EQ(received[0]->node, 4u);
  ASSERT_EQ(received[0]->contained.size(), 1u);
  EXPECT_EQ(received[0]->contained[0]->id, Object(2));
  ownership_.CloseScope(received);
  EXPECT_EQ(entries(), 0u);
}

// ---- places that come along -----------------------------------------------------------------------------------------

constexpr std::uint64_t kSize = 200'000;  // as StoredAt()

TEST_F(OwnershipTest, AReferenceTellsWhereItsObjectLies) {
  ObjectEntry* stored = ownership_.NewOwned(Object(1));
  EXPECT_EQ(ownership_.Export(stored).node, kNoNode);  // there is no value yet
  ownership_.SetLocalValue(stored, StoredAt(4), {});
  EXPECT_EQ(ownership_.Export(stored).node, 4u);
  EXPECT_EQ(ownership_.Export(stored).size, kSize);
  ObjectEntry* small = Put(2, "value");
  EXPECT_EQ(ownership_.Export(small).node, kNoNode);
  ObjectEntry* outer = ownership_.NewOwned(Object(3));  // who reads it must be told what is inside
  ownership_.SetLocalValue(outer, StoredAt(4), {small});
  EXPECT_EQ(ownership_.Export(outer).node, kNoNode);
  const WireValue value = ownership_.ValueOf(outer);
  EXPECT_EQ(value.refs.at(0).node, kNoNode);
  ownership_.Free(stored);
  EXPECT_EQ(ownership_.Export(stored).node, kNoNode);
  sender_.Take<StoreFree>(ProcessId{4, 0});
  ownership_.Drop(stored);
  ownership_.Drop(outer);
  sender_.Take<StoreFree>(ProcessId{4, 0});
}

TEST_F(OwnershipTest, ABorrowerTellsNoPlace) {
  ObjectEntry* entry = ownership_.Receive({Object(1), kOwner, 4, kSize}, false);
  ownership_.ConfirmHint(entry);
  EXPECT_EQ(ownership_.Export(entry).node, kNoNode);
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AHintIsNoValueBeforeItIsProven) {
  ObjectEntry* entry = ownership_.Receive({Object(1), kOwner, 4, kSize}, false);
  EXPECT_FALSE(entry->ready);
  ASSERT_TRUE(Ownership::StorePlaceOf(*entry));
  EXPECT_EQ(Ownership::StorePlaceOf(*entry)->node, 4u);
  EXPECT_TRUE(ready_.empty());
  ownership_.ConfirmHint(entry);
  ownership_.ConfirmHint(entry);
  EXPECT_EQ(ready_, std::vector<ObjectId>{Object(1)});
  EXPECT_EQ(entry->kind, WireValue::kStored);
  EXPECT_EQ(entry->node, 4u);
  EXPECT_EQ(entry->size, kSize);
  ownership_.RequestValue(entry);  // nothing is asked
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AHintThatProvesWrongLeavesTheQuestionToTheOwner) {
  ObjectEntry* entry = ownership_.Receive({Object(1), kOwner, 4, kSize}, false);
  Ownership::DropHint(entry);
  EXPECT_FALSE(Ownership::StorePlaceOf(*entry));
  ownership_.ConfirmHint(entry);
  EXPECT_FALSE(entry->ready);
  ownership_.RequestValue(entry);
  ExpectWatch(kOwner);
  sender_.Take<ValueRequest>(kOwner);
  ownership_.On(ValueReply{Object(1), StoredAt(5)});
  EXPECT_EQ(Ownership::StorePlaceOf(*entry)->node, 5u);
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, WhatTheOwnerSaysIsStrongerThanAHint) {
  ObjectEntry* entry = ownership_.Receive({Object(1), kOwner, 4, kSize}, false);
  ownership_.RequestValue(entry);
  ExpectWatch(kOwner);
  sender_.Take<ValueRequest>(kOwner);
  ownership_.On(ValueReply{Object(1), SystemError("ObjectFreedError", "")});
  ownership_.ConfirmHint(entry);  // an answer of the store that was under way
  EXPECT_TRUE(entry->is_error);
  EXPECT_FALSE(Ownership::StorePlaceOf(*entry));
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, WhoFreesAnObjectForgetsWhatHeWasTold) {
  ObjectEntry* entry = ownership_.Receive({Object(1), kOwner, 4, kSize}, false);
  ownership_.Free(entry);
  sender_.Take<StoreFree>(kOwner);
  EXPECT_FALSE(Ownership::StorePlaceOf(*entry));
  ownership_.Drop(entry);
}

TEST_F(OwnershipTest, AHintComesWithReferencesInsideValuesAndIsGrantedAsTheyAre) {
  ObjectEntry* outer = Borrow(1);
  WireValue value = InlineValue("outer");
  value.refs = {{Object(2), kOwner, 4, kSize}};
  value.granted = {1};
  ownership_.SetValue(outer, value);
  ObjectEntry* inner = outer->contained.at(0);
  EXPECT_EQ(Ownership::StorePlaceOf(*inner)->node, 4u);
  EXPECT_EQ(inner->rare->grants, 1u);
  ownership_.Drop(outer);
  ownership_.Flush();
  EXPECT_EQ(sender_.Take<BorrowRemove>(kOwner).objects, std::vector<ObjectId>{Object(2)});
}

}  // namespace
}  // namespace ray_engine
