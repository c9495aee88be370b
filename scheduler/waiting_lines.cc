#include "scheduler/waiting_lines.h"

namespace ray_engine {

void WaitingLines::Join(DemandQueue* queue) {
  std::unique_ptr<Line>& line = lines_[queue->candidates];
  queue->turn = ++last_turn_;
  if (line == nullptr) {
    line = std::make_unique<Line>();
    line->shape = queue->candidates;
    by_turn_.emplace(queue->turn, line.get());
  }
  line->queues.push_back(*queue);
  queue->line = line.get();
}

void WaitingLines::Leave(DemandQueue* queue) {
  Line* line = queue->line;
  const std::uint64_t before = line->queues.front().turn;
  line->queues.erase(Line::Queues::s_iterator_to(*queue));
  queue->line = nullptr;
  Reorder(line, before);
}

void WaitingLines::ToEnd(DemandQueue* queue) {
  Line* line = queue->line;
  const std::uint64_t before = line->queues.front().turn;
  line->queues.splice(line->queues.end(), line->queues, Line::Queues::s_iterator_to(*queue));
  queue->turn = ++last_turn_;
  Reorder(line, before);
}

void WaitingLines::Reorder(Line* line, std::uint64_t before) {
  if (line->queues.empty()) {
    by_turn_.erase(before);
    lines_.erase(line->shape);
  } else if (line->queues.front().turn != before) {
    by_turn_.erase(before);
    by_turn_.emplace(line->queues.front().turn, line);
  }
}

}  // namespace ray_engine
