// What the node engine has done on disk, and the disk as it sees it: jobs in, what came of them out.
//
// SpillDisk is implemented by SpillThreads; tests have their own.

#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/ids.h"

namespace ray_engine {

enum class SpillSlot : std::uint64_t {};  // the place of an object on disk

struct SpillJob {
  enum Kind : std::uint8_t { kWrite, kRead, kFree };
  Kind kind{};
  ObjectId object;
  std::uint64_t offset = 0, size = 0;  // in the store segment; kWrite, kRead
  SpillSlot slot{};                    // kRead, kFree
};

struct SpillDone {  // of a kWrite or kRead
  SpillJob job;     // with the slot of what was written
  // ResourceExhausted: the disk is full. DataLoss: what was read is not what was written. Others: the disk is of no
  // use.
  absl::Status status;
  std::uint64_t took_ns = 0;
};

struct SpillFileStats {
  std::uint64_t objects = 0, bytes = 0;  // that lie there
  std::uint64_t extent = 0;              // bytes up to the end of the last object that has lain there
};

class SpillDisk {
 public:
  virtual ~SpillDisk() = default;
  virtual void Submit(const std::vector<SpillJob>& jobs) = 0;
  // What has ended since the last call.
  virtual std::vector<SpillDone> TakeDone() = 0;
  // Readable when something has ended.
  virtual int EventFd() const = 0;
  virtual SpillFileStats Stats() = 0;
  // Bytes written and read so far, those of unfinished jobs included: whether it gets on.
  virtual std::uint64_t Moved() const = 0;
  virtual std::string Directory() const = 0;
};

}  // namespace ray_engine
