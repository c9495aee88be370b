#include "objectstore/spill_file.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/resources.h"

namespace ray_engine {
namespace {

constexpr std::size_t kRowsTogether = 64;
constexpr std::uint64_t kStep = 256 << 10;  // is still in the cache when it is summed up, then written
// Blocks are transferred in aligned steps, so that the kernel caches them in large folios.
static_assert(SpillFile::kBlock >= SpillContainer::kAligned && SpillContainer::kAlignment % kStep == 0);

std::uint64_t Pages(std::uint64_t size) {
  return (std::max<std::uint64_t>(size, 1) + SpillFile::kPage - 1) / SpillFile::kPage * SpillFile::kPage;
}

// Transfers all of it, or sets errno; a file that ends early is EIO.
template <class Call, class Byte>
bool All(Call call, int fd, Byte* data, std::uint64_t size, std::uint64_t offset) {
  while (size > 0) {
    const ssize_t done = call(fd, data, size, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done == 0) errno = EIO;
    if (done <= 0) return false;
    data += done;
    size -= static_cast<std::uint64_t>(done);
    offset += static_cast<std::uint64_t>(done);
  }
  return true;
}

}  // namespace

SpillFile::SpillFile(std::string directory, std::uint64_t limit)
    : directory_(std::move(directory)), space_(limit / kPage * kPage) {}

SpillFile::~SpillFile() = default;

absl::StatusOr<std::unique_ptr<SpillFile>> SpillFile::Create(const std::string& directory, const std::string& name,
                                                             std::uint64_t limit) {
  std::unique_ptr<SpillFile> file(new SpillFile(directory, std::min(limit, kNoLimit)));
  if (absl::Status opened = file->Open(name); !opened.ok()) return opened;
  return file;
}

absl::Status SpillFile::Open(const std::string& name) {
  const std::string path = absl::StrCat(directory_, "/", name, ".XXXXXX");
  std::string unique = path;
  const int made = mkostemp(unique.data(), O_CLOEXEC);
  if (made < 0) return Problem(errno, "cannot create a file");
  absl::StatusOr<std::unique_ptr<SpillContainer>> container = SpillContainer::Create(unique.c_str());
  unlink(unique.c_str());
  close(made);
  if (!container.ok())
    return absl::FailedPreconditionError(
        absl::StrCat("cannot spill to ", directory_, ": ", container.status().message()));
  container_ = *std::move(container);
  fd_ = container_->fd();
  return Flush();
}

absl::Status SpillFile::Problem(int error, const char* what) const {
  const std::string text = absl::StrCat("cannot spill to ", directory_, ": ", what, ": ", std::strerror(error));
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return full ? absl::ResourceExhaustedError(text) : absl::FailedPreconditionError(text);
}

absl::Status SpillFile::CoverData(std::uint64_t end) {
  while (data_.size() * kBlock < end) {
    absl::StatusOr<std::uint64_t> at = container_->AddData(data_.size(), kBlock);
    if (!at.ok()) return at.status();
    const std::lock_guard lock(tables_);
    data_.push_back(*at);
    reserved_.push_back(false);
  }
  return absl::OkStatus();
}

std::uint64_t SpillFile::FileOffset(std::uint64_t offset) const {
  const std::lock_guard lock(tables_);
  return data_[offset / kBlock] + offset % kBlock;
}

// Takes the blocks of [begin, end) from the disk at once: a write into space that the file has costs a file system far
// less than one that must find it. Where that cannot be done the writes do it, and say so if there is none.
void SpillFile::Reserve(std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t block = begin / kBlock; block * kBlock < end; ++block) {
    if (reserved_[block]) continue;
    reserved_[block] = true;
    const std::uint64_t size = std::min(kBlock, space_.size() - block * kBlock);
    (void)fallocate(fd_, 0, static_cast<off_t>(data_[block]), static_cast<off_t>(size));
  }
}

absl::StatusOr<std::uint64_t> SpillFile::NewSlot() {
  if (!free_slots_.empty()) {
    const std::uint64_t slot = free_slots_.front();
    free_slots_.pop_front();
    return slot;
  }
  if (objects_.size() == index_.size() * kRowsPerIndex) {
    absl::StatusOr<std::uint64_t> at = container_->AddIndex(index_.size(), kRowsPerIndex);
    if (!at.ok()) return at.status();
    const std::string unused(kRowsPerIndex * sizeof(SpillRow), '\0');
    if (!All(pwrite, fd_, unused.data(), unused.size(), *at)) return Problem(errno, "cannot write");
    const std::lock_guard lock(tables_);
    index_.push_back(*at);
  }
  const std::lock_guard lock(tables_);
  objects_.emplace_back();
  return objects_.size() - 1;
}

std::vector<absl::StatusOr<SpillSlot>> SpillFile::Write(const std::vector<SpillSource>& sources) {
  std::vector<absl::StatusOr<SpillSlot>> slots;
  slots.reserve(sources.size());
  for (const SpillSource& source : sources) slots.push_back(Place(source.size));
  for (std::size_t first = 0, end = 0; first < sources.size(); first = end) {
    end = first + 1;
    if (!slots[first].ok()) continue;
    std::uint64_t together = Pages(sources[first].size);
    while (end < sources.size() && slots[end].ok() && Follows(*slots[end - 1], *slots[end]) &&
           together + Pages(sources[end].size) <= kTogether) {
      together += Pages(sources[end++].size);
    }
    if (end - first > 1 && WriteNeighbours(&sources[first], &slots[first], end - first)) continue;
    for (std::size_t i = first; i < end; ++i) WriteOne(sources[i], &slots[i]);
  }
  return slots;
}

// A slot and space for an object of `size`.
absl::StatusOr<SpillSlot> SpillFile::Place(std::uint64_t size) {
  const std::optional<std::uint64_t> offset = space_.Allocate(Pages(size));
  if (!offset)
    return absl::ResourceExhaustedError(absl::StrCat("the limit of ", BytesText(static_cast<double>(space_.size())),
                                                     " for what is spilled to ", directory_,
                                                     " is reached (--spill-limit)"));
  absl::Status status = CoverData(*offset + Pages(size));
  absl::StatusOr<std::uint64_t> slot = status.ok() ? NewSlot() : status;
  if (!slot.ok()) {
    space_.Free(*offset, Pages(size));
    return slot.status();
  }
  Reserve(*offset, *offset + Pages(size));
  objects_[*slot] = {*offset, size, 0, true};
  punched_ = false;
  ++live_;
  bytes_ += size;
  return SpillSlot{*slot};
}

// Do they lie one after the other in one block?
bool SpillFile::Follows(SpillSlot before, SpillSlot after) const {
  const Object& a = objects_[static_cast<std::uint64_t>(before)];
  const Object& b = objects_[static_cast<std::uint64_t>(after)];
  return a.offset + Pages(a.size) == b.offset && a.offset / kBlock == (b.offset + Pages(b.size) - 1) / kBlock;
}

// Writes `count` small objects with one call. False: that did not write all of them.
bool SpillFile::WriteNeighbours(const SpillSource* sources, const absl::StatusOr<SpillSlot>* slots, std::size_t count) {
  static constexpr char kPadding[kPage] = {};
  std::vector<iovec> parts;
  std::uint64_t bytes = 0, size = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [id, data, length] = sources[i];
    sum_.Reset();
    sum_.Add({data, length});
    objects_[static_cast<std::uint64_t>(*slots[i])].checksum = sum_.Value();
    parts.push_back({const_cast<char*>(data), length});
    parts.push_back({const_cast<char*>(kPadding), Pages(length) - length});
    size += length;
    bytes += Pages(length);
  }
  const std::uint64_t place = FileOffset(objects_[static_cast<std::uint64_t>(*slots[0])].offset);
  const ssize_t written = pwritev(fd_, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(place));
  if (written != static_cast<ssize_t>(bytes)) return false;
  if (moved_ != nullptr) moved_->fetch_add(size, std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) SetRow(sources[i].id, *slots[i]);
  return true;
}

void SpillFile::WriteOne(const SpillSource& source, absl::StatusOr<SpillSlot>* slot) {
  Object& object = objects_[static_cast<std::uint64_t>(**slot)];
  if (absl::Status status = WriteData(source.data, object, &object.checksum); !status.ok()) {
    Discard(static_cast<std::uint64_t>(**slot));
    *slot = status;
  } else {
    SetRow(source.id, **slot);
  }
}

void SpillFile::SetRow(const ObjectId& id, SpillSlot slot) {
  const Object& object = objects_[static_cast<std::uint64_t>(slot)];
  SpillRow row;
  std::memcpy(row.id, id.data(), sizeof row.id);
  row.live = 1;
  row.offset = object.offset;
  row.size = object.size;
  row.checksum = object.checksum;
  SetRow(static_cast<std::uint64_t>(slot), row);
}

// Calls transfer(place in the file, offset in the object, bytes) for pieces that end at multiples of kStep in /data.
template <class Transfer>
absl::Status SpillFile::ForPieces(const Object& object, Transfer transfer) {
  for (std::uint64_t at = 0; at < object.size;) {
    if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) return absl::CancelledError("the engine ends");
    const std::uint64_t place = object.offset + at;
    const std::uint64_t size = std::min(kStep - place % kStep, object.size - at);
    if (absl::Status status = transfer(FileOffset(place), at, size); !status.ok()) return status;
    at += size;
    if (moved_ != nullptr) moved_->fetch_add(size, std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

absl::Status SpillFile::WriteData(const char* data, const Object& object, std::uint64_t* checksum) {
  sum_.Reset();
  absl::Status status = ForPieces(object, [&](std::uint64_t place, std::uint64_t at, std::uint64_t size) {
    sum_.Add({data + at, size});
    return All(pwrite, fd_, data + at, size, place) ? absl::OkStatus() : Problem(errno, "cannot write");
  });
  *checksum = sum_.Value();
  return status;
}

absl::Status SpillFile::ReadData(char* data, const Object& object, std::uint64_t* checksum) {
  read_sum_.Reset();
  absl::Status status = ForPieces(object, [&](std::uint64_t place, std::uint64_t at, std::uint64_t size) {
    if (!All(pread, fd_, data + at, size, place)) return absl::DataLossError(std::strerror(errno));
    read_sum_.Add({data + at, size});
    return absl::OkStatus();
  });
  *checksum = read_sum_.Value();
  return status;
}

std::uint64_t SpillFile::RowOffset(std::uint64_t slot) const {
  return index_[slot / kRowsPerIndex] + slot % kRowsPerIndex * sizeof(SpillRow);
}

void SpillFile::SetRow(std::uint64_t slot, const SpillRow& row) {
  const bool held = slot >= first_row_ && slot < first_row_ + rows_.size();
  const bool follows = slot == first_row_ + rows_.size() && slot % kRowsPerIndex != 0 && rows_.size() < kRowsTogether;
  if (!held && !follows) (void)WriteRows();  // whoever reads one of them finds that out
  const std::lock_guard lock(tables_);
  if (held) {
    rows_[slot - first_row_] = row;
    return;
  }
  if (!follows) first_row_ = slot;
  rows_.push_back(row);
}

// Without the lock while the disk takes its time: until they are there, Read() finds them in memory.
absl::Status SpillFile::WriteRows() {
  if (rows_.empty()) return absl::OkStatus();
  const auto* bytes = reinterpret_cast<const char*>(rows_.data());
  const bool written = All(pwrite, fd_, bytes, rows_.size() * sizeof(SpillRow), RowOffset(first_row_));
  const int error = errno;
  const std::lock_guard lock(tables_);
  rows_.clear();
  return written ? absl::OkStatus() : Problem(error, "cannot write");
}

absl::StatusOr<SpillRow> SpillFile::RowOf(std::uint64_t slot) const {
  std::uint64_t offset = 0;
  {
    const std::lock_guard lock(tables_);
    if (slot >= first_row_ && slot < first_row_ + rows_.size()) return rows_[slot - first_row_];
    offset = RowOffset(slot);
  }
  SpillRow row;
  if (All(pread, fd_, reinterpret_cast<char*>(&row), sizeof row, offset)) return row;
  return absl::DataLossError(std::strerror(errno));
}

absl::Status SpillFile::CheckRow(const SpillRow& row, const Object& object, const ObjectId& id) {
  if (row.live != 1 || std::memcmp(row.id, id.data(), sizeof row.id) != 0)
    return absl::DataLossError("another object lies there");
  if (row.offset != object.offset || row.size != object.size || row.checksum != object.checksum)
    return absl::DataLossError("its entry in the index is damaged");
  return absl::OkStatus();
}

absl::Status SpillFile::Read(SpillSlot slot, const ObjectId& id, char* data, std::uint64_t size) {
  const auto number = static_cast<std::uint64_t>(slot);
  Object object;
  {
    const std::lock_guard lock(tables_);
    object = objects_[number];
  }
  if (!object.live || object.size != size) return absl::DataLossError("another object lies there");
  const absl::StatusOr<SpillRow> row = RowOf(number);
  if (!row.ok()) return row.status();
  if (absl::Status status = CheckRow(*row, object, id); !status.ok()) return status;
  std::uint64_t checksum = 0;
  if (absl::Status status = ReadData(data, object, &checksum); !status.ok()) return status;
  return checksum == object.checksum ? absl::OkStatus() : absl::DataLossError("its checksum is wrong");
}

void SpillFile::Free(SpillSlot slot) { Discard(static_cast<std::uint64_t>(slot)); }

void SpillFile::Discard(std::uint64_t slot) {
  SetRow(slot, SpillRow());
  Object& object = objects_[slot];
  space_.Free(object.offset, Pages(object.size));
  bytes_ -= object.size;
  --live_;
  object = Object();
  free_slots_.push_back(slot);
}

absl::Status SpillFile::Flush() {
  if (live_ == 0 && !punched_) {
    punched_ = true;
    reserved_.assign(data_.size(), false);
    for (const std::uint64_t at : data_)
      fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at), static_cast<off_t>(kBlock));
  }
  if (absl::Status status = WriteRows(); !status.ok()) return status;
  const absl::Status flushed = container_->Flush();
  if (flushed.ok()) return flushed;
  return absl::FailedPreconditionError(absl::StrCat("cannot spill to ", directory_, ": ", flushed.message()));
}

SpillFileStats SpillFile::Stats() const { return {live_, bytes_, space_.Stats().high_water}; }

}  // namespace ray_engine
