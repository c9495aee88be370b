#include "engine/transport/link.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/memory_map.h"

namespace ray_engine {
namespace {

constexpr ProcessId kLeft{0, 1}, kRight{0, 2};

std::string Bytes(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  std::mt19937_64 random(seed);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

FrameHeader Header(MessageType type, ProcessId from, bool prompt = false) {
  FrameHeader header;
  header.type = type;
  header.from = from;
  header.to = from == kLeft ? kRight : kLeft;
  header.flags = prompt ? kPrompt : 0;
  return header;
}

// A link with both ends in this process. The blocks are polling unless a test says otherwise.
class LinkTest : public ::testing::Test {
 protected:
  LinkTest() {
    absl::StatusOr<LinkSegment> segment = LinkSegment::Create(8 << 20);
    EXPECT_TRUE(segment.ok());
    segment_ = *std::move(segment);
    const std::uint32_t left_slot = segment_.AllocateSlot(), right_slot = segment_.AllocateSlot();
    offset_ = segment_.AllocateLink(left_slot, right_slot);
    left_block_ = segment_.block(left_slot);
    right_block_ = segment_.block(right_slot);
    left_block_->attention = right_block_->attention = Attention::kPolling;
    left_ = std::make_unique<Link>(segment_, offset_, 0, -1);
    right_ = std::make_unique<Link>(segment_, offset_, 1, -1);
  }

  // Everything that waits at `link`, joined.
  std::vector<std::string> Receive(Link* link) {
    std::vector<std::string> messages;
    while (link->Readable()) {
      link->Drain([&](const FrameHeader& header, std::string_view payload) {
        EXPECT_EQ(header.size, payload.size());
        joiner_.Add(header, payload, [&](const FrameHeader&, std::string_view whole) { messages.emplace_back(whole); });
      });
    }
    return messages;
  }
  // Everything the left end has sent, joined.
  std::vector<std::string> ReceiveAll() {
    std::vector<std::string> messages = Receive(right_.get());
    while (left_->HasOverflow()) {
      left_->Flush();
      for (std::string& message : Receive(right_.get())) messages.push_back(std::move(message));
    }
    return messages;
  }

  LinkSegment segment_;
  std::uint64_t offset_ = 0;
  ProcessBlock *left_block_ = nullptr, *right_block_ = nullptr;
  std::unique_ptr<Link> left_, right_;
  FrameJoiner joiner_;
};

TEST_F(LinkTest, TheSegmentIsLeftOutOfCoreFiles) { EXPECT_TRUE(LeftOutOfCoreFiles(segment_.block(0))); }

TEST_F(LinkTest, FramesArriveInOrderAndWhole) {
  left_->Send(Header(MessageType::kReady, kLeft), "first");
  left_->Send(Header(MessageType::kWatch, kLeft), "");
  left_->Send(Header(MessageType::kShutdown, kLeft, true), "third");
  std::vector<std::pair<MessageType, std::string>> got;
  EXPECT_TRUE(right_->Readable());
  const int count = right_->Drain([&](const FrameHeader& header, std::string_view payload) {
    EXPECT_EQ(header.from, kLeft);
    EXPECT_EQ(header.to, kRight);
    got.emplace_back(header.type, payload);
  });
  EXPECT_EQ(count, 3);
  const std::vector<std::pair<MessageType, std::string>> expected = {
      {MessageType::kReady, "first"}, {MessageType::kWatch, ""}, {MessageType::kShutdown, "third"}};
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(right_->Readable());
  EXPECT_FALSE(left_->Readable());
}

TEST_F(LinkTest, DrainStopsAtItsLimit) {
  for (int i = 0; i < 5; ++i) left_->Send(Header(MessageType::kReady, kLeft), "x");
  const auto ignore = [](const FrameHeader&, std::string_view) {};
  EXPECT_EQ(right_->Drain(ignore, 3), 3);
  EXPECT_TRUE(right_->Readable());
  EXPECT_EQ(right_->Drain(ignore, 3), 2);
  EXPECT_FALSE(right_->Readable());
}

TEST_F(LinkTest, FragmentsOfSeveralSendersAreJoinedApart) {
  const std::string mine = Bytes(3 * kMaxFragment + 7, 1), theirs = Bytes(2 * kMaxFragment, 2);
  // As an engine relays them: fragments of another sender between ours.
  FrameHeader relayed = Header(MessageType::kPushTask, ProcessId{7, 9});
  relayed.flags = kMoreFragments;
  left_->Send(relayed, theirs.substr(0, kMaxFragment));
  left_->Send(Header(MessageType::kValueReply, kLeft), mine);
  relayed.flags = 0;
  left_->Send(relayed, theirs.substr(kMaxFragment));
  EXPECT_TRUE(ReceiveAll() == (std::vector<std::string>{mine, theirs}));  // too long to print
}

TEST_F(LinkTest, FragmentsOfADeadSenderAreForgotten) {
  FrameHeader part = Header(MessageType::kPushTask, kLeft);
  part.flags = kMoreFragments;
  left_->Send(part, "half of a message");
  EXPECT_TRUE(Receive(right_.get()).empty());
  joiner_.Forget(kLeft);
  left_->Send(Header(MessageType::kReady, kLeft), "whole");
  EXPECT_EQ(Receive(right_.get()), (std::vector<std::string>{"whole"}));
}

TEST_F(LinkTest, PayloadsOfEverySizeWrapAround) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    const std::string sent = Bytes(random() % (i % 10 == 0 ? 5 * kMaxFragment : 300), random());
    left_->Send(Header(MessageType::kValueReply, kLeft), sent);
    ASSERT_TRUE(ReceiveAll() == (std::vector<std::string>{sent})) << i;
  }
}

TEST_F(LinkTest, ReservedFramesAreBuiltInPlace) {
  for (int i = 0; i < 500; ++i) {
    const std::string sent = Bytes(static_cast<std::size_t>(i * 7), static_cast<std::uint64_t>(i));
    char* place = left_->Reserve(static_cast<std::uint32_t>(sent.size()));
    ASSERT_NE(place, nullptr);
    sent.copy(place, sent.size());
    EXPECT_FALSE(right_->Readable());  // not before Commit()
    left_->Commit(Header(MessageType::kPushTask, kLeft), static_cast<std::uint32_t>(sent.size()));
    ASSERT_TRUE(ReceiveAll() == (std::vector<std::string>{sent})) << i;
  }
}

TEST_F(LinkTest, AFullRingOverflowsAndKeepsTheOrder) {
  std::vector<std::string> sent;
  for (int i = 0; i < 100; ++i) {
    sent.push_back(std::to_string(i) + Bytes(3000, static_cast<std::uint64_t>(i)));
    left_->Send(Header(MessageType::kPushTask, kLeft), sent.back());
  }
  EXPECT_TRUE(left_->HasOverflow());
  EXPECT_FALSE(left_->Flush());
  std::vector<std::string> got;
  while (got.size() < sent.size()) {
    const std::vector<std::string> some = Receive(right_.get());
    ASSERT_FALSE(some.empty());
    got.insert(got.end(), some.begin(), some.end());
    left_->Flush();
  }
  EXPECT_TRUE(got == sent);
  EXPECT_FALSE(left_->HasOverflow());
}

TEST_F(LinkTest, RingsFullInBothDirectionsEmptyEachOther) {
  constexpr int kMessages = 400;
  for (int i = 0; i < kMessages; ++i) {
    left_->Send(Header(MessageType::kPushTask, kLeft), Bytes(2000, static_cast<std::uint64_t>(i)));
    right_->Send(Header(MessageType::kTaskDone, kRight), Bytes(2500, static_cast<std::uint64_t>(i)));
  }
  ASSERT_TRUE(left_->HasOverflow() && right_->HasOverflow());
  std::size_t at_left = 0, at_right = 0;
  while (at_left < kMessages || at_right < kMessages) {
    const std::size_t before = at_left + at_right;
    for (const std::string& message : Receive(right_.get())) ASSERT_TRUE(message == Bytes(2000, at_right++));
    for (const std::string& message : Receive(left_.get())) ASSERT_TRUE(message == Bytes(2500, at_left++));
    left_->Flush();
    right_->Flush();
    ASSERT_GT(at_left + at_right, before);
  }
  EXPECT_FALSE(left_->HasOverflow() || right_->HasOverflow());
}

TEST_F(LinkTest, ConsumerRingsAProducerThatWaitsForRoom) {
  while (!left_->HasOverflow()) left_->Send(Header(MessageType::kPushTask, kLeft), Bytes(4000, 1));
  left_block_->attention = Attention::kAsleep;
  right_->Drain([](const FrameHeader&, std::string_view) {});
  EXPECT_EQ(left_block_->attention.load(), Attention::kPolling);  // it was rung
  EXPECT_TRUE(left_->Flush());
  left_block_->attention = Attention::kAsleep;
  right_->Drain([](const FrameHeader&, std::string_view) {});
  EXPECT_EQ(left_block_->attention.load(), Attention::kAsleep);  // nothing waits: let it sleep
}

TEST_F(LinkTest, RingsByWhatTheReceiverDoes) {
  const auto rung = [this](Attention attention, bool prompt) {
    right_block_->attention = attention;
    right_block_->prompt = 0;
    left_->Send(Header(MessageType::kTaskDone, kLeft, prompt), "");
    return std::make_pair(right_block_->attention.load() != attention, right_block_->prompt.load() != 0);
  };
  EXPECT_EQ(rung(Attention::kPolling, true), std::make_pair(false, false));
  EXPECT_EQ(rung(Attention::kAsleep, false), std::make_pair(true, false));
  EXPECT_EQ(rung(Attention::kBusy, false), std::make_pair(false, false));
  EXPECT_EQ(rung(Attention::kBusy, true), std::make_pair(false, true));
  right_block_->wants_replies = 1;
  EXPECT_EQ(rung(Attention::kBusy, false), std::make_pair(false, true));
}

TEST_F(LinkTest, AnEngineIsRungByItsEventfd) {
  const int fd = eventfd(0, EFD_NONBLOCK);
  Link to_engine(segment_, offset_, 0, fd);
  right_block_->uses_eventfd = 1;
  std::uint64_t rings = 0;
  to_engine.Send(Header(MessageType::kReady, kLeft), "");
  EXPECT_EQ(read(fd, &rings, sizeof rings), -1);  // it is awake
  right_block_->attention = Attention::kAsleep;
  to_engine.Send(Header(MessageType::kReady, kLeft), "");
  to_engine.Send(Header(MessageType::kReady, kLeft), "");
  EXPECT_EQ(read(fd, &rings, sizeof rings), static_cast<ssize_t>(sizeof rings));
  EXPECT_EQ(rings, 1u);
  close(fd);
}

TEST_F(LinkTest, TheSegmentCountsWhatIsGivenOut) {
  const LinkSegmentStats before = segment_.Stats();
  const std::uint32_t slot = segment_.AllocateSlot();
  const std::uint64_t link = segment_.AllocateLink(slot, slot);
  segment_.FreeLink(segment_.AllocateLink(slot, slot));
  EXPECT_EQ(segment_.Stats().slots, before.slots + 1);
  EXPECT_EQ(segment_.Stats().links, before.links + 1);
  segment_.FreeLink(link);
  segment_.FreeSlot(slot);
  EXPECT_EQ(segment_.Stats().slots, before.slots);
  EXPECT_EQ(segment_.Stats().links, before.links);
}

TEST_F(LinkTest, ALinkGivenOutAgainIsEmpty) {
  left_->Send(Header(MessageType::kReady, kLeft), "of a former life");
  segment_.FreeLink(offset_);
  ASSERT_EQ(segment_.AllocateLink(1, 0), offset_);
  Link fresh(segment_, offset_, 1, -1);
  EXPECT_FALSE(fresh.Readable());
}

// One process of the stress test: sends and receives at once, sleeps whenever there is nothing to do, as the runtime
// does.
class Sleeping {
 public:
  Sleeping(const LinkSegment& segment, std::uint64_t offset, int side, ProcessId self, ProcessBlock* block)
      : link_(segment, offset, side, -1), sleeper_(block), self_(self) {}

  void Run(std::size_t messages, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::size_t sent = 0, received = 0;
    sleeper_.SetPolling();
    const auto done = [&] { return sent == messages && received == messages && !link_.HasOverflow(); };
    while (!done()) {
      for (std::size_t burst = random() % 64; burst-- > 0 && sent < messages; ++sent) {
        link_.Send(Header(MessageType::kPushTask, self_), Bytes(sent % 50 == 0 ? 40'000 : 700, sent));
      }
      if (link_.HasOverflow()) link_.Flush();
      const int drained = link_.Drain([&](const FrameHeader& header, std::string_view payload) {
        joiner_.Add(header, payload, [&](const FrameHeader&, std::string_view whole) {
          in_order_ = in_order_ && whole == Bytes(received % 50 == 0 ? 40'000 : 700, received);
          ++received;
        });
      });
      if (drained == 0 && sent == messages && !done()) Sleep();
    }
    sleeper_.SetPolling();
  }
  bool in_order() const { return in_order_; }
  int timeouts() const { return timeouts_; }

 private:
  void Sleep() {
    sleeper_.DeclareAsleep();
    if (link_.HasOverflow()) link_.Flush();
    if (!link_.Readable()) sleeper_.Sleep(kPatienceNs);
    if (sleeper_.block()->attention.load() == Attention::kAsleep && !link_.Readable()) ++timeouts_;
    sleeper_.SetPolling();
  }

  static constexpr std::int64_t kPatienceNs = 20'000'000'000;
  Link link_;
  Sleeper sleeper_;
  FrameJoiner joiner_;
  ProcessId self_;
  bool in_order_ = true;
  int timeouts_ = 0;
};

TEST_F(LinkTest, TwoSleepersThatFloodEachOtherLoseNothing) {
  constexpr std::size_t kMessages = 4000;
  Sleeping left(segment_, offset_, 0, kLeft, left_block_), right(segment_, offset_, 1, kRight, right_block_);
  std::thread other([&] { right.Run(kMessages, 5); });
  left.Run(kMessages, 6);
  other.join();
  EXPECT_TRUE(left.in_order() && right.in_order());
  EXPECT_EQ(left.timeouts() + right.timeouts(), 0);  // nobody slept through a ring
}

// A process whose program writes over memory that is not its own.
TEST_F(LinkTest, ADamagedRingIsDroppedAndCounted) {
  LinkMemory* memory = segment_.link(offset_);
  std::mt19937_64 random(7);
  std::uint64_t received = 0;
  for (int round = 0; round < 2000; ++round) {
    left_->Send(Header(MessageType::kPushTask, kLeft), Bytes(random() % 5000, static_cast<std::uint64_t>(round)));
    char* data = memory->data[0];
    for (int i = 0; i < 64; ++i) data[random() % kRingBytes] = static_cast<char>(random());
    if (round % 5 == 0) memory->rings[0].tail.store(random(), std::memory_order_release);
    for (int i = 0; i < 10 && right_->Readable(); ++i) {
      received += static_cast<std::uint64_t>(right_->Drain([](const FrameHeader&, std::string_view payload) {
        ASSERT_LE(payload.size(), kMaxFragment);
        std::uint64_t sum = 0;
        for (const char byte : payload) sum += static_cast<unsigned char>(byte);
        ASSERT_LE(sum, payload.size() * 255);
      }));
    }
  }
  EXPECT_GT(right_->damaged(), 100u);
  EXPECT_GT(received, 10u);
}

}  // namespace
}  // namespace ray_engine
