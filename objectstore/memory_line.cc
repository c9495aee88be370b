#include "objectstore/memory_line.h"

#include <algorithm>

namespace ray_engine {

void MemoryLine::Add(const Request& request, std::uint64_t now_ms) {
  waiting_.push_back({request, NewArrival(), now_ms});
  ++arrived_;
}

void MemoryLine::Serve() {
  bool pulls_too = true;
  auto next = waiting_.begin();
  while (true) {
    const std::optional<PullManager::Request> pull = pulls_too ? giver_->NextPull() : std::nullopt;
    if (!pull && next == waiting_.end()) return;
    const bool pull_first = pull && (next == waiting_.end() || pull->arrival < next->arrival);
    const bool served = pull_first ? giver_->TryPull() : giver_->TryRequest(next->request);
    if (served) {
      if (!pull_first) next = waiting_.erase(next);
      continue;
    }
    if (!pull_first || pull->may_spill) {
      giver_->Relieve(pull_first ? pull->size : next->request.size);
      if (giver_->MoreIsComing()) return;
    }
    if (pull_first) {
      pulls_too = false;
    } else {
      ++next;
    }
  }
}

std::vector<MemoryLine::Request> MemoryLine::TakeLate(std::uint64_t now_ms) {
  std::vector<Request> late;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const std::uint64_t patience = at->request.kind == Kind::kCreate ? patience_.create_ms : patience_.restore_ms;
    const bool is_late = now_ms >= std::max(at->since_ms, last_progress_ms_) + patience;
    if (is_late) late.push_back(at->request);
    at = is_late ? waiting_.erase(at) : std::next(at);
  }
  refused_ += late.size();
  return late;
}

void MemoryLine::OnClientGone(ProcessId client) {
  waiting_.remove_if([client](const Waiting& waiting) {
    return waiting.request.kind == Kind::kCreate && waiting.request.client == client;
  });
}

MemoryLineStats MemoryLine::Stats() const {
  const auto creates = std::count_if(waiting_.begin(), waiting_.end(),
                                     [](const Waiting& waiting) { return waiting.request.kind == Kind::kCreate; });
  const auto creating = static_cast<std::uint64_t>(creates);
  return {creating, waiting_.size() - creating, arrived_, refused_};
}

}  // namespace ray_engine
