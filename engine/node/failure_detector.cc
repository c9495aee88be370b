#include "engine/node/failure_detector.h"

#include <utility>

namespace ray_engine {

void FailureDetector::OnHeard(std::uint32_t node) {
  const auto it = nodes_.find(node);
  if (it != nodes_.end()) it->second.heard = true;
}

std::vector<std::uint32_t> FailureDetector::OnTick() {
  std::vector<std::uint32_t> silent;
  for (auto& [node, signs] : nodes_) {
    signs.missed = std::exchange(signs.heard, false) ? 0 : signs.missed + 1;
    if (signs.missed >= ticks_) silent.push_back(node);
  }
  for (const std::uint32_t node : silent) nodes_.erase(node);
  return silent;
}

std::vector<std::uint32_t> FailureDetector::Watched() const {
  std::vector<std::uint32_t> nodes;
  for (const auto& [node, signs] : nodes_) nodes.push_back(node);
  return nodes;
}

}  // namespace ray_engine
