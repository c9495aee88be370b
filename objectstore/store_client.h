// StoreClient: a process's view of its node's store segment.
//
// Turns offsets the engine has granted into pointers. It remembers which parts of the segment this process has mapped
// already, and makes the others present before they are used, so that a large copy does not fault page by page.
//
// Thread-safe.

#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "objectstore/segment.h"

namespace ray_engine {

class StoreClient {
 public:
  // Takes the descriptor, also when it fails. `bytes` is the size the engine named: the descriptor must have it.
  static absl::StatusOr<StoreClient> Map(int fd, std::uint64_t bytes);

  // The memory of a granted range, made present; nullptr if the range does not lie in the segment.
  char* ForWriting(std::uint64_t offset, std::uint64_t size) { return Present(offset, size); }
  const char* ForReading(std::uint64_t offset, std::uint64_t size) { return Present(offset, size); }

  std::uint64_t size() const { return segment_.size(); }
  const Segment& segment() const { return segment_; }

 private:
  explicit StoreClient(Segment segment);
  char* Present(std::uint64_t offset, std::uint64_t size);
  bool MarkPresent(std::uint64_t block);

  Segment segment_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> present_;  // a bit per block
};

}  // namespace ray_engine
