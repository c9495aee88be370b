#include "engine/transport/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace ray_engine {
namespace {

void FutexWait(void* word, std::uint32_t expected, std::int64_t timeout_ns) {
  timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns < 0 ? nullptr : &timeout, nullptr, 0);
}

void FutexWake(void* word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

void WriteEventfd(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(fd, &one, sizeof one);
}

}  // namespace

void RingIfNeeded(ProcessBlock* receiver, bool prompt, int eventfd) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const Attention attention = receiver->attention.load(std::memory_order_relaxed);
  if (attention == Attention::kPolling) return;
  if (attention == Attention::kAsleep) {
    Attention asleep = Attention::kAsleep;
    if (!receiver->attention.compare_exchange_strong(asleep, Attention::kPolling)) return;
    receiver->uses_eventfd != 0 ? WriteEventfd(eventfd) : FutexWake(&receiver->attention);
  } else if (prompt || receiver->wants_replies.load(std::memory_order_relaxed) != 0) {
    Nudge(receiver);
  }
}

void Sleeper::Sleep(std::int64_t timeout_ns) {
  FutexWait(&block_->attention, static_cast<std::uint32_t>(Attention::kAsleep), timeout_ns);
}

void Sleeper::SleepUntilPrompt(std::int64_t timeout_ns) { FutexWait(&block_->prompt, 0, timeout_ns); }

void Nudge(ProcessBlock* block) {
  if (block->prompt.exchange(1) == 0) FutexWake(&block->prompt);
}

void WakeSleeper(ProcessBlock* block) {
  Attention asleep = Attention::kAsleep;
  if (block->attention.compare_exchange_strong(asleep, Attention::kPolling)) FutexWake(&block->attention);
}

}  // namespace ray_engine
