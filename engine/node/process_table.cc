#include "engine/node/process_table.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstring>
#include <string_view>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::size_t kLastWords = 2000;

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status)) {
    const char* name = sigabbrev_np(WTERMSIG(status));
    return fmt::format("was killed by signal {} (SIG{})", WTERMSIG(status), name == nullptr ? "?" : name);
  }
  return fmt::format("exited with code {}", WIFEXITED(status) ? WEXITSTATUS(status) : status);
}

}  // namespace

Process* ProcessTable::Add(Process::Kind kind) {
  const std::uint32_t serial = next_serial_++;
  Process& process = living_[serial];
  process.serial = serial;
  process.kind = kind;
  process.worker = WorkerId::Random();
  process.name = kind == Process::kDriver ? "driver" : "worker";
  return &process;
}

Process* ProcessTable::Find(std::uint32_t serial) {
  const auto it = living_.find(serial);
  return it == living_.end() ? nullptr : &it->second;
}

Process* ProcessTable::FindAny(std::uint32_t serial) {
  if (Process* process = Find(serial)) return process;
  const auto it = dead_.find(serial);
  return it == dead_.end() ? nullptr : &it->second.process;
}

void ProcessTable::Remove(std::uint32_t serial, const std::string& cause) {
  const auto it = living_.find(serial);
  if (it == living_.end()) return;
  dead_[serial] = {std::move(it->second), cause};
  living_.erase(it);
  dead_order_.push_back(serial);
  if (dead_order_.size() <= kRemembered) return;
  dead_.erase(dead_order_.front());
  dead_order_.pop_front();
}

std::string ProcessTable::CauseOf(std::uint32_t serial) const {
  const auto it = dead_.find(serial);
  return it == dead_.end() ? "the process has ended" : it->second.cause;
}

std::string DescribeDeath(ProcessId id, const Process& process, int status) {
  std::string text = fmt::format("{} {} (pid {}) ", process.name, ToString(id), process.pid);
  if (!process.kill_reason.empty()) return text + "was killed: " + process.kill_reason;
  text += DescribeEnd(status);
  std::string_view words = process.last_words;
  while (!words.empty() && words.back() == '\n') words.remove_suffix(1);
  return status == 0 || words.empty() ? text : fmt::format("{}; it wrote last:\n{}", text, words);
}

void Remember(std::string* last_words, const std::string& text) {
  last_words->append(text);
  if (last_words->size() <= kLastWords) return;
  const std::size_t line = last_words->find('\n', last_words->size() - kLastWords);
  last_words->erase(0, line == std::string::npos ? last_words->size() - kLastWords : line + 1);
}

}  // namespace ray_engine
