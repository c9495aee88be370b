// A real node engine with a store of 8 MiB, which is asked to hold more.

#include <gmock/gmock.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/node/engine_test_base.h"

namespace ray_engine {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kSize = 3 << 20;

class EngineSpillingTest : public EngineTest {
 protected:
  void Put(const ObjectId& object, char filling) {
    driver_->Send(driver_->id().Engine(), StoreReserve{1, kSize, StoreUse::kObject});
    const StoreReserved created = driver_->Receive<StoreReserved>();
    ASSERT_EQ(created.error, "");
    std::memset(driver_->store().data() + created.offset, filling, kSize);
    driver_->Send(driver_->id().Engine(), StoreSeal{object, driver_->id(), created.offset, kSize});
  }
  std::vector<ObjectId> PutMany(int count) {
    std::vector<ObjectId> objects;
    for (int i = 0; i < count; ++i) {
      objects.push_back(ObjectId::Random());
      Put(objects.back(), static_cast<char>('a' + i));
    }
    return objects;
  }
  StorePinned Pin(const ObjectId& object) {
    driver_->Send(driver_->id().Engine(), StorePin{9, object, driver_->id(), 0, kSize});
    return driver_->Receive<StorePinned>();
  }
  void ExpectContent(const ObjectId& object, char filling) {
    const StorePinned pinned = Pin(object);
    ASSERT_EQ(pinned.error, "");
    ASSERT_EQ(pinned.size, kSize);
    EXPECT_EQ(std::string(driver_->store().data() + pinned.offset, kSize), std::string(kSize, filling));
    driver_->Send(driver_->id().Engine(), StoreUnpin{{object}});
  }
  StoreInfo Store() {
    driver_->Send(kHead, StateRequest{3, StateKind::kStores});
    const StateReply reply = driver_->Receive<StateReply>();
    return reply.rows.stores.size() == 1 ? reply.rows.stores[0] : StoreInfo();
  }
};

TEST_F(EngineSpillingTest, ObjectsComeBackWithTheirBytes) {
  const std::vector<ObjectId> objects = PutMany(8);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 8; ++i) ASSERT_NO_FATAL_FAILURE(ExpectContent(objects[i], static_cast<char>('a' + i))) << i;
  }
  const StoreInfo store = Store();
  EXPECT_GE(store.spilled_objects, 6u);
  EXPECT_GE(store.restored_objects, 12u);
  EXPECT_EQ(store.spilled, store.spilled_objects * kSize);
  EXPECT_EQ(store.problem, "");
}

TEST_F(EngineSpillingTest, WhatIsFreedOnDiskCannotBePinnedAndGivesItsPlaceBack) {
  const std::vector<ObjectId> objects = PutMany(6);
  driver_->Send(driver_->id().Engine(), StoreFree{objects});
  EXPECT_EQ(Pin(objects[0]).problem, StoreProblem::kLost);
  EXPECT_TRUE(WaitUntil([&] { return Store().on_disk == 0 && Store().used == 0; }));
}

TEST_F(EngineSpillingTest, ASpilledObjectThatIsWrittenAgainKeepsItsFirstValue) {
  const std::vector<ObjectId> objects = PutMany(5);
  Put(objects[0], 'z');
  ExpectContent(objects[0], 'a');
}

TEST_F(EngineSpillingTest, TheDeathOfWhoWaitsLeavesTheObjectToOthers) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  const std::vector<ObjectId> objects = PutMany(6);
  for (const ObjectId& object : objects)
    worker->Send(worker->id().Engine(), StorePin{4, object, driver_->id(), 0, kSize});
  Die(*worker, 4711, SIGKILL);
  for (int i = 0; i < 6; ++i) ASSERT_NO_FATAL_FAILURE(ExpectContent(objects[i], static_cast<char>('a' + i))) << i;
  EXPECT_EQ(Store().pinned, 0u);
}

TEST_F(EngineSpillingTest, TheErrorOfAFullStoreNamesWhoHasItPinned) {
  const std::vector<ObjectId> objects = PutMany(2);
  for (const ObjectId& object : objects) EXPECT_EQ(Pin(object).error, "");
  driver_->Send(driver_->id().Engine(), StoreReserve{1, kSize, StoreUse::kObject});
  const StoreReserved refused = driver_->Receive<StoreReserved>();
  EXPECT_EQ(refused.problem, StoreProblem::kFull);
  EXPECT_THAT(refused.error, HasSubstr("3.0 MiB asked for, 6.0 MiB of 8.0 MiB in use; pinned: 6.0 MiB by driver"));
}

TEST_F(EngineSpillingTest, AReadThatWaitsForPinsIsServedWhenTheyGo) {
  LeaseGrant grant;
  const auto worker = LeaseWorker(&grant);
  const std::vector<ObjectId> objects = PutMany(4);
  EXPECT_EQ(Pin(objects[2]).error, "");
  EXPECT_EQ(Pin(objects[3]).error, "");
  worker->Send(worker->id().Engine(), StorePin{4, objects[0], driver_->id(), 0, kSize});
  EXPECT_TRUE(WaitUntil([&] { return Store().fetches_queued == 1; }));
  driver_->Send(driver_->id().Engine(), StoreUnpin{{objects[2]}});
  const StorePinned pinned = worker->Receive<StorePinned>();
  EXPECT_EQ(pinned.error, "");
  EXPECT_EQ(worker->store().data()[pinned.offset], 'a');
}

}  // namespace
}  // namespace ray_engine
