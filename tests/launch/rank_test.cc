#include "engine/launch/rank.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ray_engine {
namespace {

Environment Of(std::initializer_list<std::pair<const char*, const char*>> variables) {
  Environment environment;
  for (const auto& [name, value] : variables) environment.Set(name, value);
  return environment;
}

TEST(RankTest, StartedByHand) {
  const auto rank =
      DetectRank(Of({{"SLURM_JOB_ID", "7"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}));  // a batch script
  ASSERT_TRUE(rank.ok());
  EXPECT_EQ(rank->size, 1);
  EXPECT_FALSE(rank->Launched());
}

TEST(RankTest, OpenMpi) {
  const auto rank = DetectRank(Of({{"OMPI_COMM_WORLD_RANK", "3"},
                                   {"OMPI_COMM_WORLD_SIZE", "4"},
                                   {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}));
  ASSERT_TRUE(rank.ok());
  EXPECT_EQ(rank->rank, 3);
  EXPECT_EQ(rank->size, 4);
  EXPECT_EQ(rank->local_rank, 1);
  EXPECT_FALSE(rank->OneMachine());
  EXPECT_FALSE(rank->has_pmix);
}

TEST(RankTest, SrunWithPmix) {
  const auto rank = DetectRank(Of({{"PMIX_RANK", "5"},
                                   {"SLURM_PROCID", "5"},
                                   {"SLURM_STEP_ID", "0"},
                                   {"SLURM_STEP_NUM_TASKS", "7"},
                                   {"SLURM_LOCALID", "1"},
                                   {"SLURM_NODEID", "2"},
                                   {"SLURM_STEP_TASKS_PER_NODE", "2(x3),1"}}));
  ASSERT_TRUE(rank.ok());
  EXPECT_EQ(rank->size, 7);
  EXPECT_TRUE(rank->has_pmix);
  EXPECT_EQ(rank->local_rank, 1);
  EXPECT_EQ(rank->local_size, 2);
}

TEST(RankTest, Pmi) {
  const auto rank = DetectRank(Of({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}, {"MPI_LOCALRANKID", "0"}}));
  ASSERT_TRUE(rank.ok());
  EXPECT_EQ(rank->size, 4);
  EXPECT_EQ(rank->local_rank, 0);
  EXPECT_FALSE(rank->local_size.has_value());
}

TEST(RankTest, SrunWithoutMpiIsAnError) {
  const auto rank = DetectRank(Of({{"SLURM_PROCID", "2"}, {"SLURM_STEP_ID", "3"}, {"SLURM_STEP_NUM_TASKS", "4"}}));
  EXPECT_THAT(std::string(rank.status().message()), testing::HasSubstr("--mpi=pmix"));
}

TEST(RankTest, AnInteractiveStepIsNoRank) {
  EXPECT_TRUE(
      DetectRank(Of({{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "4"}})).ok());
}

TEST(RankTest, RanksWithoutANumberAreAnError) {
  using Variables = std::initializer_list<std::pair<const char*, const char*>>;
  for (const Variables& variables : {Variables{{"OMPI_COMM_WORLD_SIZE", "4"}},
                                     {{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "x"}},
                                     {{"PMI_SIZE", "2"}},
                                     {{"PMI_RANK", "1"}},
                                     {{"MV2_COMM_WORLD_SIZE", "4"}, {"MV2_COMM_WORLD_RANK", "0"}},
                                     {{"PMIX_RANK", "0"}}}) {
    const auto rank = DetectRank(Of(variables));
    ASSERT_FALSE(rank.ok()) << variables.begin()->first;
    EXPECT_THAT(std::string(rank.status().message()),
                testing::AllOf(testing::HasSubstr(variables.begin()->first), testing::HasSubstr("unset")));
  }
  EXPECT_TRUE(DetectRank(Of({{"OMPI_COMM_WORLD_SIZE", "1"}})).ok());
  EXPECT_TRUE(DetectRank(Of({{"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967290"}})).ok());
}

TEST(RankTest, NonsenseIsAnError) { EXPECT_FALSE(DetectRank(Of({{"PMI_RANK", "4"}, {"PMI_SIZE", "4"}})).ok()); }

TEST(RankTest, SessionsOfDifferentJobsHaveDifferentNames) {
  const std::string one = SessionName(Of({{"SLURM_JOB_ID", "12"}, {"SLURM_STEP_ID", "0"}}), "own");
  const std::string two = SessionName(Of({{"SLURM_JOB_ID", "12"}, {"SLURM_STEP_ID", "1"}}), "own");
  EXPECT_EQ(one.substr(0, 5), "12.0-");
  EXPECT_EQ(two.substr(0, 5), "12.1-");
  EXPECT_EQ(one, SessionName(Of({{"SLURM_JOB_ID", "12"}, {"SLURM_STEP_ID", "0"}, {"HOME", "/x"}}), "own"));
  EXPECT_NE(SessionName(Of({{"PMIX_NAMESPACE", "1"}}), "own"), SessionName(Of({{"PMIX_NAMESPACE", "2"}}), "own"));
  EXPECT_EQ(SessionName(Of({{"HOME", "/x"}}), "own"), "own");
}

TEST(RankTest, ChildrenDoNotSeeTheLauncher) {
  Environment environment = Of({{"OMPI_COMM_WORLD_RANK", "0"},
                                {"PMIX_RANK", "0"},
                                {"PMI_FD", "3"},
                                {"SLURM_JOB_ID", "1"},
                                {"OMP_NUM_THREADS", "2"}});
  DropLauncherVariables(&environment);
  EXPECT_THAT(environment.Entries(), testing::ElementsAre("OMP_NUM_THREADS=2", "SLURM_JOB_ID=1"));
}

TEST(LostNodeTest, TheLauncherIsToBeToldThatTheJobGoesOn) {
  Environment mpirun = Of({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}});
  EXPECT_THAT(WhatALostNodeEnds(mpirun, *DetectRank(mpirun)), testing::HasSubstr("--enable-recovery"));
  mpirun.Set("OMPI_MCA_orte_enable_recovery", "1");
  EXPECT_EQ(WhatALostNodeEnds(mpirun, *DetectRank(mpirun)), "");
  Environment srun =
      Of({{"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_THAT(WhatALostNodeEnds(srun, *DetectRank(srun)), testing::HasSubstr("--no-kill --kill-on-bad-exit=0"));
  srun.Set("SLURM_NO_KILL", "set");
  srun.Set("SLURM_KILL_BAD_EXIT", "0");
  EXPECT_EQ(WhatALostNodeEnds(srun, *DetectRank(srun)), "");
}

}  // namespace
}  // namespace ray_engine
