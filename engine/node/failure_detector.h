// FailureDetector: which of the nodes it watches have been silent for too long.
//
// It counts its owner's own ticks, not the time: an owner that was stopped itself, with or without the others, makes
// one late tick of it and accuses nobody.
//
// Pure; loop-bound.

#pragma once

#include <absl/container/btree_map.h>

#include <cstdint>
#include <vector>

namespace ray_engine {

class FailureDetector {
 public:
  // A node is silent after so many whole ticks in a row without a sign of life.
  explicit FailureDetector(std::uint32_t ticks) : ticks_(ticks) {}

  void Watch(std::uint32_t node) { nodes_.try_emplace(node); }
  void Forget(std::uint32_t node) { nodes_.erase(node); }
  void OnHeard(std::uint32_t node);
  // Returns the nodes that are silent by now, and forgets them.
  std::vector<std::uint32_t> OnTick();

  std::vector<std::uint32_t> Watched() const;

 private:
  struct Signs {
    bool heard = true;  // since the last tick
    std::uint32_t missed = 0;
  };
  std::uint32_t ticks_;
  absl::btree_map<std::uint32_t, Signs> nodes_;
};

}  // namespace ray_engine
