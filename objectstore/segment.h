// Segment: the shared memory of one node's object store.
//
// A memfd, so it has no name and goes away with the last process that holds it. The engine creates it and passes the
// descriptor on; everyone maps all of it once. It can neither shrink nor grow (sealed), so no access can hit a hole at
// the end. Pages come into being when first touched: huge ones where the system lets shared memory ask for them.
//
// Thread-compatible; the memory itself is shared by all processes of the node.

#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace ray_engine {

// For people: whether the pages are huge, by what /sys/kernel/mm/transparent_hugepage/shmem_enabled says.
std::string DescribeHugePages(std::string_view setting);
std::string DescribeHugePages();

class Segment {
 public:
  // `bytes` is rounded up to whole pages.
  static absl::StatusOr<Segment> Create(std::uint64_t bytes);
  // Maps a segment that another process created; takes the descriptor, also when it fails.
  static absl::StatusOr<Segment> Map(int fd);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  char* data() const { return data_; }
  std::uint64_t size() const { return size_; }
  int fd() const { return fd_; }

  // Makes the pages of a range present in this process, so that reading or writing them runs at memory speed: a copy
  // that faults page by page runs at a seventh of it. Does not disturb what is in them.
  void Prefault(std::uint64_t offset, std::uint64_t size) const;

 private:
  Segment(int fd, char* data, std::uint64_t size) : fd_(fd), data_(data), size_(size) {}
  static absl::StatusOr<Segment> MapOwned(int fd, std::uint64_t size);

  int fd_ = -1;
  char* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace ray_engine
