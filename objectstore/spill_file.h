// SpillFile: the HDF5 file on node-local disk that takes what a full object store has no room for.
//
// It is unlinked as soon as it exists, so nothing is left behind whatever is killed; a copy of /proc/PID/fd/N opens
// with h5py or h5dump after a flush:
//   /data/0, 1, ...   bytes; one address space in blocks of kBlock, where objects lie one after the other
//   /index/0, 1, ...  rows {id, live, offset, size, checksum}: what lies where; offset counts through all of /data
// The datasets are contiguous and never filled, so their bytes are written and read at the file's own speed with the
// descriptor that HDF5 has open. A block takes its space from the disk when it is first written to, if the file system
// can do that. Small objects share a block and large ones span several; space of freed objects is
// used again. What is read must be what its row says: id, size and XXH3-64 checksum.
//
// HDF5 itself is behind SpillContainer and wants one thread for all files of a process: the one that writes. Another
// thread may Read() beside it, and never waits for the disk to take what is written; all else is Thread-compatible.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/content_hash.h"
#include "engine/base/ids.h"
#include "objectstore/allocator.h"
#include "objectstore/spill_container.h"
#include "objectstore/spill_job.h"

namespace ray_engine {

struct SpillSource {  // an object in memory
  ObjectId id;
  const char* data = nullptr;
  std::uint64_t size = 0;
};

class SpillFile {
 public:
  static constexpr std::uint64_t kBlock = 64 << 20;
  static constexpr std::uint64_t kPage = 4096;          // objects start at multiples of it
  static constexpr std::uint64_t kRowsPerIndex = 8192;  // of one index dataset
  static constexpr std::uint64_t kTogether = 1 << 20;   // most bytes of small objects that one call writes
  static constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

  // `limit`: most bytes of objects. ResourceExhausted: no room there; FailedPrecondition: the folder cannot be used.
  static absl::StatusOr<std::unique_ptr<SpillFile>> Create(const std::string& directory, const std::string& name,
                                                           std::uint64_t limit = kNoLimit);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  // Where each of them lies. Small ones that get places side by side are written with one call.
  // ResourceExhausted: the disk is full or the limit reached; nothing of the object stays. Cancelled: `stop` was set.
  std::vector<absl::StatusOr<SpillSlot>> Write(const std::vector<SpillSource>& sources);
  // DataLoss: what is there is not what was written. `data` then holds anything. By one thread at a time.
  absl::Status Read(SpillSlot slot, const ObjectId& object, char* data, std::uint64_t size);
  // REQUIRES: the slot is in use.
  void Free(SpillSlot slot);
  // After it, a copy of the file can be opened. Gives the disk its space back if nothing lies there.
  absl::Status Flush();

  // Ends what it does once `stop` is set; adds to `moved` the bytes that it has written or read.
  void Watch(const std::atomic<bool>* stop, std::atomic<std::uint64_t>* moved) {
    stop_ = stop;
    moved_ = moved;
  }
  SpillFileStats Stats() const;
  int fd() const { return fd_; }
  const std::string& directory() const { return directory_; }
  // Where the bytes of /data from `offset` on lie in the file, for tests that damage them.
  std::uint64_t FileOffset(std::uint64_t offset) const;

 private:
  struct Object {
    std::uint64_t offset = 0, size = 0, checksum = 0;
    bool live = false;
  };

  SpillFile(std::string directory, std::uint64_t limit);
  absl::Status Open(const std::string& name);
  absl::Status CoverData(std::uint64_t end);
  void Reserve(std::uint64_t begin, std::uint64_t end);
  absl::StatusOr<std::uint64_t> NewSlot();
  absl::StatusOr<SpillSlot> Place(std::uint64_t size);
  bool Follows(SpillSlot before, SpillSlot after) const;
  bool WriteNeighbours(const SpillSource* sources, const absl::StatusOr<SpillSlot>* slots, std::size_t count);
  void WriteOne(const SpillSource& source, absl::StatusOr<SpillSlot>* slot);
  void SetRow(const ObjectId& id, SpillSlot slot);
  absl::Status WriteData(const char* data, const Object& object, std::uint64_t* checksum);
  absl::Status ReadData(char* data, const Object& object, std::uint64_t* checksum);
  template <class Transfer>
  absl::Status ForPieces(const Object& object, Transfer transfer);
  // Rows of neighbours go to disk together, when another one is written or the file is flushed.
  void SetRow(std::uint64_t slot, const SpillRow& row);
  absl::Status WriteRows();
  absl::StatusOr<SpillRow> RowOf(std::uint64_t slot) const;
  static absl::Status CheckRow(const SpillRow& row, const Object& object, const ObjectId& id);
  std::uint64_t RowOffset(std::uint64_t slot) const;
  absl::Status Problem(int error, const char* what) const;
  void Discard(std::uint64_t slot);

  std::string directory_;
  std::unique_ptr<SpillContainer> container_;
  int fd_ = -1;  // the container's
  Allocator space_;
  // Guards data_, index_, objects_, rows_ and first_row_, which the writer alone changes, against Read(). (Not the
  // entry of one object: it stays as it is while somebody may read it.)
  mutable std::mutex tables_;
  std::vector<std::uint64_t> data_, index_;  // offsets in the file of the datasets
  std::vector<bool> reserved_;               // blocks that have their space on the disk
  std::vector<Object> objects_;              // by slot
  std::deque<std::uint64_t> free_slots_;  // in the order in which they came free, so that neighbours follow each other
  std::vector<SpillRow> rows_;            // not written yet, of the slots from first_row_ on
  std::uint64_t first_row_ = 0;
  std::uint64_t live_ = 0, bytes_ = 0;
  bool punched_ = true;  // no space is taken
  ContentSum sum_, read_sum_;
  const std::atomic<bool>* stop_ = nullptr;
  std::atomic<std::uint64_t>* moved_ = nullptr;
};

}  // namespace ray_engine
