#include "engine/node/output_service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

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

std::vector<TitledText> CutAtTitles(const std::string& text) {
  if (text.find("_name:") == std::string::npos) return {{"", text}};
  std::vector<TitledText> pieces(1);
  ForEachLine(text, [&](std::string_view line, std::string_view whole) {
    if (const std::string_view title = TitleIn(line); !title.empty()) {
      pieces.push_back({std::string(title), ""});
    } else {
      pieces.back().text += whole;
    }
  });
  return pieces;
}

OutputService::OutputService(Router* router, Processes* processes, const NodeConfig* config)
    : router_(router), processes_(processes), config_(config) {
  if (config_->log_dir.empty()) return;
  const std::string path = fmt::format("{}/{}-{}-{}.log", config_->log_dir, config_->session, config_->info.name,
                                       config_->info.id.Hex().substr(0, 8));
  log_.reset(std::fopen(path.c_str(), "ae"));
  if (log_ == nullptr) spdlog::error("cannot write the log file {}: {}", path, std::strerror(errno));
}

void OutputService::OnOutput(const Output& output) {
  Process* process = processes_->table().FindAny(output.serial);
  if (process == nullptr) return;
  for (const TitledText& piece : CutAtTitles(output.text)) {
    if (!piece.title.empty()) process->titles[output.is_stderr ? 1 : 0] = piece.title;
    if (!piece.text.empty()) PassOn(process, output, piece.text);
  }
}

void OutputService::PassOn(Process* process, const Output& output, const std::string& text) {
  Remember(&process->last_words, text);
  const std::string prefix = PrefixOf(process->titles[output.is_stderr ? 1 : 0], output.pid);
  if (log_ != nullptr) WriteLog(prefix, text);
  router_->Send(kHead, DriverLine{process->job, output.is_stderr, prefix, text, ""});
}

std::string OutputService::PrefixOf(const std::string& title, std::uint32_t pid) const {
  const std::string& where = config_->virtual_nodes ? config_->info.name : config_->info.address;
  return fmt::format("({}{}pid={}, ip={})", title, title.empty() ? "" : " ", pid, where);
}

void OutputService::WriteLog(const std::string& prefix, const std::string& text) {
  ForEachLine(text, [&](std::string_view line, std::string_view) { fmt::print(log_.get(), "{} {}\n", prefix, line); });
  std::fflush(log_.get());
}

}  // namespace ray_engine
