// LinkSegment: the shared memory in which the processes of one node talk to each other.
//
// One memfd per node, mapped once by every process. It holds a block per process (its doorbell words) and the links:
// pairs of rings between two processes. The node engine allocates blocks and links; everybody else only uses those it
// was told about. Pages are touched lazily, so an unused part costs nothing. There is no lock in here: whatever
// instruction a process dies at, the others go on.
//
// Allocation: Loop-bound (engine). Everything else: Thread-safe.

#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ray_engine {

// Bytes one direction of a link holds.
inline constexpr std::uint32_t kRingBytes = 64 * 1024;

enum class Attention : std::uint32_t {
  kPolling = 0,  // somebody looks at the rings all the time: never ring
  kBusy = 1,     // running user code: ring for prompt frames only
  kAsleep = 2,   // ring for every frame
};

// What others need to know of a process to wake it. See engine/transport/doorbell.h for the hand-shake.
struct alignas(128) ProcessBlock {
  std::atomic<Attention> attention;          // futex word of the thread that waits
  std::atomic<std::uint32_t> prompt;         // futex word of the I/O thread: 1 = a prompt frame waits
  std::atomic<std::uint32_t> wants_replies;  // busy, but something waits for replies: treat them as prompt
  std::atomic<std::int32_t> cpu;             // CPU the process was last seen on, -1 unknown
  std::uint32_t uses_eventfd;                // the engine: bells are written to its eventfd
};

struct RingHeader {
  alignas(64) std::atomic<std::uint64_t> tail;  // bytes ever written; only the producer stores
  alignas(64) std::atomic<std::uint64_t> head;  // bytes ever consumed; only the consumer stores
  // The producer has an overflow queue: ring it when there is room.
  alignas(64) std::atomic<std::uint32_t> producer_waits;
};

struct LinkMemory {
  alignas(64) std::uint32_t slots[2];  // process blocks of side 0 and side 1
  RingHeader rings[2];                 // rings[s] is written by side s
  alignas(64) char data[2][kRingBytes];
};

struct LinkSegmentStats {
  std::uint64_t slots = 0, links = 0;  // given out and not freed
};

class LinkSegment {
 public:
  static constexpr std::uint64_t kDefaultBytes = 2ull << 30;  // virtual; about 16,000 links
  static constexpr std::uint32_t kMaxProcesses = 4096;

  static absl::StatusOr<LinkSegment> Create(std::uint64_t bytes = kDefaultBytes);
  // Takes over `fd`.
  static absl::StatusOr<LinkSegment> Attach(int fd, std::uint64_t bytes);
  LinkSegment() = default;
  LinkSegment(LinkSegment&& other) noexcept { *this = std::move(other); }
  LinkSegment& operator=(LinkSegment&& other) noexcept;
  ~LinkSegment();

  int fd() const { return fd_; }
  std::uint64_t bytes() const { return bytes_; }
  ProcessBlock* block(std::uint32_t slot) const;
  LinkMemory* link(std::uint64_t offset) const;
  bool IsLinkOffset(std::uint64_t offset) const;

  // For the engine. A slot or link is zeroed when given out. Offset 0 / slot kMaxProcesses: none left.
  std::uint32_t AllocateSlot();
  void FreeSlot(std::uint32_t slot) { free_slots_.push_back(slot); }
  std::uint64_t AllocateLink(std::uint32_t slot0, std::uint32_t slot1);
  // REQUIRES: neither end uses the link any more.
  void FreeLink(std::uint64_t offset) {
    free_links_.push_back(offset);
    --links_;
  }
  LinkSegmentStats Stats() const;

 private:
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
  char* base_ = nullptr;
  std::uint32_t next_slot_ = 0;
  std::uint64_t next_link_ = 0, links_ = 0;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::uint64_t> free_links_;
};

}  // namespace ray_engine
