// Doorbell: how a process sleeps without missing a frame, and how a sender wakes it.
//
// The sleeper declares itself asleep, fences, looks at all its rings once more, and only then sleeps on its futex word
// (the engine: on an eventfd). The sender publishes the frame, fences, and then reads the declaration. Both fences are
// sequentially consistent, so at least one of the two sees what the other wrote: either the sleeper finds the frame or
// the sender finds it asleep and rings. Whoever turns `attention` from asleep to polling does the ringing, once.
//
// A process that runs user code is `busy`: only prompt frames ring, and they ring its I/O thread (the word `prompt`).
//
// Thread-safe.

#pragma once

#include <cstdint>

#include "engine/transport/link_segment.h"

namespace ray_engine {

// Sender's side, after publishing. `eventfd` is the engine's, used for blocks that say so.
void RingIfNeeded(ProcessBlock* receiver, bool prompt, int eventfd);

// Sleeper's side: the thread that waits.
class Sleeper {
 public:
  explicit Sleeper(ProcessBlock* block) : block_(block) {}

  void SetPolling() { block_->attention.store(Attention::kPolling, std::memory_order_relaxed); }
  // After these, look at the rings once more: what was sent before the call is visible then.
  void DeclareAsleep() { Declare(Attention::kAsleep); }
  void DeclareBusy() { Declare(Attention::kBusy); }

  // Sleeps until rung, a signal, or `timeout_ns` (< 0: for ever). REQUIRES: DeclareAsleep() and a look at the rings.
  void Sleep(std::int64_t timeout_ns);
  // The same for the I/O thread: until a prompt frame, Nudge() or the time is over.
  void SleepUntilPrompt(std::int64_t timeout_ns);
  // I/O thread: before looking at the rings.
  void ClearPrompt() { block_->prompt.exchange(0); }  // reads the ring: what was sent before it is visible

  ProcessBlock* block() const { return block_; }

 private:
  void Declare(Attention attention) {
    block_->attention.store(attention, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

  ProcessBlock* block_;
};

// Wakes the I/O thread of a process (its own, or a peer's).
void Nudge(ProcessBlock* block);
// Wakes the waiting thread of a process if it sleeps.
void WakeSleeper(ProcessBlock* block);

}  // namespace ray_engine
