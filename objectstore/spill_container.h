// SpillContainer: the HDF5 side of a spill file. It makes the file and its datasets and says where in the file their
// bytes lie; it never transfers them.
//
// The .cc is the only user of hdf5.h, which wants one thread for all files of a process. Thread-compatible.

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/ids.h"

namespace ray_engine {

std::string Hdf5Version();

struct SpillRow {  // of an index dataset
  std::uint8_t id[ObjectId::kSize] = {};
  std::uint32_t live = 0;
  std::uint64_t offset = 0, size = 0, checksum = 0;
};

class SpillContainer {
 public:
  // Makes the file; one that exists is emptied.
  static absl::StatusOr<std::unique_ptr<SpillContainer>> Create(const char* path);
  ~SpillContainer();
  SpillContainer(const SpillContainer&) = delete;
  SpillContainer& operator=(const SpillContainer&) = delete;

  // Adds /data/NUMBER of so many bytes, or /index/NUMBER of so many rows; its place in the file. Those of kAligned
  // bytes and more start at multiples of kAlignment.
  static constexpr std::uint64_t kAligned = 64 << 20, kAlignment = 2 << 20;
  absl::StatusOr<std::uint64_t> AddData(std::size_t number, std::uint64_t bytes);
  absl::StatusOr<std::uint64_t> AddIndex(std::size_t number, std::uint64_t rows);
  absl::Status Flush();
  // Belongs to the container.
  int fd() const { return fd_; }

 private:
  struct Handles;
  SpillContainer();

  std::unique_ptr<Handles> handles_;
  int fd_ = -1;
};

}  // namespace ray_engine
