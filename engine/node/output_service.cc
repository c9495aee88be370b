#include "engine/node/output_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace ray_engine {
namespace {

// Calls use(line without its newline, line with it) for each line.
template <class Use>
void ForEachLine(std::string_view text, Use&& use) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const std::string_view line = text.substr(0, end);
    use(line.back() == '\n' ? line.substr(0, end - 1) : line, line);
    text.remove_prefix(end);
  }
}

std::string_view TitleIn(std::string_view line) {
  for (const std::string_view mark : {":task_name:", ":actor_name:"}) {
    if (line.substr(0, mark.size()) == mark) return line.substr(mark.size());
  }
  return {};
}

}  // namespace

std::string TakeTitle(std::string* text) {
  std::string title;
  if (text->find("_name:") == std::string::npos) return title;
  std::string rest;
  ForEachLine(*text, [&](std::string_view line, std::string_view whole) {
    const std::string_view found = TitleIn(line);
    found.empty() ? void(rest.append(whole)) : void(title = found);
  });
  *text = std::move(rest);
  return title;
}

OutputService::OutputService(Router* router, Processes* processes, const NodeConfig* config)
    : router_(router), processes_(processes), config_(config) {
  if (config_->log_dir.empty()) return;
  mkdir(config_->log_dir.c_str(), 0777);
  const std::string path = fmt::format("{}/{}-{}-{}.log", config_->log_dir, config_->session, config_->info.name,
                                       config_->info.id.Hex().substr(0, 8));
  log_.reset(std::fopen(path.c_str(), "ae"));
  if (log_ == nullptr) spdlog::error("cannot write the log file {}: {}", path, std::strerror(errno));
}

void OutputService::OnOutput(const Output& output) {
  Process* process = processes_->table().FindAny(output.serial);
  if (process == nullptr) return;
  std::string text = output.text;
  const std::string title = TakeTitle(&text);
  if (!title.empty()) process->title = title;
  if (text.empty()) return;
  if (output.is_stderr) Remember(&process->last_words, text);
  const std::string prefix = PrefixOf(*process, output.pid);
  if (log_ != nullptr) WriteLog(prefix, text);
  router_->Send(kHead, DriverLine{process->job, output.is_stderr, prefix, text});
}

std::string OutputService::PrefixOf(const Process& process, std::uint32_t pid) const {
  const std::string& where = config_->virtual_nodes ? config_->info.name : config_->info.address;
  return fmt::format("({}{}pid={}, ip={})", process.title, process.title.empty() ? "" : " ", pid, where);
}

void OutputService::WriteLog(const std::string& prefix, const std::string& text) {
  ForEachLine(text, [&](std::string_view line, std::string_view) { fmt::print(log_.get(), "{} {}\n", prefix, line); });
  std::fflush(log_.get());
}

}  // namespace ray_engine
