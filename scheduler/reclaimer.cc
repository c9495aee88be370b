#include "scheduler/reclaimer.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace ray_engine {
namespace {

constexpr int kLooksPerSlice = 2048;  // at leases and nodes, for all queues: a hundredth of the loop's time
constexpr int kLooksPerAsk = 256;     // for one queue at one time
constexpr int kNodesPerSearch = 64;

}  // namespace

struct Reclaimer::Round {
  DemandQueue* queue = nullptr;
  Time now{};
  bool reserved = false;
  std::uint32_t needed = 0;
  int looks = 0;            // left
  ResourceSet lacking;      // what the node lacks for the queue
  bool units_lack = false;  // of the units that it needs there some are in use
  absl::flat_hash_map<const DemandQueue*, std::uint32_t> asked_of;
  std::vector<Lease*> asked;
};

std::vector<Lease*> Reclaimer::Ask(DemandQueue* queue, Time now) {
  if (queue->asked_at && now - *queue->asked_at < kSlice) return {};
  if (now >= slice_end_) {
    slice_end_ = now + kSlice;
    looks_ = kLooksPerSlice;
  }
  if (looks_ <= 0) return {};
  queue->asked_at = now;
  Round round;
  round.queue = queue;
  round.now = now;
  round.looks = std::min(looks_, kLooksPerAsk);
  round.reserved = reserved_for() == queue;
  round.needed = round.reserved ? kLooksPerAsk : queue->wanted;
  looks_ -= round.looks;
  if (round.reserved) {
    AskOnNode(reservation_->node, &round);
  } else if (queue->WaitsForItsNode(now)) {
    AskOnNode(queue->DataNode(), &round);
  } else {
    const std::size_t nodes = queue->candidates->feasible();
    for (std::size_t i = 0; i < nodes && round.needed > 0 && round.looks > 0; ++i) {
      const std::uint32_t node = *queue->candidates->NextFeasible(next_node_);
      AskOnNode(node, &round);
      next_node_ = node + 1;
      --round.looks;
    }
  }
  looks_ += round.looks;
  return std::move(round.asked);
}

void Reclaimer::AskOnNode(std::uint32_t node, Round* round) {
  const NodeInfo* info = cluster_.Find(node);
  if (info == nullptr) return;
  round->lacking = info->available.Lacking(round->queue->lease_class->resources);
  round->units_lack = !cluster_.books(node).Fits(round->queue->candidates->units());
  for (Lease* lease : leases_.LeasesOn(node)) {
    if (round->needed == 0) return;
    --round->looks;
    if (!MayAsk(*lease, *round)) continue;
    lease->patience = std::min(std::max(2 * lease->patience, kSlice), kMaxAskInterval);
    lease->ask_after = round->now + lease->patience;
    ++round->asked_of[lease->queue];
    round->asked.push_back(lease);
    --round->needed;
  }
}

bool Reclaimer::MayAsk(const Lease& lease, const Round& round) const {
  const DemandQueue& holder = *lease.queue;
  if (&holder == round.queue || holder.client == kHead || holder.gone || lease.blocked) return false;
  if (lease.ask_after > round.now) return false;
  if (!round.reserved) {
    if (holder.active <= round.queue->active) return false;
    const std::uint32_t fair = (holder.active - round.queue->active + 1) / 2;  // what would make the two alike
    const auto asked = round.asked_of.find(&holder);
    if (asked != round.asked_of.end() && asked->second >= fair) return false;
  }
  return lease.held().Overlaps(round.lacking) || (round.units_lack && lease.HasUnits());
}

// ---- the reservation -----------------------------------------------------------------------------------------------

std::optional<std::uint32_t> Reclaimer::reserved_node() const {
  return reservation_ ? std::optional(reservation_->node) : std::nullopt;
}

void Reclaimer::OnOvertaken(DemandQueue* queue, Time now) {
  if (MayStarve(*queue)) queue->overtaken = now;
}

void Reclaimer::Consider(DemandQueue* queue, Time now) {
  if (reservation_ || !queue->overtaken || now - *queue->overtaken < kOvertakenFor || !queue->leases.empty()) return;
  const std::size_t nodes = std::min<std::size_t>(queue->candidates->feasible(), kNodesPerSearch);
  for (std::size_t i = 0; i < nodes; ++i) {
    const std::uint32_t node = *queue->candidates->NextFeasible(next_node_);
    next_node_ = node + 1;
    if (!CouldMakeRoom(*queue, node)) continue;
    queue->patience = std::clamp(2 * queue->patience, kFirstPatience, kMaxPatience);
    queue->asked_at.reset();
    reservation_ = Reservation{queue, node, now + queue->patience};
    return;
  }
}

bool Reclaimer::CouldMakeRoom(const DemandQueue& queue, std::uint32_t node) const {
  const UnitAsk& units = queue.candidates->units();
  ResourceSet room = cluster_.Find(node)->available;
  UnitBooks books = units.Empty() ? UnitBooks() : cluster_.books(node);
  for (const Lease* lease : leases_.LeasesOn(node)) {
    if (lease->queue->client == kHead || lease->blocked) continue;
    room.Add(lease->held());
    if (!units.Empty() && lease->HasUnits()) books.Give(lease->special->units);
  }
  return room.Covers(queue.lease_class->resources) && books.Fits(units);
}

void Reclaimer::OnServed(DemandQueue* queue) {
  queue->overtaken.reset();
  queue->patience = Time{};
  if (reserved_for() == queue) reservation_.reset();
}

void Reclaimer::OnNodeLost(std::uint32_t node) {
  if (reserved_node() == node) reservation_.reset();
}

bool Reclaimer::Expire(Time now) {
  if (!reservation_ || now < reservation_->until) return false;
  DemandQueue* queue = reservation_->queue;
  queue->overtaken = now + queue->patience - kOvertakenFor;  // others have their turn for as long
  reservation_.reset();
  return true;
}

}  // namespace ray_engine
