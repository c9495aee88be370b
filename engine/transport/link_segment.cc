#include "engine/transport/link_segment.h"

#include <absl/status/status.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint64_t kLinksStart = (LinkSegment::kMaxProcesses * sizeof(ProcessBlock) + 4095) / 4096 * 4096 + 4096;

absl::StatusOr<char*> Map(int fd, std::uint64_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return absl::ErrnoToStatus(errno, "cannot map the link segment");
  madvise(base, bytes, MADV_DONTFORK);  // children of user code must not disturb the rings
  madvise(base, bytes, MADV_DONTDUMP);  // nor a core file be as large as all of them
  return static_cast<char*>(base);
}

}  // namespace

absl::StatusOr<LinkSegment> LinkSegment::Create(std::uint64_t bytes) {
  LinkSegment segment;
  segment.fd_ = memfd_create("ray-engine-links", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (segment.fd_ < 0) return absl::ErrnoToStatus(errno, "cannot create the link segment");
  if (ftruncate(segment.fd_, static_cast<off_t>(bytes)) != 0)
    return absl::ErrnoToStatus(errno, "cannot size the link segment");
  fcntl(segment.fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  absl::StatusOr<char*> base = Map(segment.fd_, bytes);
  if (!base.ok()) return base.status();
  segment.base_ = *base;
  segment.bytes_ = bytes;
  segment.next_link_ = kLinksStart;
  return segment;
}

absl::StatusOr<LinkSegment> LinkSegment::Attach(int fd, std::uint64_t bytes) {
  LinkSegment segment;
  segment.fd_ = fd;
  absl::StatusOr<char*> base = Map(fd, bytes);
  if (!base.ok()) return base.status();
  segment.base_ = *base;
  segment.bytes_ = bytes;
  return segment;
}

LinkSegment& LinkSegment::operator=(LinkSegment&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  std::swap(base_, other.base_);
  std::swap(next_slot_, other.next_slot_);
  std::swap(next_link_, other.next_link_);
  std::swap(free_slots_, other.free_slots_);
  std::swap(free_links_, other.free_links_);
  return *this;
}

LinkSegment::~LinkSegment() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (fd_ >= 0) close(fd_);
}

ProcessBlock* LinkSegment::block(std::uint32_t slot) const { return reinterpret_cast<ProcessBlock*>(base_) + slot; }

LinkMemory* LinkSegment::link(std::uint64_t offset) const { return reinterpret_cast<LinkMemory*>(base_ + offset); }

bool LinkSegment::IsLinkOffset(std::uint64_t offset) const {
  return offset >= kLinksStart && offset + sizeof(LinkMemory) <= bytes_ &&
         (offset - kLinksStart) % sizeof(LinkMemory) == 0;
}

std::uint32_t LinkSegment::AllocateSlot() {
  std::uint32_t slot = kMaxProcesses;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else if (next_slot_ < kMaxProcesses) {
    slot = next_slot_++;
  } else {
    return kMaxProcesses;
  }
  auto* fresh = new (block(slot)) ProcessBlock{};
  fresh->attention.store(Attention::kAsleep, std::memory_order_relaxed);
  fresh->cpu.store(-1, std::memory_order_relaxed);
  return slot;
}

std::uint64_t LinkSegment::AllocateLink(std::uint32_t slot0, std::uint32_t slot1) {
  std::uint64_t offset = 0;
  if (!free_links_.empty()) {
    offset = free_links_.back();
    free_links_.pop_back();
  } else if (next_link_ + sizeof(LinkMemory) <= bytes_) {
    offset = next_link_;
    next_link_ += sizeof(LinkMemory);
  } else {
    return 0;
  }
  LinkMemory* memory = link(offset);
  memory->slots[0] = slot0;
  memory->slots[1] = slot1;
  for (RingHeader& ring : memory->rings) {
    ring.tail.store(0, std::memory_order_relaxed);
    ring.head.store(0, std::memory_order_relaxed);
    ring.producer_waits.store(0, std::memory_order_relaxed);
  }
  ++links_;
  return offset;
}

LinkSegmentStats LinkSegment::Stats() const { return {next_slot_ - free_slots_.size(), links_}; }

}  // namespace ray_engine
