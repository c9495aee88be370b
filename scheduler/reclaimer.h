// Reclaimer: which leases are asked back so that those who wait get their share, and which node is kept for one who
// starves.
//
// A waiting queue may ask back leases of queues that have more of them than itself, once each lease has had its slice
// (only those on the node with its arguments, while it waits for that node); a lease that is not returned is asked
// again at growing intervals. A queue that holds nothing and sees others served on nodes it waits for (a large request
// among small ones) gets a reservation: one node takes nobody else until the request fits or its patience is over,
// which doubles each time.
//
// Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/cluster_view.h"
#include "scheduler/lease_table.h"

namespace ray_engine {

class Reclaimer {
 public:
  static constexpr Time kSlice = std::chrono::milliseconds(5);
  static constexpr Time kMaxAskInterval = std::chrono::seconds(1);
  static constexpr Time kOvertakenFor = std::chrono::milliseconds(20);
  static constexpr Time kFirstPatience = std::chrono::milliseconds(100);
  static constexpr Time kMaxPatience = std::chrono::seconds(10);

  Reclaimer(LeaseTable* leases, const ClusterView* cluster) : leases_(*leases), cluster_(*cluster) {}

  // Leases to be asked back now for the sake of `queue`: one round per slice, none in between. Marks them as asked.
  std::vector<Lease*> Ask(DemandQueue* queue, Time now);

  // ---- the reservation, at most one ----
  DemandQueue* reserved_for() const { return reservation_ ? reservation_->queue : nullptr; }
  std::optional<std::uint32_t> reserved_node() const;
  // It has nothing, and was not known to be overtaken.
  static bool MayStarve(const DemandQueue& queue) { return !queue.overtaken && queue.leases.empty(); }
  // `queue` stays without while others are served where it could run.
  void OnOvertaken(DemandQueue* queue, Time now);
  // Reserves a node for the queue if it starves, no other reservation stands, and returned leases could make room
  // there.
  void Consider(DemandQueue* queue, Time now);
  // The queue was served, or waits no longer.
  void OnServed(DemandQueue* queue);
  void OnNodeLost(std::uint32_t node);
  // Ends a reservation whose patience is over; true if it did.
  bool Expire(Time now);

 private:
  struct Reservation {
    DemandQueue* queue = nullptr;
    std::uint32_t node = 0;
    Time until{};
  };

  struct Round;  // one call of Ask

  void AskOnNode(std::uint32_t node, Round* round);
  bool MayAsk(const Lease& lease, const Round& round) const;
  bool CouldMakeRoom(const DemandQueue& queue, std::uint32_t node) const;

  LeaseTable& leases_;
  const ClusterView& cluster_;
  std::optional<Reservation> reservation_;
  std::uint32_t next_node_ = 0;  // where the next search for leases begins
  Time slice_end_{};
  int looks_ = 0;  // left of this slice
};

}  // namespace ray_engine
