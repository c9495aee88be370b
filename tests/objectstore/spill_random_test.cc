// Random events at a store that spills, with a memory and a disk that hold real bytes. Every object is filled with a
// byte of its own; whoever gets a pin must find it there, until the pin is given back.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "objectstore/spill_manager.h"

namespace ray_engine {
namespace {

constexpr std::uint64_t kStore = 1 << 20;
constexpr ProcessId kEngine{0, 0};
constexpr int kClients = 4;
constexpr ProcessId kOwners[] = {{1, 1}, {1, 2}};

struct Known {
  char filling = 0;
  std::uint64_t size = 0;
  bool sealed = false, freed = false, lost = false;
  int writer = 0;
};

class SpillModelTest : public testing::TestWithParam<int> {
 protected:
  static ProcessId Client(int index) { return {0, static_cast<std::uint32_t>(index + 1)}; }
  ObjectId Any() {
    if (known_.empty()) return ObjectId();
    return std::next(known_.begin(), static_cast<long>(random_() % known_.size()))->first;
  }

  void Create() {
    Known object;
    object.filling = static_cast<char>(++count_);
    object.size = random_() % 16 == 0 ? 0 : random_() % (kStore / 5);
    object.writer = static_cast<int>(random_() % kClients);
    const ObjectId id = ReturnObjectId(TaskId(), ++created_);
    const absl::StatusOr<std::uint64_t> offset = store_.Create(id, object.size, Client(object.writer));
    if (!offset.ok()) return Apply(manager_.Relieve(object.size));
    memory_.replace(*offset, object.size, object.size, object.filling);
    store_.SetOwner(id, kOwners[created_ % 2]);
    known_[id] = object;
    Apply(manager_.KeepReserve());
  }

  void Seal() {
    for (auto& [id, object] : known_) {
      if (object.sealed || random_() % 2 == 0) continue;
      ASSERT_TRUE(store_.Seal(id, Client(object.writer)).ok());
      object.sealed = true;
    }
    DropFreed();
  }

  void Free() {
    const auto found = known_.find(Any());
    if (found == known_.end()) return;
    store_.Free(found->first);
    Apply(manager_.OnFree(found->first));
    found->second.freed = true;
    DropFreed();
  }

  // What is freed may be read by those who have pinned it, by nobody else.
  void DropFreed() {
    for (auto at = known_.begin(); at != known_.end();)
      at = at->second.freed && at->second.sealed ? known_.erase(at) : std::next(at);
  }

  void Want() {
    const auto found = known_.find(Any());
    if (found == known_.end() || !found->second.sealed || found->second.lost) return;
    const int client = static_cast<int>(random_() % kClients);
    if (manager_.Away(found->first)) {
      waiting_.insert({client, found->first});
      if (manager_.OnWant(found->first, Client(client), static_cast<std::uint64_t>(client)))
        restores_.push_back(found->first);
      return;
    }
    const absl::StatusOr<Store::Location> pinned = store_.Pin(found->first, Client(client));
    ASSERT_TRUE(pinned.ok()) << "neither in memory nor on disk";
    OnPinned(client, found->first, *pinned);
  }

  void OnPinned(int client, const ObjectId& id, const Store::Location& location) {
    const Known& object = known_.at(id);
    ASSERT_EQ(location.size, object.size);
    pins_.push_back({client, id, location, object.filling});
    CheckPin(pins_.back());
  }

  struct PinHeld {
    int client;
    ObjectId object;
    Store::Location location;
    char filling;
  };
  void CheckPin(const PinHeld& pin) {
    const std::string expected(pin.location.size, pin.filling);
    ASSERT_EQ(memory_.compare(pin.location.offset, pin.location.size, expected), 0) << "a pinned object has changed";
  }

  void Unpin() {
    if (pins_.empty()) return;
    const auto pin = pins_.begin() + static_cast<long>(random_() % pins_.size());
    ASSERT_NO_FATAL_FAILURE(CheckPin(*pin));
    store_.Unpin(pin->object, Client(pin->client));
    pins_.erase(pin);
  }

  void ClientGone() {
    const int client = static_cast<int>(random_() % kClients);
    store_.OnClientGone(Client(client));
    manager_.OnClientGone(Client(client));
    for (auto at = pins_.begin(); at != pins_.end();) at = at->client == client ? pins_.erase(at) : std::next(at);
    for (auto at = waiting_.begin(); at != waiting_.end();)
      at = at->first == client ? waiting_.erase(at) : std::next(at);
    for (auto at = known_.begin(); at != known_.end();) {
      const bool unfinished = !at->second.sealed && at->second.writer == client;
      at = unfinished ? known_.erase(at) : std::next(at);
    }
  }

  void Restore() {
    if (restores_.empty()) return;
    SpillActions actions;
    const auto known = known_.find(restores_.front());
    if (manager_.TryRestore(restores_.front(), &actions)) {
      restores_.pop_front();
    } else if (random_() % 8 == 0) {
      Apply(manager_.GiveUpRestore(restores_.front(), "too long"));
      restores_.pop_front();
    } else {
      Apply(manager_.Relieve(known->second.size));
    }
    Apply(actions);
  }

  void DiskWorks() {
    if (jobs_.empty()) return;
    SpillDone done{jobs_.front(), absl::OkStatus(), 1};
    jobs_.pop_front();
    const SpillJob& job = done.job;
    if (job.kind == SpillJob::kFree) {
      ASSERT_EQ(disk_.erase(job.slot), 1u) << "freed twice";
      return;
    }
    if (job.kind == SpillJob::kWrite) {
      if (random_() % 16 == 0) {
        done.status = absl::ResourceExhaustedError("the disk is full");
      } else {
        done.job.slot = SpillSlot{++slots_};
        disk_[done.job.slot] = memory_.substr(job.offset, job.size);
      }
    } else if (random_() % 32 == 0) {
      done.status = absl::DataLossError("damaged");
      if (const auto known = known_.find(job.object); known != known_.end()) known->second.lost = true;
    } else {
      ASSERT_EQ(disk_.at(job.slot).size(), job.size);
      memory_.replace(job.offset, job.size, disk_.at(job.slot));
    }
    Apply(manager_.OnDone(done, ++now_));
  }

  void Apply(const SpillActions& actions) {
    jobs_.insert(jobs_.end(), actions.jobs.begin(), actions.jobs.end());
    for (const auto& pinned : actions.pinned) {
      const int client = static_cast<int>(pinned.token);
      const auto at = waiting_.find({client, pinned.object});
      ASSERT_NE(at, waiting_.end()) << "nobody has asked for it";
      OnPinned(client, pinned.object, pinned.location);
      waiting_.erase(at);
    }
    for (const auto& failed : actions.failed) {
      const auto at = waiting_.find({static_cast<int>(failed.token), failed.object});
      ASSERT_NE(at, waiting_.end()) << "nobody has asked for it";
      waiting_.erase(at);
    }
  }

  void Step() {
    switch (random_() % 24) {
      case 0:
        return ClientGone();
      case 1:
      case 2:
        return Free();
      case 3:
        return manager_.OnTick(now_ += 300);
      case 4:
      case 5:
      case 6:
      case 7:
        return Create();
      case 8:
      case 9:
      case 10:
        return Seal();
      case 11:
      case 12:
      case 13:
        return Want();
      case 14:
      case 15:
      case 16:
        return Unpin();
      case 17:
      case 18:
      case 19:
        return Restore();
      default:
        return DiskWorks();
    }
  }

  std::mt19937 random_{static_cast<std::uint32_t>(GetParam())};
  Store store_{kStore};
  SpillManager manager_{&store_, kEngine, true};
  std::string memory_ = std::string(kStore, '\0');
  std::map<SpillSlot, std::string> disk_;
  std::deque<SpillJob> jobs_;
  std::deque<ObjectId> restores_;
  std::map<ObjectId, Known> known_;
  std::multiset<std::pair<int, ObjectId>> waiting_;
  std::vector<PinHeld> pins_;
  std::uint64_t slots_ = 0, now_ = 0;
  unsigned count_ = 0;
  std::uint32_t created_ = 0;
};

TEST_P(SpillModelTest, EveryPinHoldsItsBytes) {
  for (int step = 0; step < 4000; ++step) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    ASSERT_EQ(store_.CheckInvariants(), "") << "step " << step;
    ASSERT_EQ(manager_.CheckInvariants(), "") << "step " << step;
  }
  for (const PinHeld& pin : pins_) ASSERT_NO_FATAL_FAILURE(CheckPin(pin));
  EXPECT_GT(manager_.Stats().spilled_objects, 20u);
  EXPECT_GT(manager_.Stats().restored_objects, 20u);
}

// In the end everything goes: what is freed as its owner is gone leaves nothing in memory and nothing on disk.
TEST_P(SpillModelTest, NothingIsLeft) {
  for (int step = 0; step < 1000; ++step) ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
  for (int client = 0; client < kClients; ++client) {
    store_.OnClientGone(Client(client));
    manager_.OnClientGone(Client(client));
  }
  waiting_.clear();
  for (const ProcessId owner : kOwners) {
    for (const auto& objects : {store_.ObjectsOf(owner), manager_.ObjectsOf(owner)}) {
      for (const ObjectId& id : objects) {
        store_.Free(id);
        Apply(manager_.OnFree(id));
      }
    }
  }
  while (!jobs_.empty()) ASSERT_NO_FATAL_FAILURE(DiskWorks());
  EXPECT_EQ(store_.Stats().memory.used, 0u);
  EXPECT_TRUE(disk_.empty());
  EXPECT_EQ(manager_.Stats().on_disk_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SpillModelTest, testing::Range(0, 20));

}  // namespace
}  // namespace ray_engine
