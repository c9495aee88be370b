// Welcomes: what a new process of this node is told, and the descriptors that travel with it.
//
// Loop-bound.

#pragma once

#include <vector>

#include "engine/node/node_config.h"
#include "engine/node/process_links.h"
#include "engine/node/process_table.h"
#include "engine/wire/control.h"
#include "objectstore/segment.h"

namespace ray_engine {

class Welcomes {
 public:
  // The pointers must outlive this.
  Welcomes(const ProcessLinks* links, const Segment* store, const NodeConfig* config)
      : links_(links), store_(store), config_(config) {}

  Welcome For(const Process& process) const;
  std::vector<int> Fds() const;

 private:
  const ProcessLinks* links_;
  const Segment* store_;
  const NodeConfig* config_;
};

}  // namespace ray_engine
