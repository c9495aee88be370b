// Clients of a node's store that reserve, write, seal and pin, and are killed at each step of that.

#include <signal.h>

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "tests/node/engine_test_base.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kChunk = 512 << 10, kObject = 128 << 10, kWhole = 8 << 20;

class StoreClientsTest : public EngineTest {
 protected:
  static StoreReserved Reserve(TestProcess* process, std::uint64_t size, StoreUse use) {
    process->Send(process->id().Engine(), StoreReserve{1, size, use});
    return process->Receive<StoreReserved>();
  }
  static void Seal(TestProcess* process, const ObjectId& object, std::uint64_t offset, std::uint64_t size,
                   bool pin = false) {
    process->Send(process->id().Engine(), StoreSeal{object, process->id(), offset, size, pin});
  }
  static StorePinned Pin(TestProcess* process, const ObjectId& object, ProcessId owner) {
    process->Send(process->id().Engine(), StorePin{7, object, owner, 0, kObject});
    return process->Receive<StorePinned>();
  }
  StoreInfo Info() {
    driver_->Send(kHead, StateRequest{5, StateKind::kStores});
    return driver_->Receive<StateReply>().rows.stores.at(0);
  }
  // A new worker, whose lease goes back with it.
  std::unique_ptr<TestProcess> Worker() {
    LeaseGrant grant;
    return LeaseWorker(&grant, ++pid_);
  }

  std::uint32_t pid_ = 4711;
};

TEST_F(StoreClientsTest, ObjectsInAChunkAreReadAndFreedOnTheirOwn) {
  const auto worker = Worker();
  const std::uint64_t chunk = Reserve(worker.get(), kChunk, StoreUse::kChunk).offset;
  std::vector<ObjectId> objects;
  for (int i = 0; i < 3; ++i) {
    objects.push_back(ObjectId::Random());
    std::memset(worker->store().data() + chunk + i * kObject, 'a' + i, kObject);
    Seal(worker.get(), objects[i], chunk + i * kObject, kObject);
  }
  for (int i = 0; i < 3; ++i) {
    const StorePinned pinned = Pin(driver_.get(), objects[i], worker->id());
    ASSERT_EQ(pinned.error, "");
    EXPECT_EQ(driver_->store().data()[pinned.offset + kObject - 1], 'a' + i);
  }
  StoreInfo info = Info();
  EXPECT_EQ(info.in_chunks, kChunk - 3 * kObject);
  EXPECT_EQ(info.used, kChunk);
  EXPECT_EQ(info.objects, 3u);
  driver_->Send(driver_->id().Engine(), StoreUnpin{{objects[1]}});
  driver_->Send(driver_->id().Engine(), StoreFree{{objects[1]}});
  info = Info();
  EXPECT_EQ(info.objects, 2u);
  EXPECT_EQ(info.used, kChunk - kObject);
}

TEST_F(StoreClientsTest, WhatWasNotReservedCannotBeSealed) {
  const auto worker = Worker();
  const std::uint64_t mine = Reserve(driver_.get(), kChunk, StoreUse::kChunk).offset;
  const std::uint64_t others = Reserve(worker.get(), kChunk, StoreUse::kChunk).offset;
  Seal(driver_.get(), ObjectId::Random(), others, kObject);
  Seal(driver_.get(), ObjectId::Random(), mine + kChunk - 64, kObject);
  Seal(driver_.get(), ObjectId::Random(), mine + 1, 64);
  Seal(driver_.get(), ObjectId::Random(), mine, ~std::uint64_t{0});
  driver_->Send(driver_->id().Engine(), StoreReturn{others, kObject});
  driver_->Send(driver_->id().Engine(), StoreReturn{~std::uint64_t{0} - 64, 64});
  const StoreInfo info = Info();
  EXPECT_EQ(info.objects, 0u);
  EXPECT_EQ(info.used, 2 * kChunk);
}

TEST_F(StoreClientsTest, AChunkIsGivenOnlyWherePlentyIsFree) {
  EXPECT_EQ(Reserve(driver_.get(), kWhole / 2, StoreUse::kChunk).problem, StoreProblem::kFull);
  EXPECT_EQ(Reserve(driver_.get(), kWhole / 8, StoreUse::kChunk).problem, StoreProblem::kNone);
  EXPECT_EQ(Reserve(driver_.get(), kWhole / 8, StoreUse::kChunk).problem, StoreProblem::kFull);
}

TEST_F(StoreClientsTest, AFullStoreTakesChunksBackBeforeItRefusesOrSpills) {
  const auto worker = Worker();
  const std::uint64_t chunk = Reserve(worker.get(), kChunk, StoreUse::kChunk).offset;
  driver_->Send(driver_->id().Engine(), StoreReserve{2, kWhole, StoreUse::kObject});
  const StoreReclaim reclaim = worker->Receive<StoreReclaim>();
  EXPECT_TRUE(reclaim.chunks);
  worker->Send(worker->id().Engine(), StoreReturn{chunk, kChunk});
  worker->Send(worker->id().Engine(), StoreReclaimed{reclaim.round});
  const StoreReserved granted = driver_->Receive<StoreReserved>();
  EXPECT_EQ(granted.token, 2u);
  EXPECT_EQ(granted.error, "");
  EXPECT_EQ(Info().spilled, 0u);
}

TEST_F(StoreClientsTest, AClientThatDoesNotAnswerHoldsNobodyUpOnceItIsDead) {
  const auto worker = Worker();
  Reserve(worker.get(), kChunk, StoreUse::kChunk);
  driver_->Send(driver_->id().Engine(), StoreReserve{2, kWhole, StoreUse::kObject});
  worker->Receive<StoreReclaim>();
  Die(*worker, pid_, SIGKILL);
  EXPECT_EQ(driver_->Receive<StoreReserved>().error, "");
}

TEST_F(StoreClientsTest, WhoKnowsOfAnObjectBeforeTheEngineWaitsForItsSeal) {
  const auto worker = Worker();
  const ObjectId object = ObjectId::Random(), freed = ObjectId::Random();
  const std::uint64_t chunk = Reserve(worker.get(), kChunk, StoreUse::kChunk).offset;
  driver_->Send(driver_->id().Engine(), StorePin{7, object, worker->id(), 0, kObject});
  driver_->Send(driver_->id().Engine(), StoreFree{{freed}});
  const StoreReclaim reclaim = worker->Receive<StoreReclaim>();  // so the engine asks
  EXPECT_FALSE(reclaim.chunks);
  Seal(worker.get(), object, chunk, kObject);
  Seal(worker.get(), freed, chunk + kObject, kObject);
  EXPECT_EQ(driver_->Receive<StorePinned>().offset, chunk);
  worker->Send(worker->id().Engine(), StoreReclaimed{reclaim.round});
  EXPECT_EQ(Info().objects, 1u);
}

TEST_F(StoreClientsTest, AnObjectThatNobodyHasSealedIsLost) {
  const auto worker = Worker();
  Reserve(worker.get(), kChunk, StoreUse::kArray);
  driver_->Send(driver_->id().Engine(), StorePin{7, ObjectId::Random(), worker->id(), 0, kObject});
  worker->Send(worker->id().Engine(), StoreReclaimed{worker->Receive<StoreReclaim>().round});
  EXPECT_EQ(driver_->Receive<StorePinned>().problem, StoreProblem::kLost);
}

TEST_F(StoreClientsTest, AnArrayThatIsAnObjectAlreadyKeepsItsMemoryUntilItIsReturned) {
  const ObjectId object = ObjectId::Random();
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t offset = Reserve(driver_.get(), kObject, StoreUse::kArray).offset;
    Seal(driver_.get(), object, offset, kObject, true);
    EXPECT_EQ(Info().used, (i + 1) * kObject);
    if (i == 1) driver_->Send(driver_->id().Engine(), StoreReturn{offset, kObject});
  }
  EXPECT_EQ(Info().used, kObject);
  driver_->Send(driver_->id().Engine(), StoreFree{{object}});
  EXPECT_EQ(Info().used, kObject);  // both have it pinned
  driver_->Send(driver_->id().Engine(), StoreUnpin{{object, object}});
  EXPECT_EQ(Info().used, 0u);
}

// The steps of a client that puts and of one that gets. It is killed after each of them; then nothing may be left of
// it.
TEST_F(StoreClientsTest, AClientKilledAtAnyStepLeavesNothingBehind) {
  const ObjectId others = ObjectId::Random();
  Seal(driver_.get(), others, Reserve(driver_.get(), kObject, StoreUse::kObject).offset, kObject);
  TestProcess* worker = nullptr;
  std::uint64_t chunk = 0, whole = 0, array = 0;
  const std::vector<std::function<void()>> steps = {
      [&] {
        worker->Send(worker->id().Engine(), StoreReserve{0, kChunk, StoreUse::kChunk});
      },
      [&] { chunk = worker->Receive<StoreReserved>().offset; },
      [&] { std::memset(worker->store().data() + chunk, 'x', kObject / 2); },
      [&] { Seal(worker, ObjectId::Random(), chunk, kObject); },
      [&] {
        worker->Send(worker->id().Engine(), StoreReserve{1, kObject, StoreUse::kObject});
      },
      [&] { whole = worker->Receive<StoreReserved>().offset; },
      [&] { Seal(worker, ObjectId::Random(), whole, kObject); },
      [&] { array = Reserve(worker, kObject, StoreUse::kArray).offset; },
      [&] { Seal(worker, ObjectId::Random(), array, kObject, true); },
      [&] {
        worker->Send(worker->id().Engine(), StoreReserve{2, kWhole, StoreUse::kObject});
      },  // finds no room
      [&] {
        worker->Send(worker->id().Engine(), StorePin{7, others, driver_->id(), 0, kObject});
      },
      [&] { worker->Receive<StorePinned>(); },
      [&] { worker->Send(worker->id().Engine(), StoreFree{{others}}); },  // while it holds it
      [&] { worker->Send(worker->id().Engine(), StoreUnpin{{others}}); },
      [&] {
        worker->Send(worker->id().Engine(), StoreReturn{chunk + kObject, kChunk - kObject});
      },
  };
  for (std::size_t killed_after = 0; killed_after < steps.size(); ++killed_after) {
    const auto process = Worker();
    worker = process.get();
    for (std::size_t i = 0; i <= killed_after; ++i) steps[i]();
    Die(*process, pid_, SIGKILL);
    const bool freed = killed_after >= 12;
    StoreInfo info;
    ASSERT_TRUE(WaitUntil([&] {
      info = Info();
      return info.used == (freed ? 0 : kObject);
    })) << "killed after step "
        << killed_after << ": " << info.used << " bytes in use, " << info.in_chunks << " in chunks";
    EXPECT_EQ(info.pinned, 0u);
    EXPECT_EQ(info.in_chunks + info.in_arrays + info.creates_queued, 0u);
    if (freed) Seal(driver_.get(), others, Reserve(driver_.get(), kObject, StoreUse::kObject).offset, kObject);
  }
}

}  // namespace
}  // namespace ray_engine
