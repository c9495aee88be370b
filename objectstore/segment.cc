#include "objectstore/segment.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint64_t kPage = 4096;

#ifndef MADV_POPULATE_READ
constexpr int MADV_POPULATE_READ = 22;  // Linux 5.14
#endif

constexpr char kHugePagesSetting[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// A read makes a page present as well as a write does: pages of a shared segment are mapped writable at once.
void TouchPages(const char* begin, std::uint64_t size) {
  for (std::uint64_t at = 0; at < size; at += kPage) *static_cast<const volatile char*>(begin + at);
}

absl::Status SizeAndSeal(int fd, std::uint64_t bytes) {
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return absl::ErrnoToStatus(errno, "cannot size the object store");
  if (fcntl(fd, F_ADD_SEALS, kSeals) != 0)
    return absl::ErrnoToStatus(errno, "cannot seal the size of the object store");
  return absl::OkStatus();
}

}  // namespace

std::string DescribeHugePages(std::string_view setting) {
  for (const std::string_view on : {"[always]", "[within_size]", "[advise]", "[force]"}) {
    if (setting.find(on) != std::string_view::npos) return "memory of the object store: huge pages\n";
  }
  return absl::StrCat("memory of the object store: small pages; `advise` in ", kHugePagesSetting,
                      " makes its first use several times as fast\n");
}

std::string DescribeHugePages() {
  std::string setting;
  std::getline(std::ifstream(kHugePagesSetting), setting);
  return DescribeHugePages(setting);
}

absl::StatusOr<Segment> Segment::Create(std::uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("an object store of 0 bytes");
  const std::uint64_t size = (bytes + kPage - 1) / kPage * kPage;
  const int fd = memfd_create("ray-engine-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return absl::ErrnoToStatus(errno, "cannot create the object store");
  if (absl::Status sized = SizeAndSeal(fd, size); !sized.ok()) {
    close(fd);
    return sized;
  }
  return MapOwned(fd, size);
}

absl::StatusOr<Segment> Segment::Map(int fd) {
  struct stat info {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &info) != 0 || seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    close(fd);
    return absl::InvalidArgumentError("the descriptor is not an object store segment");
  }
  return MapOwned(fd, static_cast<std::uint64_t>(info.st_size));
}

absl::StatusOr<Segment> Segment::MapOwned(int fd, std::uint64_t size) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, "cannot map the object store");
  }
  madvise(data, size, MADV_HUGEPAGE);
  madvise(data, size, MADV_DONTDUMP);  // a core file need not be as large as the store
  return Segment(fd, static_cast<char*>(data), size);
}

Segment::Segment(Segment&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Segment::~Segment() {
  if (data_ != nullptr) munmap(data_, size_);
  if (fd_ >= 0) close(fd_);
}

void Segment::Prefault(std::uint64_t offset, std::uint64_t size) const {
  const std::uint64_t begin = offset / kPage * kPage;
  const std::uint64_t length = offset + size - begin;
  if (madvise(data_ + begin, length, MADV_POPULATE_READ) != 0) TouchPages(data_ + begin, length);
}

}  // namespace ray_engine
