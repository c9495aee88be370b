// The stores of several nodes with their pull managers and pull servers, joined by a network that delays everything,
// reorders and fails chunks at random, and loses nodes, while clients come and go and objects are freed. One node holds
// the objects; the others pass on what they get from it. Whatever happens, every want is answered exactly once (or its
// client is gone), nobody is sent bytes that are not there yet, and nothing stays behind.

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "objectstore/pull_manager.h"
#include "objectstore/pull_server.h"

namespace ray_engine {
namespace {

constexpr std::uint32_t kHolder = 0, kNodes = 5;
constexpr int kObjects = 8, kClients = 2;
constexpr std::uint64_t kStoreSize = 12 * kPullChunk;

ObjectId Object(int index) { return ObjectId::FromBinary(std::string(ObjectId::kSize, static_cast<char>(index))); }
std::uint64_t SizeOf(int index) { return (index + 1) * kPullChunk * 2 / 3; }
std::uint64_t SizeOf(const ObjectId& object) { return SizeOf(static_cast<unsigned char>(object.Binary()[0])); }

struct Node {
  explicit Node(std::uint32_t index)
      : store(index == kHolder ? kStoreSize * 4 : kStoreSize),
        pulls(&store, {index, 0}, {4 * kPullChunk, 1000}),
        server(&store, {index, 0}) {}
  Store store;
  PullManager pulls;
  PullServer server;
  bool alive = true;
  std::map<std::uint64_t, int> waiting;                 // token -> client
  std::vector<std::pair<ObjectId, ProcessId>> pinned;   // by clients
  std::map<ObjectId, std::set<std::uint64_t>> arrived;  // offsets of chunks of objects that are not whole yet
};

struct Flying {
  std::uint32_t from = 0, to = 0;
  BulkChunk chunk;
};

class PullRandomTest : public testing::TestWithParam<int> {
 protected:
  PullRandomTest() {
    for (std::uint32_t index = 0; index < kNodes; ++index) nodes_.push_back(std::make_unique<Node>(index));
  }

  static ProcessId Client(std::uint32_t node, int index) { return {node, static_cast<std::uint32_t>(index + 1)}; }
  int Pick(std::size_t count) { return static_cast<int>(random_() % count); }
  std::uint32_t PickReceiver() { return 1 + Pick(kNodes - 1); }
  template <class T>
  T Take(std::vector<T>* from, std::size_t index) {
    const T taken = (*from)[index];
    from->erase(from->begin() + static_cast<std::ptrdiff_t>(index));
    return taken;
  }

  // ---- what the state machines ask for

  void Say(std::uint32_t from, std::uint32_t to, std::function<void()> event) {
    if (nodes_[to]->alive) frames_[{from, to}].push_back(std::move(event));
  }
  void Perform(std::uint32_t self, const PullActions& actions) {
    Node& node = *nodes_[self];
    for (const auto& request : actions.requests) {
      Say(self, request.node, [this, self, request] {
        PullServer& server = nodes_[request.node]->server;
        Perform(request.node, server.OnPullRequest(self, request.object, request.from, request.direct));
      });
    }
    for (const auto& cancel : actions.cancels) {
      Say(self, cancel.node, [this, self, cancel] {
        nodes_[cancel.node]->server.OnPullCancel(self, cancel.object);
        MemoryFreed(cancel.node);
      });
    }
    for (const auto& pinned : actions.pinned) {
      ASSERT_EQ(node.waiting.erase(pinned.token), 1u);
      ASSERT_EQ(pinned.location.size, SizeOf(pinned.object));
      node.pinned.push_back({pinned.object, pinned.client});
    }
    for (const auto& failed : actions.failed) ASSERT_EQ(node.waiting.erase(failed.token), 1u) << failed.error;
    for (const ObjectId& object : actions.aborted) {
      node.arrived.erase(object);
      Perform(self, node.server.OnAborted(object));
    }
  }
  void Perform(std::uint32_t self, const ServeActions& actions) {
    for (const auto& chunk : actions.chunks) {
      CheckIsThere(self, chunk.chunk);
      flying_.push_back({self, chunk.node, chunk.chunk});
    }
    for (const auto& elsewhere : actions.elsewheres) {
      ASSERT_NE(elsewhere.next, elsewhere.node);
      Say(self, elsewhere.node, [this, self, elsewhere] {
        PullManager& pulls = nodes_[elsewhere.node]->pulls;
        Perform(elsewhere.node, pulls.OnElsewhere(self, elsewhere.object, elsewhere.next));
      });
    }
    for (const auto& refusal : actions.refusals) {
      Say(self, refusal.node, [this, self, refusal] {
        PullManager& pulls = nodes_[refusal.node]->pulls;
        Perform(refusal.node, pulls.OnPullFailed(self, refusal.object, refusal.error));
      });
    }
  }
  void CheckIsThere(std::uint32_t self, const BulkChunk& chunk) {
    const Node& node = *nodes_[self];
    if (node.store.Contains(chunk.object)) return;
    const auto arrived = node.arrived.find(chunk.object);
    ASSERT_TRUE(arrived != node.arrived.end() && arrived->second.count(chunk.offset) == 1) << "node " << self;
  }
  void MemoryFreed(std::uint32_t self) { Perform(self, nodes_[self]->pulls.OnMemoryFreed()); }

  // ---- what happens

  void Want() {
    const std::uint32_t self = PickReceiver();
    const int object = Pick(kObjects), client = Pick(kClients);
    if (!nodes_[self]->alive) return;
    nodes_[self]->waiting[++token_] = client;
    Perform(self, nodes_[self]->pulls.OnWant(Object(object), {kHolder, 9}, kHolder, SizeOf(object),
                                             Client(self, client), token_));
  }
  void CarryFrame() {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    for (const auto& [pair, queue] : frames_) {
      if (!queue.empty()) pairs.push_back(pair);
    }
    if (pairs.empty()) return;
    auto& queue = frames_[pairs[Pick(pairs.size())]];
    const std::function<void()> event = std::move(queue.front());
    queue.pop_front();
    event();
  }
  void CarryChunk() {
    if (flying_.empty()) return;
    const Flying flying = Take(&flying_, Pick(flying_.size()));
    Node& sender = *nodes_[flying.from];
    Node& receiver = *nodes_[flying.to];
    if (sender.alive && receiver.alive && receiver.pulls.OnChunk(flying.from, flying.chunk)) landing_.push_back(flying);
    if (!sender.alive) return;
    Perform(flying.from, sender.server.OnChunkSent(flying.to, flying.chunk));
    MemoryFreed(flying.from);
  }
  void LandChunk() {
    if (landing_.empty()) return;
    const Flying landed = Take(&landing_, Pick(landing_.size()));
    Node& node = *nodes_[landed.to];
    if (!node.alive) return;
    const bool cut = Pick(30) == 0 || !nodes_[landed.from]->alive;
    if (!cut) node.arrived[landed.chunk.object].insert(landed.chunk.offset);
    const absl::Status status = cut ? absl::UnavailableError("cut") : absl::OkStatus();
    Perform(landed.to, node.pulls.OnChunkDone(landed.from, landed.chunk, status));
    if (node.store.Contains(landed.chunk.object)) node.arrived.erase(landed.chunk.object);
    Perform(landed.to, node.server.OnMoreWritten(landed.chunk.object));
  }
  void Unpin() {
    const std::uint32_t self = PickReceiver();
    Node& node = *nodes_[self];
    if (!node.alive || node.pinned.empty()) return;
    const auto [object, client] = Take(&node.pinned, Pick(node.pinned.size()));
    node.store.Unpin(object, client);
    MemoryFreed(self);
  }
  void ClientGone() {
    const std::uint32_t self = PickReceiver();
    Node& node = *nodes_[self];
    if (!node.alive) return;
    const int client = Pick(kClients);
    node.store.OnClientGone(Client(self, client));
    for (auto at = node.waiting.begin(); at != node.waiting.end();) {
      at = at->second == client ? node.waiting.erase(at) : std::next(at);
    }
    const auto its = [&](const auto& pin) { return pin.second == Client(self, client); };
    node.pinned.erase(std::remove_if(node.pinned.begin(), node.pinned.end(), its), node.pinned.end());
    Perform(self, node.pulls.OnClientGone(Client(self, client)));
  }
  void Renew() {  // the object is freed everywhere, or made anew
    const int object = Pick(kObjects);
    Store& holder = nodes_[kHolder]->store;
    if (!nodes_[kHolder]->alive) return;
    if (holder.Contains(Object(object))) {
      for (const auto& node : nodes_) node->store.Free(Object(object));
      for (std::uint32_t self = 0; self < kNodes; ++self) MemoryFreed(self);
    } else if (holder.Create(Object(object), SizeOf(object), {kHolder, 1}).ok()) {
      ASSERT_TRUE(holder.Seal(Object(object), {kHolder, 1}).ok());
    }
  }
  void Lose(std::uint32_t lost) {
    if (!std::exchange(nodes_[lost]->alive, false)) return;
    nodes_[lost]->waiting.clear();
    nodes_[lost]->pinned.clear();
    for (auto& [pair, queue] : frames_) {
      if (pair.first == lost || pair.second == lost) queue.clear();
    }
    for (std::uint32_t self = 0; self < kNodes; ++self) {
      if (!nodes_[self]->alive) continue;
      nodes_[self]->server.OnNodeLost(lost);
      Perform(self, nodes_[self]->pulls.OnNodeLost(lost, "it fell over"));
      MemoryFreed(self);
    }
  }

  void Step() {
    switch (Pick(20)) {
      case 0:
        return Pick(4) == 0 ? Renew() : Unpin();
      case 1:
        return Pick(4) == 0 ? ClientGone() : Unpin();
      case 2:
      case 3:
      case 4:
        return Want();
      case 5:
      case 6:
      case 7:
        return Unpin();
      case 8:
      case 9:
      case 10:
      case 11:
        return CarryFrame();
      case 12:
      case 13:
      case 14:
      case 15:
        return CarryChunk();
      default:
        return LandChunk();
    }
  }

  bool Quiet() const {
    for (const auto& [pair, queue] : frames_) {
      if (!queue.empty()) return false;
    }
    for (const auto& node : nodes_) {
      if (!node->pinned.empty()) return false;
    }
    return flying_.empty() && landing_.empty();
  }
  void Finish() {
    CarryFrame();
    CarryChunk();
    LandChunk();
    Unpin();
  }
  void Check() {
    for (const auto& node : nodes_) {
      ASSERT_EQ(node->pulls.CheckInvariants(), "");
      ASSERT_EQ(node->store.CheckInvariants(), "");
    }
  }

  std::mt19937 random_{static_cast<std::uint32_t>(GetParam())};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::uint64_t token_ = 0;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<std::function<void()>>> frames_;  // (from, to)
  std::vector<Flying> flying_, landing_;  // sent; accepted and not ended
};

TEST_P(PullRandomTest, EveryWantIsAnsweredAndNothingStaysBehind) {
  constexpr int kSteps = 6000;
  const int loss = GetParam() % 3 == 0 ? Pick(kSteps) : kSteps;
  const std::uint32_t lost = GetParam() % 2 == 0 ? PickReceiver() : kHolder;
  for (int step = 0; step < kSteps; ++step) {
    if (step == loss) {
      ASSERT_NO_FATAL_FAILURE(Lose(lost));
    }
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    ASSERT_NO_FATAL_FAILURE(Check()) << "step " << step;
  }
  while (!Quiet()) ASSERT_NO_FATAL_FAILURE(Finish());
  for (const auto& node : nodes_) {
    EXPECT_TRUE(node->waiting.empty());
    if (!node->alive) continue;
    EXPECT_EQ(node->pulls.pulls(), 0u);
    EXPECT_EQ(node->pulls.bytes_in_flight(), 0u);
    EXPECT_EQ(node->server.transfers() + node->server.chains(), 0u);
    EXPECT_EQ(node->store.Stats().pinned_objects + node->store.Stats().unsealed, 0u);
  }
  Check();
}

INSTANTIATE_TEST_SUITE_P(Seeds, PullRandomTest, testing::Range(0, 60));

}  // namespace
}  // namespace ray_engine
