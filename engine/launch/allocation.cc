#include "engine/launch/allocation.h"

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ray_engine {
namespace {

int LocalSize(const Rank& rank) { return std::max(rank.local_size.value_or(1), 1); }

// This rank's part of `total` whole things; the first ranks of the machine get what is left over.
int PartOf(int total, const Rank& rank) {
  const int size = LocalSize(rank);
  return total / size + (rank.local_rank.value_or(0) < total % size ? 1 : 0);
}

int CutByQuota(int cpus, double quota) {
  return quota > 0 ? std::min(cpus, std::max(1, static_cast<int>(std::floor(quota)))) : cpus;
}

bool HasCpusetOfItsOwn(const MachineFacts& facts, const Rank& rank) {
  return facts.slurm_cpus > facts.allowed_cpus && LocalSize(rank) > 1;
}

// CPUs of this rank before rank 0 keeps one.
int Part(const MachineFacts& facts, const Rank& rank) {
  if (HasCpusetOfItsOwn(facts, rank)) return CutByQuota(facts.allowed_cpus, facts.cpu_quota);
  const int all = facts.slurm_cpus > 0 ? std::min(facts.allowed_cpus, facts.slurm_cpus) : facts.allowed_cpus;
  return PartOf(CutByQuota(all, facts.cpu_quota), rank);
}

}  // namespace

int CpuShare(const MachineFacts& facts, const Rank& rank) {
  const int part = Part(facts, rank);
  if (rank.size == 1) return std::max(part, 1);
  return rank.rank == 0 ? std::max(part - 1, 0) : std::max(part, 1);
}

bool SharesCpus(const MachineFacts& facts, const Rank& rank) {
  return !HasCpusetOfItsOwn(facts, rank) && (!KeepsOwnMask(facts, rank) || facts.own_cpus == facts.allowed_cpus);
}

bool KeepsOwnMask(const MachineFacts& facts, const Rank& rank) { return facts.own_cpus >= Part(facts, rank); }

namespace {

double CpusOf(const Options& options, const MachineFacts& facts, const Rank& rank) {
  return options.Given("num-cpus") ? options.Number("num-cpus") : CpuShare(facts, rank);
}

// Sum over the ranks of this machine, seen from its first one; they have been started alike.
double CpusOfMachine(const Options& options, const MachineFacts& facts, const Rank& first) {
  double sum = 0;
  for (int i = 0; i < LocalSize(first); ++i) {
    Rank one = first;
    one.local_rank = i;
    one.rank = first.rank + i;  // only whether it is rank 0 matters
    sum += CpusOf(options, facts, one);
  }
  return sum;
}

// The GPUs of this rank, of those that all nodes of the machine share: the ranks before it have theirs first.
std::vector<std::string> GpusOf(const MachineFacts& facts, const Rank& rank) {
  int first = 0;
  for (Rank before = rank; before.local_rank.value_or(0) > 0;) {
    before.local_rank = *before.local_rank - 1;
    first += PartOf(facts.gpus, before);
  }
  std::vector<std::string> part;
  for (int i = first; i < first + PartOf(facts.gpus, rank); ++i) {
    part.push_back(facts.visible_gpus ? (*facts.visible_gpus)[static_cast<std::size_t>(i)] : std::to_string(i));
  }
  return part;
}

absl::Status OfferGpus(const Options& options, const MachineFacts& facts, const Rank& rank, bool own_node,
                       Offer* offer) {
  const bool shared = own_node && LocalSize(rank) > 1;
  const bool first = rank.local_rank.value_or(0) == 0;
  const std::vector<std::string> part = shared ? GpusOf(facts, rank) : std::vector<std::string>();
  const auto visible = static_cast<double>(shared ? part.size() : facts.visible_gpus.value_or(part).size());
  offer->num_gpus = shared ? visible : first ? facts.gpus : 0;
  if (options.Given("num-gpus")) offer->num_gpus = options.Number("num-gpus");
  if (facts.visible_gpus && offer->num_gpus > visible) {
    return absl::InvalidArgumentError(
        fmt::format("--num-gpus={}: {} lists {} for this node", offer->num_gpus, facts.gpu_variable, visible));
  }
  if (shared && !part.empty() && offer->num_gpus <= visible)
    offer->gpu_part = {facts.gpu_variable, absl::StrJoin(part, ",")};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Offer> MakeOffer(const Options& options, const MachineFacts& facts, const Rank& rank, bool own_node) {
  const std::uint64_t memory = facts.memory_bytes / static_cast<std::uint64_t>(own_node ? LocalSize(rank) : 1);
  Offer offer;
  offer.num_cpus = CpusOf(options, facts, rank);
  offer.node_cpus = own_node ? offer.num_cpus : CpusOfMachine(options, facts, rank);
  if (offer.node_cpus > ResourceSet::kLargest)
    return absl::InvalidArgumentError(
        fmt::format("--num-cpus: too large for the {} ranks of this machine together", LocalSize(rank)));
  if (absl::Status status = OfferGpus(options, facts, rank, own_node, &offer); !status.ok()) return status;
  offer.store = options.Given("object-store-memory") ? options.Bytes("object-store-memory") : memory / 10 * 3;
  if (offer.store > facts.memory_bytes) {
    return absl::InvalidArgumentError(
        fmt::format("--object-store-memory: an object store of {} does not fit into the {} of memory that "
                    "this job may use here",
                    BytesText(static_cast<double>(offer.store)), BytesText(static_cast<double>(facts.memory_bytes))));
  }
  offer.memory = options.Given("memory") ? options.Bytes("memory") : memory > offer.store ? memory - offer.store : 0;
  return offer;
}

}  // namespace ray_engine
