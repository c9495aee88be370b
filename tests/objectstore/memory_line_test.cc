#include "objectstore/memory_line.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace ray_engine {
namespace {

ObjectId Object(char name) { return ObjectId::FromBinary(std::string(ObjectId::kSize, name)); }

// Memory as a number of bytes; whoever is served is noted.
class FakeMemory : public MemoryLine::Giver {
 public:
  bool TryRequest(const MemoryLine::Request& request) override { return Take(request.object, request.size); }
  bool TryPull() override {
    if (!Take(Object('p'), pull_->size)) return false;
    pull_.reset();
    return true;
  }
  std::optional<PullManager::Request> NextPull() override { return pull_; }
  void Relieve(std::uint64_t size) override { wanted_.push_back(size); }
  bool MoreIsComing() override { return coming_; }

  bool Take(const ObjectId& object, std::uint64_t size) {
    if (size > free_) return false;
    free_ -= size;
    served_ += static_cast<char>(object.data()[0]);
    return true;
  }

  std::uint64_t free_ = 0;
  bool coming_ = true;
  std::optional<PullManager::Request> pull_;
  std::string served_;
  std::vector<std::uint64_t> wanted_;
};

class MemoryLineTest : public testing::Test {
 protected:
  void Add(char name, std::uint64_t size, MemoryLine::Kind kind = MemoryLine::Kind::kCreate, std::uint64_t now = 0,
           std::uint32_t client = 1) {
    MemoryLine::Request request;
    request.kind = kind;
    request.object = Object(name);
    request.size = size;
    request.client = {0, client};
    line_.Add(request, now);
  }
  void AddPull(std::uint64_t size) { memory_.pull_ = PullManager::Request{line_.NewArrival(), size, true}; }
  std::string Late(std::uint64_t now) {
    std::string names;
    for (const auto& request : line_.TakeLate(now)) names += static_cast<char>(request.object.data()[0]);
    return names;
  }
  const std::string& Serve(std::uint64_t more) {
    memory_.free_ += more;
    line_.Serve();
    return memory_.served_;
  }

  FakeMemory memory_;
  MemoryLine line_{&memory_};
};

constexpr auto kRestore = MemoryLine::Kind::kRestore;

TEST_F(MemoryLineTest, BothKindsAndPullsAreServedInOrderOfArrival) {
  Add('a', 10);
  Add('b', 10, kRestore);
  AddPull(10);
  Add('c', 10);
  EXPECT_EQ(Serve(0), "");
  EXPECT_EQ(Serve(10), "a");
  EXPECT_EQ(Serve(15), "ab");
  EXPECT_EQ(Serve(5), "abp");
  EXPECT_EQ(Serve(10), "abpc");
  EXPECT_TRUE(line_.empty());
}

TEST_F(MemoryLineTest, SmallPutsDoNotStarveALargeGet) {
  Add('g', 100, kRestore);
  for (char name : {'1', '2', '3'}) Add(name, 10);
  EXPECT_EQ(Serve(60), "");
  EXPECT_EQ(memory_.wanted_.back(), 100u);
  EXPECT_EQ(Serve(50), "g1");
}

TEST_F(MemoryLineTest, SmallPutsDoNotStarveALargePull) {
  AddPull(100);
  Add('1', 10);
  EXPECT_EQ(Serve(60), "");
  EXPECT_EQ(Serve(50), "p1");
}

TEST_F(MemoryLineTest, APullForWhichNothingMayBeSpilledHoldsUpNobody) {
  memory_.pull_ = PullManager::Request{line_.NewArrival(), 100, false};
  Add('1', 10);
  EXPECT_EQ(Serve(60), "1");
  EXPECT_TRUE(memory_.wanted_.empty());
  EXPECT_EQ(Serve(50), "1p");
}

TEST_F(MemoryLineTest, WhereNothingIsComingThoseBehindMayTakeWhatIsFree) {
  memory_.coming_ = false;
  Add('g', 100, kRestore);
  AddPull(80);
  Add('1', 10);
  Add('2', 70);
  Add('3', 20);
  EXPECT_EQ(Serve(40), "13");
  EXPECT_EQ(Serve(100), "13g");
}

TEST_F(MemoryLineTest, EndlessWaitsEnd) {
  Add('a', 10, MemoryLine::Kind::kCreate, 1'000);
  Add('g', 10, kRestore, 1'000);
  Add('b', 10, MemoryLine::Kind::kCreate, 4'000);
  EXPECT_EQ(Late(5'999), "");
  EXPECT_EQ(Late(6'000), "a");
  line_.OnProgress(8'000);  // something is being spilled: it is worth while to wait
  EXPECT_EQ(Late(12'999), "");
  EXPECT_EQ(Late(13'000), "b");
  EXPECT_EQ(line_.Stats().restores, 1u);
  EXPECT_EQ(Late(28'000), "g");
  EXPECT_EQ(line_.Stats().refused, 3u);
  EXPECT_TRUE(line_.empty());
}

TEST_F(MemoryLineTest, TheDeadDoNotStandInLine) {
  Add('a', 10, MemoryLine::Kind::kCreate, 0, 1);
  Add('b', 10, MemoryLine::Kind::kCreate, 0, 2);
  line_.OnClientGone({0, 1});
  EXPECT_EQ(line_.Stats().creates, 1u);
  EXPECT_EQ(Serve(10), "b");
}

}  // namespace
}  // namespace ray_engine
