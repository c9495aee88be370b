// What spilling is measured against: one thread that sums up and writes the same bytes to a plain file, then reads and
// sums them up.
//
//   bare_file FOLDER OBJECT_BYTES TOTAL_BYTES   {"write", "read"} in bytes per second

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/content_hash.h"

namespace ray_engine {
namespace {

constexpr int kRounds = 3;  // the best counts: memory that the kernel has not used for long is slow at first
constexpr std::size_t kStep = 256 << 10;
constexpr std::size_t kMemory = 1 << 30;  // as much as the store of the workload

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

class BareFile {
 public:
  BareFile(const std::string& folder, std::size_t object, std::size_t total)
      : object_(object), count_(total / object), memory_(kMemory / object * object, 'x') {
    std::string path = folder + "/bare_file.XXXXXX";
    fd_ = mkstemp(path.data());
    if (fd_ < 0) Die("mkstemp");
    unlink(path.c_str());
    for (std::size_t at = 0; at < memory_.size(); at += 8) memory_[at] = static_cast<char>(at / 8 * 31);
  }
  ~BareFile() { close(fd_); }

  void Empty() {
    if (ftruncate(fd_, 0) != 0) Die("ftruncate");
  }
  void Write() {
    ForAll([this](char* data, std::size_t size, off_t at) {
      sum_.Add({data, size});
      return pwrite(fd_, data, size, at);
    });
  }
  void Read() {
    ForAll([this](char* data, std::size_t size, off_t at) {
      const ssize_t done = pread(fd_, data, size, at);
      sum_.Add({data, size});
      return done;
    });
  }
  double Bytes() const { return static_cast<double>(object_) * static_cast<double>(count_); }

 private:
  template <class Transfer>
  void ForAll(Transfer transfer) {
    for (std::size_t i = 0; i < count_; ++i) {
      sum_.Reset();
      char* data = memory_.data() + i * object_ % memory_.size();
      for (std::size_t at = 0; at < object_; at += kStep) {
        const std::size_t size = std::min(kStep, object_ - at);
        if (transfer(data + at, size, static_cast<off_t>(i * object_ + at)) != static_cast<ssize_t>(size)) Die("file");
      }
      checksums_ ^= sum_.Value();
    }
  }

  std::size_t object_, count_;
  std::string memory_;
  int fd_ = -1;
  ContentSum sum_;
  volatile std::uint64_t checksums_ = 0;
};

int Main(char** arguments) {
  BareFile file(arguments[1], std::strtoull(arguments[2], nullptr, 10), std::strtoull(arguments[3], nullptr, 10));
  double write = 0, read = 0;
  for (int round = 0; round < kRounds; ++round) {
    file.Empty();
    write = std::max(write, file.Bytes() / Seconds([&] { file.Write(); }));
    read = std::max(read, file.Bytes() / Seconds([&] { file.Read(); }));
  }
  std::printf("RESULT {\"write\": %.0f, \"read\": %.0f}\n", write, read);
  return 0;
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) {
  if (argc == 4) return ray_engine::Main(argv);
  std::fputs("usage: bare_file FOLDER OBJECT_BYTES TOTAL_BYTES\n", stderr);
  return 2;
}
