// Two nodes' stores, pull manager on one and pull server on the other, joined by a network that delays, reorders and
// fails chunks at random while clients come and go and objects are freed. Whatever happens, every want is answered
// exactly once (or its client is gone), the bytes are right, and nothing stays behind.

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "objectstore/pull_manager.h"
#include "objectstore/pull_server.h"

namespace ray_engine {
namespace {

constexpr std::uint32_t kHere = 0, kThere = 1;
constexpr int kObjects = 8, kClients = 3;
constexpr std::uint64_t kStoreSize = 10 * kPullChunk;

class PullRandomTest : public testing::TestWithParam<int> {
 protected:
  static ObjectId Object(int index) {
    return ObjectId::FromBinary(std::string(ObjectId::kSize, static_cast<char>(index)));
  }
  static ProcessId Client(int index) { return {kHere, static_cast<std::uint32_t>(index + 1)}; }
  static std::uint64_t SizeOf(int index) { return (index + 1) * kPullChunk / 3; }

  int Pick(std::size_t count) { return static_cast<int>(random_() % count); }

  void Perform(const PullActions& actions) {
    for (const auto& request : actions.requests) requests_.push_back(request.object);
    for (const auto& pinned : actions.pinned) {
      ASSERT_EQ(waiting_.erase(pinned.token), 1u);
      ASSERT_EQ(pinned.location.size, SizeOf(static_cast<unsigned char>(pinned.object.Binary()[0])));
      pinned_.push_back({pinned.object, pinned.client});
    }
    for (const auto& failed : actions.failed) ASSERT_EQ(waiting_.erase(failed.token), 1u) << failed.error;
  }
  void Perform(const ServeActions& actions) {
    for (const auto& chunk : actions.chunks) sent_.push_back(chunk.chunk);
    for (const auto& refusal : actions.refusals) refusals_.push_back(refusal);
  }

  void Want() {
    const int object = Pick(kObjects), client = Pick(kClients);
    waiting_[++token_] = client;
    Perform(pulls_.OnWant(Object(object), {kThere, 9}, kThere, SizeOf(object), Client(client), token_));
  }
  void Serve() {
    if (requests_.empty()) return;
    const ObjectId object = requests_.front();
    requests_.pop_front();
    Perform(server_.OnPullRequest(kHere, object));
  }
  void Refuse() {
    if (refusals_.empty()) return;
    const auto refusal = refusals_.front();
    refusals_.pop_front();
    Perform(pulls_.OnPullFailed(kThere, refusal.object, refusal.error));
  }
  void CarryChunk() {
    if (sent_.empty()) return;
    const auto at = sent_.begin() + Pick(sent_.size());
    const BulkChunk chunk = *at;
    sent_.erase(at);
    if (pulls_.OnChunk(kThere, chunk)) landing_.push_back(chunk);
    Perform(server_.OnChunkSent(kHere, chunk));
  }
  void LandChunk() {
    if (landing_.empty()) return;
    const auto at = landing_.begin() + Pick(landing_.size());
    const BulkChunk chunk = *at;
    landing_.erase(at);
    const absl::Status status = Pick(20) == 0 ? absl::UnavailableError("cut") : absl::OkStatus();
    Perform(pulls_.OnChunkDone(kThere, chunk, status));
  }
  void Unpin() {
    if (pinned_.empty()) return;
    const auto at = pinned_.begin() + Pick(pinned_.size());
    here_.Unpin(at->first, at->second);
    pinned_.erase(at);
    Perform(pulls_.OnMemoryFreed());
  }
  void ClientGone() {
    const int client = Pick(kClients);
    here_.OnClientGone(Client(client));
    for (auto at = waiting_.begin(); at != waiting_.end();)
      at = at->second == client ? waiting_.erase(at) : std::next(at);
    std::vector<std::pair<ObjectId, ProcessId>> kept;
    for (const auto& pin : pinned_) {
      if (pin.second != Client(client)) kept.push_back(pin);
    }
    pinned_ = kept;
    Perform(pulls_.OnClientGone(Client(client)));
  }
  void Renew() {  // the object is freed there, or made anew
    const int object = Pick(kObjects);
    if (there_.Contains(Object(object))) {
      there_.Free(Object(object));
      here_.Free(Object(object));
    } else if (there_.Create(Object(object), SizeOf(object), {kThere, 1}).ok()) {
      ASSERT_TRUE(there_.Seal(Object(object), {kThere, 1}).ok());
    }
    Perform(pulls_.OnMemoryFreed());
  }

  void Step() {
    switch (Pick(16)) {
      case 0:
        return Renew();
      case 1:
        return Pick(4) == 0 ? ClientGone() : Unpin();
      case 2:
      case 3:
        return Want();
      case 4:
      case 5:
        return Serve();
      case 6:
        return Refuse();
      case 7:
      case 8:
      case 9:
        return Unpin();
      case 10:
      case 11:
      case 12:
        return CarryChunk();
      default:
        return LandChunk();
    }
  }

  void Finish() {
    Serve();
    Refuse();
    CarryChunk();
    LandChunk();
    Unpin();
  }

  void Check() {
    ASSERT_EQ(pulls_.CheckInvariants(), "");
    ASSERT_EQ(here_.CheckInvariants(), "");
    ASSERT_EQ(there_.CheckInvariants(), "");
  }

  std::mt19937 random_{static_cast<std::uint32_t>(GetParam())};
  Store here_{kStoreSize}, there_{kStoreSize * 4};
  PullManager pulls_{&here_, {kHere, 0}, {4 * kPullChunk, 1000}};
  PullServer server_{&there_, {kThere, 0}};
  std::uint64_t token_ = 0;
  std::map<std::uint64_t, int> waiting_;  // token -> client
  std::vector<std::pair<ObjectId, ProcessId>> pinned_;
  std::deque<ObjectId> requests_;
  std::deque<ServeActions::Refusal> refusals_;
  std::deque<BulkChunk> sent_;
  std::deque<BulkChunk> landing_;  // accepted, not ended
};

TEST_P(PullRandomTest, EveryWantIsAnsweredAndNothingStaysBehind) {
  for (int step = 0; step < 3000; ++step) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    ASSERT_NO_FATAL_FAILURE(Check()) << "step " << step;
  }
  while (!(requests_.empty() && refusals_.empty() && sent_.empty() && landing_.empty() && pinned_.empty())) {
    ASSERT_NO_FATAL_FAILURE(Finish());
  }
  EXPECT_TRUE(waiting_.empty());
  EXPECT_EQ(pulls_.pulls(), 0u);
  EXPECT_EQ(pulls_.bytes_in_flight(), 0u);
  EXPECT_EQ(server_.transfers(), 0u);
  EXPECT_EQ(here_.Stats().pinned_objects + here_.Stats().unsealed, 0u);
  EXPECT_EQ(there_.Stats().pinned_objects, 0u);
  Check();
}

INSTANTIATE_TEST_SUITE_P(Seeds, PullRandomTest, testing::Range(0, 30));

}  // namespace
}  // namespace ray_engine
