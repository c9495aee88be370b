// Random calls on the store, compared after each with a model that is too simple to be wrong: a map of objects, each
// with its state and the pins of every client, and which bytes every client has reserved.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "objectstore/store.h"

namespace ray_engine {
namespace {

constexpr int kObjects = 12, kClients = 4;
constexpr std::uint64_t kStore = 8 << 20;  // so that some parts are counted in pages, others in units

struct ModelObject {
  std::uint64_t size = 0;
  int writer = -1;  // -1: sealed
  bool primary = true, freed = false, backed = false, owned = false;
  std::map<int, int> pins;

  int Pins() const {
    int sum = 0;
    for (const auto& [client, count] : pins) sum += count;
    return sum;
  }
  bool Gone() const { return writer < 0 && freed && Pins() == 0; }
  bool Evictable() const { return writer < 0 && (!primary || backed) && Pins() == 0; }
};

class StoreModelTest : public testing::TestWithParam<int> {
 protected:
  static ObjectId Object(int index) {
    return ObjectId::FromBinary(std::string(ObjectId::kSize, static_cast<char>(index)));
  }
  static ProcessId Owner(int object) { return {1, static_cast<std::uint32_t>(object % 3)}; }
  static ProcessId Client(int index) { return {0, static_cast<std::uint32_t>(index + 1)}; }

  void Create(int object, int client) {
    const std::uint64_t size = random_() % (kStore / 4);
    const bool primary = random_() % 2 == 0;
    const auto copy = primary ? Store::Copy::kPrimary : Store::Copy::kSecondary;
    const absl::Status status = store_.Create(Object(object), size, Client(client), copy).status();
    const auto found = model_.find(object);
    if (found == model_.end()) {
      if (status.ok()) model_[object] = {size, client, primary, false, false, false, {}};
      ASSERT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
      DropEvicted();
      if (!status.ok()) {
        ASSERT_TRUE(NothingToGiveUp() || Allocator::Rounded(size) + Kept() > kStore) << "full, but there is room";
      }
    } else if (found->second.writer >= 0) {
      ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
    } else {
      ASSERT_TRUE(absl::IsAlreadyExists(status)) << status;
      found->second.freed = false;
      found->second.primary |= primary;
    }
  }

  bool NothingToGiveUp() const {
    return std::none_of(model_.begin(), model_.end(), [](const auto& entry) { return entry.second.Evictable(); });
  }
  // Bytes that may not be given up.
  std::uint64_t Kept() const {
    std::uint64_t bytes = 0;
    for (const auto& [object, state] : model_) bytes += state.Evictable() ? 0 : Allocator::Rounded(state.size);
    return bytes + reserved_.size() * Allocator::kAlignment;
  }

  // Which copies were evicted is the store's choice, but only evictable ones may be missing.
  void DropEvicted() {
    for (auto at = model_.begin(); at != model_.end();) {
      const bool missing = at->second.writer < 0 && !store_.Contains(Object(at->first));
      ASSERT_TRUE(!missing || at->second.Evictable()) << at->first;
      at = missing ? model_.erase(at) : std::next(at);
    }
  }

  // Of the store, by every client; a reservation has whole units of the allocator.
  struct Unit {
    int client = 0, reservation = 0;
  };
  using Units = std::map<std::uint64_t, Unit>;  // by offset

  void Reserve(int client) {
    const auto use = static_cast<Store::Use>(random_() % 3);
    const std::uint64_t size = random_() % (kStore / 4);
    const absl::StatusOr<std::uint64_t> offset = store_.Reserve(size, Client(client), use);
    DropEvicted();
    if (!offset.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(offset.status())) << offset.status();
      ASSERT_TRUE(use == Store::Use::kChunk || NothingToGiveUp() || Allocator::Rounded(size) + Kept() > kStore);
      return;
    }
    for (std::uint64_t at = *offset; at < *offset + Allocator::Rounded(size); at += Allocator::kAlignment)
      ASSERT_TRUE(reserved_.emplace(at, Unit{client, reservations_}).second) << "reserved twice";
    ++reservations_;
  }

  // Some place: often one that is reserved, sometimes none.
  Store::Location AnyPart() {
    Store::Location part{random_() % kStore, 1 + random_() % (random_() % 2 == 0 ? 300 : kStore / 8)};
    const auto at = reserved_.lower_bound(part.offset);
    if (at != reserved_.end() && random_() % 8 != 0) part.offset = at->first;
    return part;
  }
  // How much of so many bytes from there on the client has in one reservation.
  std::uint64_t Held(std::uint64_t offset, std::uint64_t bytes, int client) const {
    const auto first = reserved_.find(offset);
    if (first == reserved_.end() || first->second.client != client) return 0;
    std::uint64_t held = 0;
    for (auto unit = first; held < bytes && unit != reserved_.end() && unit->first == offset + held; ++unit) {
      if (unit->second.reservation != first->second.reservation) break;
      held += Allocator::kAlignment;
    }
    return held;
  }
  void Unreserve(std::uint64_t offset, std::uint64_t bytes) {
    reserved_.erase(reserved_.lower_bound(offset), reserved_.lower_bound(offset + bytes));
  }

  void SealReserved(int object, int client) {
    const Store::Location part = AnyPart();
    const bool pin = random_() % 2 == 0;
    const std::uint64_t bytes = Allocator::Rounded(part.size), held = Held(part.offset, bytes, client);
    const absl::Status status = store_.SealReserved(Object(object), part, Client(client), pin, Owner(object));
    ASSERT_EQ(held < bytes, absl::IsInvalidArgument(status)) << status;
    if (held < bytes) return;
    const auto found = model_.find(object);
    ASSERT_EQ(absl::IsFailedPrecondition(status), found != model_.end() && found->second.writer >= 0);
    ASSERT_EQ(absl::IsAlreadyExists(status), found != model_.end() && found->second.writer < 0);
    if (found == model_.end() || !pin) {
      Unreserve(part.offset, bytes);
    } else {  // a reservation of its own now
      for (std::uint64_t at = part.offset; at < part.offset + bytes; at += Allocator::kAlignment)
        reserved_[at].reservation = reservations_;
      ++reservations_;
    }
    if (absl::IsFailedPrecondition(status)) return;
    if (found == model_.end()) model_[object] = {part.size, -1, true, false, false, true, {}};
    if (found != model_.end()) model_[object].freed = false, model_[object].primary = true;
    if (pin) ++model_[object].pins[client];
  }

  void Return(int client) {
    const Store::Location part = AnyPart();
    const std::uint64_t held = Held(part.offset, Allocator::Rounded(part.size), client);
    ASSERT_EQ(store_.Return(part, Client(client)), held >= part.size);
    if (held >= part.size) Unreserve(part.offset, held);
  }

  void Seal(int object, int client) {
    const auto found = model_.find(object);
    const bool its_own = found != model_.end() && found->second.writer == client;
    ASSERT_EQ(store_.Seal(Object(object), Client(client)).ok(), its_own);
    if (its_own) found->second.writer = -1;
  }

  void Abort(int object, int client) {
    store_.Abort(Object(object), Client(client));
    const auto found = model_.find(object);
    if (found != model_.end() && found->second.writer == client) model_.erase(found);
  }

  void Pin(int object, int client) {
    const auto found = model_.find(object);
    const bool here = found != model_.end() && found->second.writer < 0;
    ASSERT_EQ(store_.Pin(Object(object), Client(client)).ok(), here);
    if (here) ++found->second.pins[client];
  }

  void Unpin(int object, int client) {
    store_.Unpin(Object(object), Client(client));
    const auto found = model_.find(object);
    if (found != model_.end() && found->second.pins[client] > 0) --found->second.pins[client];
  }

  void Free(int object) {
    store_.Free(Object(object));
    if (const auto found = model_.find(object); found != model_.end()) found->second.freed = true;
  }

  void Back(int object) {
    const bool backed = random_() % 2 == 0;
    const auto found = model_.find(object);
    store_.SetBacked(Object(object), backed);
    if (found != model_.end()) found->second.backed = backed;
  }

  void ClientGone(int client) {
    store_.OnClientGone(Client(client));
    for (auto at = reserved_.begin(); at != reserved_.end();)
      at = at->second.client == client ? reserved_.erase(at) : std::next(at);
    for (auto at = model_.begin(); at != model_.end();) {
      at->second.pins.erase(client);
      at = at->second.writer == client ? model_.erase(at) : std::next(at);
    }
  }

  void Step() {
    const int object = random_() % kObjects, client = random_() % kClients;
    switch (random_() % 24) {
      case 0:
        ClientGone(client);
        break;
      case 16:
        Back(object);
        break;
      case 17:
      case 18:
        Reserve(client);
        break;
      case 19:
      case 20:
      case 21:
        SealReserved(object, client);
        break;
      case 22:
      case 23:
        Return(client);
        break;
      case 1:
        Abort(object, client);
        break;
      case 2:
      case 3:
        Free(object);
        break;
      case 4:
      case 5:
      case 6:
        Pin(object, client);
        break;
      case 7:
      case 8:
      case 9:
        Unpin(object, client);
        break;
      case 10:
      case 11:
      case 12:
        Seal(object, client);
        break;
      default:
        Create(object, client);
    }
    for (auto at = model_.begin(); at != model_.end();) at = at->second.Gone() ? model_.erase(at) : std::next(at);
  }

  void Compare() {
    ASSERT_EQ(store_.CheckInvariants(), "");
    std::uint64_t bytes = 0, pinned = 0;
    for (int object = 0; object < kObjects; ++object) {
      const auto found = model_.find(object);
      ASSERT_EQ(store_.Contains(Object(object)), found != model_.end() && found->second.writer < 0) << object;
    }
    std::map<ProcessId, std::set<ObjectId>> owned;
    for (const auto& [object, state] : model_) {
      bytes += Allocator::Rounded(state.size);
      pinned += state.Pins() > 0 ? state.size : 0;
      if (state.owned) owned[Owner(object)].insert(Object(object));
      ASSERT_TRUE(state.writer >= 0 || store_.Lookup(Object(object))->size == state.size);
    }
    for (int owner = 0; owner < 3; ++owner) {
      const std::vector<ObjectId> found = store_.ObjectsOf(Owner(owner));
      ASSERT_EQ(std::set<ObjectId>(found.begin(), found.end()), owned[Owner(owner)]) << owner;
    }
    ASSERT_EQ(store_.Stats().memory.used, bytes + reserved_.size() * Allocator::kAlignment);
    ASSERT_EQ(store_.Stats().pinned_bytes, pinned);
    ASSERT_EQ(store_.Stats().objects, model_.size());
  }

  std::mt19937 random_{static_cast<std::uint32_t>(GetParam())};
  Store store_{kStore};
  std::map<int, ModelObject> model_;
  Units reserved_;
  int reservations_ = 0;
};

TEST_P(StoreModelTest, BehavesLikeTheModel) {
  for (int step = 0; step < 3000; ++step) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    ASSERT_NO_FATAL_FAILURE(Compare()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreModelTest, testing::Range(0, 20));

}  // namespace
}  // namespace ray_engine
