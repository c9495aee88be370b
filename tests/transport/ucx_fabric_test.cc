// The UCX fabric over TCP on the loopback interface: two fabrics in one process, or one here and one in a process that
// can be killed.

#include "engine/transport/ucx_fabric.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <thread>

#include "tests/transport/fabric_peer_process.h"
#include "tests/transport/fabric_recorder.h"

namespace ray_engine {
namespace {

constexpr char kSecret[] = "0123456789abcdef";

std::unique_ptr<Fabric> MakeFabric(FabricHandler* handler) {
  UcxFabricOptions options;
  options.virtual_nodes = true;
  absl::StatusOr<std::unique_ptr<Fabric>> fabric = MakeUcxFabric(options, handler);
  EXPECT_TRUE(fabric.ok()) << fabric.status();
  return fabric.ok() ? *std::move(fabric) : nullptr;
}

class UcxFabricTest : public testing::Test {
 protected:
  UcxFabricTest() : a_(MakeFabric(&a_saw_)), b_(MakeFabric(&b_saw_)) {}
  ~UcxFabricTest() override {
    std::thread end_a([this] { a_.reset(); });  // both at once: each waits for the other to take its last frames
    b_.reset();
    end_a.join();
  }

  void Introduce(const std::string& secret_of_b = kSecret) {
    a_->Introduce(0, kSecret);
    b_->Introduce(1, secret_of_b);
    ASSERT_TRUE(a_->Connect(1, b_->Address()).ok());
    ASSERT_TRUE(b_->Connect(0, a_->Address()).ok());
  }
  bool Until(const std::function<bool()>& condition) { return ProgressUntil({a_.get(), b_.get()}, condition); }

  FabricRecorder a_saw_, b_saw_;
  std::unique_ptr<Fabric> a_, b_;
};

TEST_F(UcxFabricTest, DeliversAHundredThousandFramesInOrder) {
  Introduce();
  constexpr std::uint32_t kFrames = 100'000;
  std::uint32_t received = 0;
  b_saw_.on_frame = [&](std::uint32_t node, const FrameHeader& frame, std::string_view payload) {
    std::uint32_t number = 0;
    ASSERT_GE(payload.size(), sizeof number);
    std::memcpy(&number, payload.data(), sizeof number);
    ASSERT_EQ(number, received);
    ASSERT_EQ(node, 0u);
    ASSERT_EQ(frame.size, payload.size());
    ASSERT_EQ(payload.size(), sizeof number + number % 300);
    ++received;
  };
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    std::string payload(sizeof i + i % 300, 'x');
    std::memcpy(payload.data(), &i, sizeof i);
    a_->Send(1, TestFrame(0, 1), payload);
    if (i % 1000 == 0) a_->Progress();
  }
  EXPECT_TRUE(Until([&] { return received == kFrames; })) << received;
  EXPECT_EQ(b_->Stats().frames_received, kFrames);
  EXPECT_LT(a_->Stats().batches_sent, kFrames / 10);
}

TEST_F(UcxFabricTest, DeliversLargeAndEmptyFrames) {
  Introduce();
  const std::string large(300'000, 'l');
  a_->Send(1, TestFrame(0, 1, kPrompt), large);
  a_->Send(1, TestFrame(0, 1), "");
  ASSERT_TRUE(Until([&] { return b_saw_.frames.size() == 2; }));
  EXPECT_EQ(b_saw_.frames[0].payload, large);
  EXPECT_EQ(b_saw_.frames[0].header.flags, kPrompt);
  EXPECT_EQ(b_saw_.frames[1].payload, "");
}

TEST_F(UcxFabricTest, ConnectsBackToANodeThatCameByItself) {
  a_->Introduce(0, kSecret);
  b_->Introduce(1, kSecret);
  ASSERT_TRUE(b_->Connect(0, a_->Address()).ok());
  b_->Send(0, TestFrame(1, 0), "join");
  ASSERT_TRUE(Until([&] { return a_saw_.frames.size() == 1; }));
  a_->Send(1, TestFrame(0, 1), "welcome");
  EXPECT_TRUE(Until([&] { return b_saw_.frames.size() == 1; }));
}

TEST_F(UcxFabricTest, MovesTwoHundredMegabytesBothWaysAtOnce) {
  Introduce();
  constexpr std::uint64_t kTotal = 200'000'000, kChunk = 4 << 20;
  const std::string from_a = PeerBytes(kTotal), from_b = PeerBytes(kTotal + 12345).substr(12345);
  std::uint64_t done = 0;
  const auto count = [&](const absl::Status& status) { done += status.ok(); };
  const ObjectId object = ObjectId::Random();
  for (std::uint64_t at = 0; at < kTotal; at += kChunk) {
    const BulkChunk chunk{object, at, std::min(kChunk, kTotal - at), kTotal};
    a_->SendBulk(1, chunk, from_a.data() + at, count);
    b_->SendBulk(0, chunk, from_b.data() + at, count);
  }
  EXPECT_EQ(done, 0u);
  EXPECT_TRUE(Until([&] { return a_saw_.bytes_received == kTotal && b_saw_.bytes_received == kTotal; }));
  EXPECT_TRUE(Until([&] { return done == 2 * ((kTotal + kChunk - 1) / kChunk); }));
  EXPECT_TRUE(a_saw_.memory == from_b);
  EXPECT_TRUE(b_saw_.memory == from_a);
  EXPECT_EQ(a_->Stats().bulk_bytes_sent, kTotal);
  EXPECT_EQ(a_->Stats().bulk_bytes_received, kTotal);
}

TEST_F(UcxFabricTest, RefusedChunkIsDroppedAndItsSenderGoesOn) {
  Introduce();
  b_saw_.refuse_bulk = true;
  const std::string bytes(8 << 20, 'r');
  bool done = false;
  a_->SendBulk(1, {ObjectId::Random(), 0, bytes.size(), bytes.size()}, bytes.data(),
               [&](const absl::Status&) { done = true; });
  a_->Send(1, TestFrame(0, 1), "after");
  EXPECT_TRUE(Until([&] { return done && b_saw_.frames.size() == 1; }));
  EXPECT_EQ(b_saw_.chunks_ended, 0u);
}

TEST_F(UcxFabricTest, WrongSecretIsNotListenedTo) {
  Introduce("fedcba9876543210");
  const std::string bytes(1000, 'x');
  b_->Send(0, TestFrame(1, 0), "let me in");
  b_->SendBulk(0, {ObjectId::Random(), 0, bytes.size(), bytes.size()}, bytes.data(), [](const absl::Status&) {});
  EXPECT_TRUE(Until([&] { return a_->Stats().dropped_unauthenticated >= 3; }));  // hello, frame, chunk
  EXPECT_TRUE(a_saw_.frames.empty());
  EXPECT_EQ(a_saw_.chunks_ended, 0u);
}

TEST_F(UcxFabricTest, FrameInAnotherNodesNameIsDropped) {
  Introduce();
  b_->Send(0, TestFrame(7, 0), "forged");
  b_->Send(0, TestFrame(1, 7), "not for you");
  EXPECT_TRUE(Until([&] { return a_->Stats().dropped_malformed == 1; }));  // one batch
  b_->Send(0, TestFrame(1, 0), "honest");
  EXPECT_TRUE(Until([&] { return a_saw_.frames.size() == 1; }));
  EXPECT_EQ(a_saw_.frames[0].payload, "honest");
}

TEST_F(UcxFabricTest, UnknownNodesAreAnError) {
  Introduce();
  a_->Send(9, TestFrame(0, 9), "nobody");
  absl::Status status;
  bool done = false;
  a_->SendBulk(9, {ObjectId::Random(), 0, 1, 1}, "x", [&](const absl::Status& s) { done = true, status = s; });
  EXPECT_FALSE(done);
  EXPECT_TRUE(Until([&] { return done; }));
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(a_->Stats().dropped_unreachable, 2u);
  EXPECT_FALSE(a_->Connect(0, a_->Address()).ok());
  EXPECT_FALSE(a_->Connect(5, "").ok());
}

TEST_F(UcxFabricTest, DisconnectedNodeIsNotHeardAnyMore) {
  Introduce();
  b_->Send(0, TestFrame(1, 0), "one");
  ASSERT_TRUE(Until([&] { return a_saw_.frames.size() == 1; }));
  a_->Send(1, TestFrame(0, 1), "goodbye");
  a_->Disconnect(1);
  ASSERT_TRUE(Until([&] { return b_saw_.frames.size() == 1; }));
  EXPECT_TRUE(Until([&] {
    b_->Send(0, TestFrame(1, 0), "two");
    return a_->Stats().dropped_unauthenticated > 0 || !b_saw_.lost.empty();
  }));
  EXPECT_EQ(a_saw_.frames.size(), 1u);
  EXPECT_TRUE(a_saw_.lost.empty());
}

TEST_F(UcxFabricTest, FencedNodeIsShutOutForGood) {
  Introduce();
  b_->Send(0, TestFrame(1, 0), "one");
  ASSERT_TRUE(Until([&] { return a_saw_.frames.size() == 1; }));
  const std::string bytes(kMaxBulkChunk, 'f');
  bool answered = false;
  a_->SendBulk(1, {ObjectId::Random(), 0, bytes.size(), bytes.size()}, bytes.data(), [&](const absl::Status& status) {
    answered = true;
    EXPECT_FALSE(status.ok());
  });
  a_->Send(1, TestFrame(0, 1), "you are given up");
  a_->Fence(1);
  EXPECT_TRUE(Until([&] { return answered && b_saw_.frames.size() == 1; }));
  b_.reset();
  FabricRecorder saw;
  b_ = MakeFabric(&saw);  // nor is it heard in another life
  b_->Introduce(1, kSecret);
  ASSERT_TRUE(b_->Connect(0, a_->Address()).ok());
  b_->Send(0, TestFrame(1, 0), "here again");
  const auto before = a_->Stats().dropped_unauthenticated;
  EXPECT_TRUE(Until([&] { return a_->Stats().dropped_unauthenticated >= before + 2; }));  // hello, frame
  EXPECT_EQ(a_saw_.frames.size(), 1u);
  EXPECT_TRUE(a_saw_.lost.empty());
  b_.reset();
}

TEST_F(UcxFabricTest, WhatWasSentBeforeTheEndStillArrives) {
  Introduce();
  b_->Send(0, TestFrame(1, 0), "here");
  ASSERT_TRUE(Until([&] { return a_saw_.frames.size() == 1; }));
  for (int i = 0; i < 1000; ++i) b_->Send(0, TestFrame(1, 0), "last words");
  b_.reset();
  EXPECT_TRUE(ProgressUntil({a_.get()}, [&] { return !a_saw_.lost.empty(); }));
  EXPECT_EQ(a_saw_.frames.size(), 1001u);
}

TEST_F(UcxFabricTest, EveryChunkIsAnsweredAtTheEnd) {
  Introduce();
  const std::string bytes(kMaxBulkChunk, 'e');
  int done = 0;
  for (int i = 0; i < 10; ++i) {
    a_->SendBulk(1, {ObjectId::Random(), 0, bytes.size(), bytes.size()}, bytes.data(),
                 [&](const absl::Status&) { ++done; });
  }
  a_.reset();  // b does not progress
  EXPECT_EQ(done, 10);
}

class UcxFabricProcessTest : public testing::Test {
 protected:
  UcxFabricProcessTest() : fabric_(MakeFabric(&saw_)) { fabric_->Introduce(0, kSecret); }

  bool Until(const std::function<bool()>& condition) { return ProgressUntil({fabric_.get()}, condition); }
  // Waits without polling: sleeps on the event fd whenever nothing moves.
  bool SleepUntil(const std::function<bool()>& condition) {
    while (!condition()) {
      if (fabric_->Progress() || !fabric_->Arm()) continue;
      pollfd event{fabric_->EventFd(), POLLIN, 0};
      if (poll(&event, 1, 60'000) != 1) return false;
      ++slept_;
    }
    return true;
  }

  // Has the peer send an object.
  void AskFor(std::uint64_t total) {
    constexpr std::uint64_t kChunk = 4 << 20;
    FrameHeader header = TestFrame(0, 1);
    header.type = MessageType::kPullRequest;
    for (std::uint64_t at = 0; at < total; at += kChunk) {
      const BulkChunk chunk{ObjectId::Random(), at, std::min(kChunk, total - at), total};
      fabric_->Send(1, header, {reinterpret_cast<const char*>(&chunk), sizeof chunk});
    }
  }

  FabricRecorder saw_;
  std::unique_ptr<Fabric> fabric_;
  int slept_ = 0;
};

TEST_F(UcxFabricProcessTest, SleepersAreWoken) {
  FabricPeerProcess peer(fabric_->Address(), kSecret);
  ASSERT_TRUE(SleepUntil([&] { return saw_.frames.size() == 1; }));
  for (std::size_t i = 2; i <= 200; ++i) {
    fabric_->Send(1, TestFrame(0, 1), "ping");
    ASSERT_TRUE(SleepUntil([&] { return saw_.frames.size() == i; }));
  }
  EXPECT_GT(slept_, 0);
}

TEST_F(UcxFabricProcessTest, KilledPeerIsReportedOnce) {
  FabricPeerProcess peer(fabric_->Address(), kSecret);
  ASSERT_TRUE(Until([&] { return saw_.frames.size() == 1; }));
  peer.Kill();
  ASSERT_TRUE(SleepUntil([&] { return !saw_.lost.empty(); }));
  EXPECT_EQ(saw_.lost[0].first, 1u);
  EXPECT_NE(saw_.lost[0].second, "");
  fabric_->Send(1, TestFrame(0, 1), "too late");
  fabric_->Progress();
  EXPECT_EQ(saw_.lost.size(), 1u);
  EXPECT_EQ(fabric_->Stats().dropped_unreachable, 1u);
}

TEST_F(UcxFabricProcessTest, ChunksUnderWayEndWhenThePeerIsKilled) {
  FabricPeerProcess peer(fabric_->Address(), kSecret);
  ASSERT_TRUE(Until([&] { return saw_.frames.size() == 1; }));
  const std::string bytes(kMaxBulkChunk, 'k');
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    fabric_->SendBulk(1, {ObjectId::Random(), 0, bytes.size(), bytes.size()}, bytes.data(),
                      [&](const absl::Status&) { ++done; });
  }
  ASSERT_TRUE(Until([&] { return done > 0; }));
  peer.Kill();
  EXPECT_TRUE(Until([&] { return done == 20 && saw_.lost.size() == 1; })) << done;
}

TEST_F(UcxFabricProcessTest, PullsBytesFromAnotherProcess) {
  FabricPeerProcess peer(fabric_->Address(), kSecret);
  ASSERT_TRUE(Until([&] { return saw_.frames.size() == 1; }));
  constexpr std::uint64_t kTotal = 10'000'000;
  AskFor(kTotal);
  ASSERT_TRUE(SleepUntil([&] { return saw_.bytes_received == kTotal; }));
  EXPECT_TRUE(saw_.memory == PeerBytes(kTotal));
}

TEST_F(UcxFabricProcessTest, ChunksArrivingEndWhenThePeerIsKilled) {
  for (int round = 0; round < 3; ++round) {
    FabricPeerProcess peer(fabric_->Address(), kSecret);
    ASSERT_TRUE(Until([&] { return saw_.frames.size() == static_cast<std::size_t>(round) + 1; }));
    saw_.chunks_begun = saw_.chunks_ended = 0;
    AskFor(50'000'000);
    ASSERT_TRUE(Until([&] { return saw_.chunks_begun > saw_.chunks_ended + 1; }));
    peer.Kill();
    ASSERT_TRUE(Until([&] { return saw_.lost.size() == static_cast<std::size_t>(round) + 1; }));
    EXPECT_TRUE(Until([&] { return saw_.chunks_ended == saw_.chunks_begun; }))
        << saw_.chunks_ended << " of " << saw_.chunks_begun;
  }
}

TEST_F(UcxFabricProcessTest, PeerSeesOurEnd) {
  FabricPeerProcess peer(fabric_->Address(), kSecret);
  ASSERT_TRUE(Until([&] { return saw_.frames.size() == 1; }));
  fabric_.reset();
  EXPECT_EQ(peer.Wait(), 0);
}

TEST(UcxFabric, KnowsItsVersion) { EXPECT_NE(FabricVersion().find('.'), std::string::npos); }

}  // namespace
}  // namespace ray_engine
