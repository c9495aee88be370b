// No wake-up is lost: a model of the hand-shake tried in every interleaving, and the real one under load.

#include "engine/transport/doorbell.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "gtest/gtest.h"

namespace ray_engine {
namespace {

// ---- the model -----------------------------------------------------------------------------------------------------
//
// One sleeper and two senders with store buffers as processors have them: a store is seen by its own thread at once and
// by others when it leaves the buffer, at any time; a fence or an atomic exchange empties the buffer first. Every
// thread is a list of steps; Explore() tries all orders of steps and of stores leaving the buffers.

enum Variable { kAttention, kFrame0, kFrame1, kPromptWord, kTaken, kHead, kProducerWaits, kVariables };
constexpr int kAwake = 0, kSleeps = 1, kRunsUserCode = 2;

struct Model {
  struct Thread {
    int at = 0;                               // next step
    int seen = 0;                             // last value read
    std::vector<std::pair<int, int>> buffer;  // stores that have not left: variable, value
    bool asleep = false;                      // in the futex
    friend bool operator<(const Thread& a, const Thread& b) {
      return std::tie(a.at, a.seen, a.buffer, a.asleep) < std::tie(b.at, b.seen, b.buffer, b.asleep);
    }
  };
  int memory[kVariables] = {};
  std::vector<Thread> threads;
  friend bool operator<(const Model& a, const Model& b) {
    for (int i = 0; i < kVariables; ++i) {
      if (a.memory[i] != b.memory[i]) return a.memory[i] < b.memory[i];
    }
    return a.threads < b.threads;
  }

  void Store(int thread, int variable, int value) { threads[thread].buffer.emplace_back(variable, value); }
  int Load(int thread, int variable) const {
    const auto& buffer = threads[thread].buffer;
    for (auto it = buffer.rbegin(); it != buffer.rend(); ++it) {
      if (it->first == variable) return it->second;
    }
    return memory[variable];
  }
  bool Drained(int thread) const { return threads[thread].buffer.empty(); }
};

// A step does its work and moves its thread on; it returns false if it cannot run yet.
using Step = std::function<bool(Model*, int thread)>;
using Program = std::vector<Step>;

class Explorer {
 public:
  // `bad` judges where it came to rest; by default, every thread must have come to its end.
  explicit Explorer(std::vector<Program> programs, std::function<bool(const Model&)> bad = nullptr)
      : programs_(std::move(programs)), bad_(std::move(bad)) {}

  // Counts the bad ends.
  int Explore() {
    Model start;
    start.threads.resize(programs_.size());
    Visit(start);
    return bad_ends_;
  }
  std::size_t states() const { return seen_.size(); }

 private:
  void Visit(const Model& model) {
    if (!seen_.insert(model).second) return;
    bool moved = false;
    for (int thread = 0; thread < static_cast<int>(programs_.size()); ++thread) {
      moved |= LeaveBuffer(model, thread);
      moved |= Run(model, thread);
    }
    if (!moved) bad_ends_ += bad_ != nullptr ? bad_(model) : SomebodyWaits(model);
  }
  bool SomebodyWaits(const Model& model) const {
    for (std::size_t thread = 0; thread < programs_.size(); ++thread) {
      if (model.threads[thread].at < static_cast<int>(programs_[thread].size())) return true;
    }
    return false;
  }
  bool LeaveBuffer(Model model, int thread) {
    auto& buffer = model.threads[thread].buffer;
    if (buffer.empty()) return false;
    model.memory[buffer.front().first] = buffer.front().second;
    buffer.erase(buffer.begin());
    Visit(model);
    return true;
  }
  bool Run(Model model, int thread) {
    const int at = model.threads[thread].at;
    if (at >= static_cast<int>(programs_[thread].size())) return false;
    ++model.threads[thread].at;
    if (!programs_[thread][at](&model, thread)) return false;
    Visit(model);
    return true;
  }

  std::vector<Program> programs_;
  std::function<bool(const Model&)> bad_;
  std::set<Model> seen_;
  int bad_ends_ = 0;
};

Step Store(int variable, int value) {
  return [=](Model* model, int thread) { return model->Store(thread, variable, value), true; };
}
Step Fence() {
  return [](Model* model, int thread) { return model->Drained(thread); };
}
Step Load(int variable) {
  return [=](Model* model, int thread) { return model->threads[thread].seen = model->Load(thread, variable), true; };
}
// Skips `count` steps unless the last value read is `value`.
Step Unless(int value, int count) {
  return [=](Model* model, int thread) {
    if (model->threads[thread].seen != value) model->threads[thread].at += count;
    return true;
  };
}
// Exchanges `from` for `to`; `seen` tells whether it did. Empties the buffer, as locked instructions do.
Step CompareExchange(int variable, int from, int to) {
  return [=](Model* model, int thread) {
    if (!model->Drained(thread)) return false;
    model->threads[thread].seen = model->memory[variable] == from;
    if (model->threads[thread].seen != 0) model->memory[variable] = to;
    return true;
  };
}
Step Wake(int sleeper) {
  return [=](Model* model, int) { return model->threads[sleeper].asleep = false, true; };
}
// Sleeps if the word has that value.
Step FutexEnter(int variable, int value) {
  return [=](Model* model, int thread) {
    if (!model->Drained(thread)) return false;
    model->threads[thread].asleep = model->memory[variable] == value;
    return true;
  };
}
Step FutexLeave() {
  return [](Model* model, int thread) { return !model->threads[thread].asleep; };
}
// Goes back to step `at` until both frames have been seen.
Step UnlessBothSeen(int at) {
  return [=](Model* model, int thread) {
    if (model->Load(thread, kFrame0) == 0 || model->Load(thread, kFrame1) == 0) model->threads[thread].at = at;
    return true;
  };
}

Step GoTo(int step) {
  return [=](Model* model, int thread) { return model->threads[thread].at = step, true; };
}
Program operator+(Program program, const Program& more) {
  program.insert(program.end(), more.begin(), more.end());
  return program;
}

// The second half of RingIfNeeded() towards thread 0.
Program RingIfAsleep() {
  return {Load(kAttention), Unless(kSleeps, 3), CompareExchange(kAttention, kSleeps, kAwake), Unless(1, 1), Wake(0)};
}

// ---- frames for a process that goes to sleep

Program Sender(int frame, bool with_fence) {
  return (with_fence ? Program{Store(frame, 1), Fence()} : Program{Store(frame, 1)}) + RingIfAsleep();
}

// Declares itself asleep, looks again, sleeps; until both frames are there.
Program SleepsUntilBothCame(bool with_fence) {
  const Step look = [](Model* model, int thread) {
    model->threads[thread].seen = model->Load(thread, kFrame0) != 0 && model->Load(thread, kFrame1) != 0;
    return true;
  };
  const Program declare =
      with_fence ? Program{Store(kAttention, kSleeps), Fence()} : Program{Store(kAttention, kSleeps)};
  return declare + Program{look,
                           Unless(0, 2),
                           FutexEnter(kAttention, kSleeps),
                           FutexLeave(),
                           Store(kAttention, kAwake),
                           UnlessBothSeen(0)};
}

TEST(DoorbellModelTest, NoOrderOfStepsLosesAWakeUp) {
  Explorer explorer({SleepsUntilBothCame(true), Sender(kFrame0, true), Sender(kFrame1, true)});
  EXPECT_EQ(explorer.Explore(), 0);
  EXPECT_GT(explorer.states(), 500u);
}

TEST(DoorbellModelTest, EitherFenceIsNeeded) {
  EXPECT_GT(Explorer({SleepsUntilBothCame(false), Sender(kFrame0, true), Sender(kFrame1, true)}).Explore(), 0);
  EXPECT_GT(Explorer({SleepsUntilBothCame(true), Sender(kFrame0, false), Sender(kFrame1, false)}).Explore(), 0);
}

// ---- a prompt frame for a process that turns to user code

Program TurnsBusy(bool looks_again) {
  const Program declare = {Store(kAttention, kRunsUserCode), Fence()};
  return looks_again ? declare + Program{Load(kFrame0), Unless(1, 1), Store(kTaken, 1)} : declare;
}

// The I/O thread, thread 1: clears the word, looks, sleeps.
Program IoThread() {
  return {CompareExchange(kPromptWord, 1, 0), Load(kFrame0), Unless(1, 2), Store(kTaken, 1), GoTo(8),
          FutexEnter(kPromptWord, 0),         FutexLeave(),  GoTo(0)};
}

Program PromptSender() {
  return {Store(kFrame0, 1), Fence(), Load(kAttention), Unless(kRunsUserCode, 3), CompareExchange(kPromptWord, 0, 1),
          Unless(1, 1),      Wake(1)};
}

TEST(DoorbellModelTest, APromptFrameIsTakenByAProcessThatTurnsBusy) {
  const auto lost = [](bool looks_again) {
    Explorer explorer({TurnsBusy(looks_again), IoThread(), PromptSender()},
                      [](const Model& model) { return model.memory[kTaken] == 0; });
    return explorer.Explore();
  };
  EXPECT_EQ(lost(true), 0);
  EXPECT_GT(lost(false), 0);
}

// ---- a producer that waits for room in a full ring and goes to sleep

Program WaitsForRoom(bool tries_again) {
  const Program first_try = {Store(kProducerWaits, 1), Fence(), Load(kHead), Unless(0, tries_again ? 6 : 4)};
  const Program second_try = {Load(kHead), Unless(0, 2)};
  const Program declare = {Store(kAttention, kSleeps), Fence()},
                sleep = {FutexEnter(kAttention, kSleeps), FutexLeave()};
  return first_try + declare + (tries_again ? second_try + sleep : sleep);
}

Program MakesRoom() { return Program{Store(kHead, 1), Fence(), Load(kProducerWaits), Unless(1, 5)} + RingIfAsleep(); }

TEST(DoorbellModelTest, AProducerTriesAgainAfterDeclaringItselfAsleep) {
  EXPECT_EQ(Explorer({WaitsForRoom(true), MakesRoom()}).Explore(), 0);
  EXPECT_GT(Explorer({WaitsForRoom(false), MakesRoom()}).Explore(), 0);
}

// ---- the real thing ------------------------------------------------------------------------------------------------

class DoorbellTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t kPatienceNs = 20'000'000'000;

  DoorbellTest() {
    absl::StatusOr<LinkSegment> segment = LinkSegment::Create(1 << 20);
    EXPECT_TRUE(segment.ok());
    segment_ = *std::move(segment);
    block_ = segment_.block(segment_.AllocateSlot());
  }

  LinkSegment segment_;
  ProcessBlock* block_ = nullptr;
};

TEST_F(DoorbellTest, SleepersAreWokenForEveryFrame) {
  constexpr int kFrames = 5'000, kSenders = 2;
  std::atomic<int> sent{0};
  std::atomic<int> taken{0};
  std::vector<std::thread> senders;
  for (int i = 0; i < kSenders; ++i) {
    senders.emplace_back([&] {
      for (int frame = 0; frame < kFrames; ++frame) {
        sent.fetch_add(1, std::memory_order_release);
        RingIfNeeded(block_, false, -1);
        // Often wait until the sleeper is on its way to sleep again: that is where wake-ups get lost.
        while (frame % 8 == 0 && sent.load() != taken.load()) std::this_thread::yield();
      }
    });
  }
  Sleeper sleeper(block_);
  int seen = 0, timeouts = 0;
  while (seen < kFrames * kSenders) {
    sleeper.DeclareAsleep();
    if (sent.load(std::memory_order_acquire) == seen) {
      const std::int64_t begin = NowNs();
      sleeper.Sleep(kPatienceNs);
      timeouts += NowNs() - begin >= kPatienceNs;  // it may wake early: the bell of a frame it found by itself
    }
    sleeper.SetPolling();
    taken = seen = sent.load(std::memory_order_acquire);
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(timeouts, 0);
}

TEST_F(DoorbellTest, PromptFramesWakeTheIoThreadOfABusyProcess) {
  constexpr int kFrames = 5'000;
  Sleeper sleeper(block_);
  sleeper.DeclareBusy();
  std::atomic<int> sent{0}, taken{0};
  std::thread io([&] {
    while (taken < kFrames) {
      sleeper.ClearPrompt();
      taken = sent.load(std::memory_order_acquire);
      if (taken < kFrames) sleeper.SleepUntilPrompt(kPatienceNs);
    }
  });
  for (int frame = 0; frame < kFrames; ++frame) {
    sent.fetch_add(1, std::memory_order_release);
    RingIfNeeded(block_, true, -1);
    while (frame % 8 == 0 && taken.load() != sent.load()) std::this_thread::yield();
  }
  io.join();
  EXPECT_EQ(taken.load(), kFrames);
}

TEST_F(DoorbellTest, SleepEndsWithItsTime) {
  Sleeper sleeper(block_);
  sleeper.DeclareAsleep();
  sleeper.Sleep(1'000'000);
  EXPECT_EQ(block_->attention.load(), Attention::kAsleep);
  sleeper.SetPolling();
  sleeper.DeclareAsleep();
  WakeSleeper(block_);
  EXPECT_EQ(block_->attention.load(), Attention::kPolling);
  sleeper.Sleep(kPatienceNs);  // returns at once
}

TEST_F(DoorbellTest, NudgesThatComeBeforeTheSleepAreNotLost) {
  Sleeper sleeper(block_);
  sleeper.ClearPrompt();
  Nudge(block_);
  Nudge(block_);
  sleeper.SleepUntilPrompt(kPatienceNs);  // returns at once
  EXPECT_EQ(block_->prompt.load(), 1u);
}

}  // namespace
}  // namespace ray_engine
