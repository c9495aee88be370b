#include "objectstore/store_client.h"

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint64_t kBlock = 64 << 10;

std::uint64_t BlockCount(std::uint64_t bytes) { return (bytes + kBlock - 1) / kBlock; }

}  // namespace

absl::StatusOr<StoreClient> StoreClient::Map(int fd, std::uint64_t bytes) {
  absl::StatusOr<Segment> segment = Segment::Map(fd);
  if (!segment.ok()) return segment.status();
  if (segment->size() != bytes) return absl::InvalidArgumentError("the object store has another size than announced");
  return StoreClient(*std::move(segment));
}

StoreClient::StoreClient(Segment segment)
    : segment_(std::move(segment)),
      present_(std::make_unique<std::atomic<std::uint64_t>[]>(BlockCount(segment_.size()) / 64 + 1)) {}

bool StoreClient::MarkPresent(std::uint64_t block) {
  const std::uint64_t bit = std::uint64_t{1} << (block % 64);
  std::atomic<std::uint64_t>& word = present_[block / 64];
  if ((word.load(std::memory_order_relaxed) & bit) != 0) return false;
  return (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
}

char* StoreClient::Present(std::uint64_t offset, std::uint64_t size) {
  if (offset > segment_.size() || size > segment_.size() - offset) return nullptr;
  const std::uint64_t end = BlockCount(offset + size);
  std::uint64_t run = end;  // start of the current run of blocks that were absent
  for (std::uint64_t block = offset / kBlock; block <= end; ++block) {
    const bool absent = block < end && MarkPresent(block);
    if (absent && run == end) run = block;
    if (absent || run == end) continue;
    segment_.Prefault(run * kBlock, std::min(block * kBlock, segment_.size()) - run * kBlock);
    run = end;
  }
  return segment_.data() + offset;
}

}  // namespace ray_engine
