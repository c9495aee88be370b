#include "engine/launch/allocation.h"

#include <gtest/gtest.h>

namespace ray_engine {
namespace {

Rank RankOf(int rank, int size, int local_rank, int local_size) {
  return {rank, size, local_rank, local_size, "mpirun"};
}

MachineFacts Machine(int allowed, int own) {
  MachineFacts facts;
  facts.allowed_cpus = allowed;
  facts.own_cpus = own;
  facts.memory_bytes = 100ull << 30;
  return facts;
}

TEST(AllocationTest, ALoneRankGivesAllItsCpus) {
  EXPECT_EQ(CpuShare(Machine(8, 8), Rank{}), 8);
  EXPECT_EQ(CpuShare(Machine(8, 1), RankOf(0, 1, 0, 1)), 8)
      << "mpirun -n 1 binds to one CPU, which is not the allocation";
}

TEST(AllocationTest, RankZeroKeepsOneCpu) {
  EXPECT_EQ(CpuShare(Machine(8, 1), RankOf(0, 2, 0, 2)), 3);
  EXPECT_EQ(CpuShare(Machine(8, 1), RankOf(1, 2, 1, 2)), 4);
}

TEST(AllocationTest, EveryOtherRankHasACpu) {
  EXPECT_EQ(CpuShare(Machine(2, 2), RankOf(0, 4, 0, 4)), 0);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(CpuShare(Machine(2, 2), RankOf(i, 4, i, 4)), 1);
}

TEST(AllocationTest, RemainderGoesToTheFirstRanks) {
  EXPECT_EQ(CpuShare(Machine(7, 1), RankOf(4, 7, 0, 3)), 3);
  EXPECT_EQ(CpuShare(Machine(7, 1), RankOf(5, 7, 1, 3)), 2);
}

TEST(AllocationTest, QuotaOfTheCgroupCuts) {
  MachineFacts facts = Machine(64, 64);
  facts.cpu_quota = 2.5;
  EXPECT_EQ(CpuShare(facts, Rank{}), 2);
  facts.cpu_quota = 0.5;
  EXPECT_EQ(CpuShare(facts, Rank{}), 1);
}

TEST(AllocationTest, SlurmTellsTheSizeWhereThereIsNoCgroup) {
  MachineFacts facts = Machine(128, 16);
  facts.slurm_cpus = 32;
  EXPECT_EQ(CpuShare(facts, RankOf(3, 4, 1, 2)), 16);
  EXPECT_TRUE(KeepsOwnMask(facts, RankOf(3, 4, 1, 2)));
}

TEST(AllocationTest, ATaskWithACpusetOfItsOwnHasThat) {
  MachineFacts facts = Machine(16, 16);  // each of two tasks
  facts.slurm_cpus = 32;
  EXPECT_EQ(CpuShare(facts, RankOf(3, 4, 1, 2)), 16);
}

TEST(AllocationTest, AMaskNarrowerThanTheShareIsWidened) {
  EXPECT_FALSE(KeepsOwnMask(Machine(8, 1), RankOf(0, 1, 0, 1)));
  EXPECT_FALSE(KeepsOwnMask(Machine(8, 1), RankOf(1, 2, 1, 2)));
  EXPECT_TRUE(KeepsOwnMask(Machine(8, 4), RankOf(1, 2, 1, 2)));
}

TEST(AllocationTest, OfferOfASharedNodeSumsUpTheCpusOfItsRanks) {
  const auto offer = MakeOffer(Options(), Machine(8, 1), RankOf(0, 4, 0, 4), false);
  ASSERT_TRUE(offer.ok());
  EXPECT_EQ(offer->num_cpus, 1);
  EXPECT_EQ(offer->node_cpus, 7);
  EXPECT_EQ(offer->store, (100ull << 30) / 10 * 3);
  EXPECT_EQ(offer->memory + offer->store, 100ull << 30);
}

TEST(AllocationTest, NodesThatShareAMachineDivideIt) {
  MachineFacts facts = Machine(8, 1);
  facts.gpus = 3;
  const auto offer = MakeOffer(Options(), facts, RankOf(1, 2, 1, 2), true);
  ASSERT_TRUE(offer.ok());
  EXPECT_EQ(offer->node_cpus, 4);
  EXPECT_EQ(offer->num_gpus, 1);
  EXPECT_EQ(offer->memory + offer->store, 50ull << 30);
}

using Part = std::pair<std::string, std::string>;

TEST(AllocationTest, NodesThatShareAMachineSeeDifferentGpus) {
  MachineFacts facts = Machine(8, 1);
  facts.gpus = 3;
  facts.gpu_variable = "CUDA_VISIBLE_DEVICES";
  const auto part = [&facts](int rank) {
    return MakeOffer(Options(), facts, RankOf(rank, 2, rank, 2), true)->gpu_part;
  };
  EXPECT_EQ(part(0), (Part{"CUDA_VISIBLE_DEVICES", "0,1"}));
  EXPECT_EQ(part(1), (Part{"CUDA_VISIBLE_DEVICES", "2"}));
  facts.visible_gpus = {"4", "5", "7"};
  EXPECT_EQ(part(0), (Part{"CUDA_VISIBLE_DEVICES", "4,5"}));
  EXPECT_EQ(part(1), (Part{"CUDA_VISIBLE_DEVICES", "7"}));
  EXPECT_EQ(MakeOffer(Options(), facts, RankOf(0, 2, 0, 1), true)->gpu_part, Part());
}

TEST(AllocationTest, NoMoreGpusAreTakenThanTheVariableLists) {
  MachineFacts facts = Machine(8, 1);
  facts.gpu_variable = "CUDA_VISIBLE_DEVICES";
  Options options;
  ASSERT_TRUE(ReadCommandLine({"--num-gpus=2"}, Program::kLauncher, &options).ok());
  EXPECT_EQ(MakeOffer(options, facts, RankOf(0, 1, 0, 1), false)->num_gpus, 2);  // nobody knows better
  facts.gpus = 1;
  facts.visible_gpus = {"3"};
  const auto offer = MakeOffer(options, facts, RankOf(0, 1, 0, 1), false);
  EXPECT_EQ(offer.status().message(), "--num-gpus=2: CUDA_VISIBLE_DEVICES lists 1 for this node");
}

TEST(AllocationTest, TheUsersNumbersAreTaken) {
  Options options;
  ASSERT_TRUE(ReadCommandLine({"--num-cpus=2", "--num-gpus=1", "--object-store-memory=1G", "--memory=5G"},
                              Program::kLauncher, &options)
                  .ok());
  const auto offer = MakeOffer(options, Machine(8, 1), RankOf(0, 4, 0, 4), false);
  ASSERT_TRUE(offer.ok());
  EXPECT_EQ(offer->num_cpus, 2);
  EXPECT_EQ(offer->node_cpus, 8);
  EXPECT_EQ(offer->num_gpus, 1);
  EXPECT_EQ(offer->store, 1ull << 30);
  EXPECT_EQ(offer->memory, 5ull << 30);
}

TEST(AllocationTest, AStoreLargerThanMemoryIsAnError) {
  Options options;
  ASSERT_TRUE(ReadCommandLine({"--object-store-memory=101G"}, Program::kLauncher, &options).ok());
  EXPECT_EQ(
      std::string(MakeOffer(options, Machine(8, 8), Rank{}, false).status().message()),
      "--object-store-memory: an object store of 101.0 GiB does not fit into the 100.0 GiB of memory that this job "
      "may use here");
}

TEST(AllocationTest, MoreCpusThanCanBeCountedAreAnError) {
  Options options;
  ASSERT_TRUE(ReadCommandLine({"--num-cpus=1e14"}, Program::kLauncher, &options).ok());
  EXPECT_TRUE(MakeOffer(options, Machine(8, 1), Rank{}, false).ok());
  EXPECT_FALSE(MakeOffer(options, Machine(8, 1), RankOf(0, 2, 0, 2), false).ok());
}

TEST(AllocationTest, ThisMachineHasSomething) {
  const MachineFacts facts = ReadMachine(Environment::OfThisProcess(), Rank{});
  EXPECT_GE(facts.allowed_cpus, 1);
  EXPECT_EQ(facts.allowed_cpus, facts.own_cpus);
  EXPECT_GT(facts.memory_bytes, 1u << 20);
}

}  // namespace
}  // namespace ray_engine
