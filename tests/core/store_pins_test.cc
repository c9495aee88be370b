// Pins of store objects: asking, taking, giving up, and telling the engine when the last view is gone.

#include "engine/core/store_pins.h"

#include <unistd.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "objectstore/segment.h"
#include "tests/core/core_fixture.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kOffset = 4096, kSize = 200'000;
constexpr ProcessId kOwner{0, 2};

class StorePinsTest : public CoreFixture {
 protected:
  StorePinsTest() : segment_(*Segment::Create(1 << 20)) {
    std::strcpy(segment_.data() + kOffset, "the value");
    store_ = std::make_shared<StoreClient>(*StoreClient::Map(dup(segment_.fd()), segment_.size()));
    pins_ = std::make_unique<StorePins>(&lock_, &sender_, &ownership_, store_);
  }

  ObjectEntry* Stored(std::uint64_t number, std::uint32_t node = 0) {
    ObjectEntry* entry = ownership_.Receive({NumberedId<ObjectId>(number), kOwner}, false);
    WireValue value;
    value.kind = WireValue::kStored;
    value.node = node;
    value.size = kSize;
    ownership_.SetValue(entry, value);
    results_.push_back(entry);
    return entry;
  }
  ObjectEntry* Hinted(std::uint64_t number, std::uint32_t node = 0) {
    results_.push_back(ownership_.Receive({NumberedId<ObjectId>(number), kOwner, node, kSize}, false));
    return results_.back();
  }
  // The question that the engine was asked.
  StorePin Asked(const ObjectEntry* entry) {
    const StorePin pin = sender_.Take<StorePin>(kEngine);
    EXPECT_EQ(pin.object, entry->id);
    EXPECT_EQ(pin.owner, kOwner);
    EXPECT_EQ(pin.size, kSize);
    return pin;
  }
  void Answer(const StorePin& pin, StoreProblem problem = StoreProblem::kNone) {
    StorePinned pinned;
    pinned.token = pin.token;
    pinned.offset = kOffset;
    pinned.size = kSize;
    pinned.problem = problem;
    pinned.error = problem == StoreProblem::kNone ? "" : "why";
    pins_->On(pinned);
  }
  void ExpectCancelled(const StorePin& pin) { EXPECT_EQ(sender_.Take<StorePinCancel>(kEngine).token, pin.token); }
  void ExpectUnpinned(const ObjectEntry* entry) {
    EXPECT_EQ(sender_.Take<StoreUnpin>(kEngine).objects, std::vector<ObjectId>{entry->id});
  }

  std::mutex lock_;
  Segment segment_;
  std::shared_ptr<StoreClient> store_;
  std::unique_ptr<StorePins> pins_;
};

TEST_F(StorePinsTest, TheLastViewThatGoesTellsTheEngine) {
  ObjectEntry* entry = Stored(1);
  PinRequest first({entry});
  pins_->Ask(&first);
  EXPECT_FALSE(first.from_elsewhere);
  EXPECT_FALSE(pins_->AllAnswered(&first));
  Answer(Asked(entry));
  EXPECT_TRUE(pins_->AllAnswered(&first));
  pins_->Take(&first);
  ASSERT_NE(first.pins.at(0), nullptr);
  EXPECT_STREQ(first.pins[0]->data, "the value");
  PinRequest second({entry});  // nothing is asked for it: it is pinned
  pins_->Ask(&second);
  EXPECT_TRUE(pins_->AllAnswered(&second));
  EXPECT_EQ(second.pins, first.pins);
  first.pins.clear();
  EXPECT_TRUE(sender_.Nothing(kEngine));
  second.pins.clear();
  ExpectUnpinned(entry);
}

TEST_F(StorePinsTest, AnswersMayComeInAnyOrder) {
  ObjectEntry *a = Stored(1), *b = Stored(2, 5);
  PinRequest request({a, b});
  pins_->Ask(&request);
  EXPECT_TRUE(request.from_elsewhere);
  const StorePin for_a = Asked(a), for_b = Asked(b);
  EXPECT_EQ(for_b.node, 5u);
  Answer(for_b);
  EXPECT_FALSE(pins_->AllAnswered(&request));
  Answer(for_a);
  EXPECT_TRUE(pins_->AllAnswered(&request));
  pins_->Take(&request);
  EXPECT_EQ(request.pins.at(0)->object, a->id);
  EXPECT_EQ(request.pins.at(1)->object, b->id);
  request.pins[0].reset();
  ExpectUnpinned(a);
  request.pins[1].reset();
  ExpectUnpinned(b);
}

TEST_F(StorePinsTest, WhatIsGivenUpIsLetGoNowOrWhenItComes) {
  ObjectEntry *here = Stored(1), *late = Stored(2), *never = Stored(3);
  PinRequest request({here, late, never});
  pins_->Ask(&request);
  const StorePin for_here = Asked(here), for_late = Asked(late), for_never = Asked(never);
  Answer(for_here);
  pins_->Abandon(&request);
  ExpectUnpinned(here);
  ExpectCancelled(for_late);
  ExpectCancelled(for_never);
  EXPECT_TRUE(pins_->AllAnswered(&request));  // nothing is awaited any more
  Answer(for_late);
  ExpectUnpinned(late);
  Answer(for_never, StoreProblem::kLost);
  Answer(for_late);  // twice: not known any more
}

TEST_F(StorePinsTest, TakingEndsTheRequest) {
  ObjectEntry *here = Stored(1), *late = Stored(2);
  PinRequest request({here, late});
  pins_->Ask(&request);
  Answer(Asked(here));
  const StorePin for_late = Asked(late);
  pins_->Take(&request);  // after a time-out
  ExpectCancelled(for_late);
  EXPECT_NE(request.pins.at(0), nullptr);
  EXPECT_EQ(request.pins.at(1), nullptr);
  Answer(for_late);
  ExpectUnpinned(late);
  request.pins.clear();
  ExpectUnpinned(here);
}

TEST_F(StorePinsTest, APinProvesAHint) {
  ObjectEntry* entry = Hinted(1);
  PinRequest request({entry});
  pins_->Ask(&request);
  Answer(Asked(entry));
  EXPECT_FALSE(entry->ready);
  pins_->Take(&request);
  EXPECT_TRUE(entry->ready);
  request.pins.clear();
  ExpectUnpinned(entry);
}

TEST_F(StorePinsTest, AHintThatIsWrongIsForgottenAndNobodyIsBlamed) {
  ObjectEntry* entry = Hinted(1, 5);
  PinRequest request({entry});
  pins_->Ask(&request);
  EXPECT_TRUE(request.from_elsewhere);
  Answer(Asked(entry), StoreProblem::kLost);
  pins_->Take(&request);
  EXPECT_EQ(request.pins.at(0), nullptr);
  EXPECT_FALSE(request.lost);
  EXPECT_FALSE(entry->ready);
  PinRequest again({entry});
  pins_->Ask(&again);
  EXPECT_TRUE(again.asked.empty());
}

TEST_F(StorePinsTest, AProblemOfTheStoreIsTold) {
  ObjectEntry* entry = Stored(1);
  PinRequest request({entry});
  pins_->Ask(&request);
  Answer(Asked(entry), StoreProblem::kFull);
  pins_->Take(&request);
  EXPECT_EQ(request.pins.at(0), nullptr);
  EXPECT_EQ(request.problem, StoreProblem::kFull);
  EXPECT_EQ(request.error, "why");
}

TEST_F(StorePinsTest, MemoryOutsideTheStoreIsNoValue) {
  ObjectEntry* entry = Stored(1);
  PinRequest request({entry});
  pins_->Ask(&request);
  StorePinned pinned;
  pinned.token = Asked(entry).token;
  pinned.offset = segment_.size();
  pinned.size = kSize;
  pins_->On(pinned);
  pins_->Take(&request);
  EXPECT_EQ(request.pins.at(0), nullptr);
}

TEST_F(StorePinsTest, AViewMayOutliveThePinsAndTheEngine) {
  ObjectEntry *first = Stored(1), *second = Stored(2);
  PinRequest request({first, second});
  pins_->Ask(&request);
  Answer(Asked(first));
  Answer(Asked(second));
  pins_->Take(&request);
  pins_->End();
  request.pins[0].reset();  // there is nobody to tell
  pins_.reset();
  store_.reset();
  EXPECT_STREQ(request.pins[1]->data, "the value");
  request.pins[1].reset();
}

}  // namespace
}  // namespace ray_engine
