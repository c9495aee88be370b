// WaitingLines: the queues that wait for leases, in a line for each shape of requests, and whose turn it is.
//
// A queue that joins its line, or has been served, stands at the end of it and takes the last turn of all. Lines are
// kept by the turn of their first queue, so that nothing is sorted for a decision.
//
// Owns the lines, not the queues. Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <memory>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "boost/intrusive/list.hpp"
#include "scheduler/lease_table.h"

namespace ray_engine {

struct Line {
  using Queues =
      boost::intrusive::list<DemandQueue,
                             boost::intrusive::member_hook<DemandQueue, DemandQueue::Hook, &DemandQueue::in_line>,
                             boost::intrusive::constant_time_size<false>>;
  Candidates* shape = nullptr;
  Queues queues;  // by turn; never empty
  Time warn_at{};
};

class WaitingLines {
 public:
  using ByTurn = absl::btree_map<std::uint64_t, Line*>;  // of the first queue

  bool empty() const { return by_turn_.empty(); }
  const ByTurn& by_turn() const { return by_turn_; }

  // To the line of its shape.
  void Join(DemandQueue* queue);
  void Leave(DemandQueue* queue);
  // It has been served.
  void ToEnd(DemandQueue* queue);

 private:
  // The line's first queue may be another than that of turn `before`.
  void Reorder(Line* line, std::uint64_t before);

  absl::flat_hash_map<Candidates*, std::unique_ptr<Line>> lines_;
  ByTurn by_turn_;
  std::uint64_t last_turn_ = 0;
};

}  // namespace ray_engine
