// Random programs on simulated processes: whatever the order in which frames arrive and whoever dies, values that
// somebody holds stay, everything else goes, every result comes once and nothing waits for ever.
//
// RAY_ENGINE_SIM_SEED=n runs one seed of every test; RAY_ENGINE_SIM_SEEDS=n runs so many of them;
// RAY_ENGINE_SIM_PRINT=1 prints every frame.

#include <cstdlib>

#include "gtest/gtest.h"
#include "tests/sim/sim_world.h"

namespace ray_engine::sim {
namespace {

#ifdef NDEBUG
constexpr std::uint64_t kSeeds = 1000;
#else
constexpr std::uint64_t kSeeds = 50;  // sanitizers, and checks of the standard library, take their time
#endif

std::uint64_t FromEnvironment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

template <class Set>
void RunSeeds(Set set) {
  const std::uint64_t only = FromEnvironment("RAY_ENGINE_SIM_SEED", 0);
  const std::uint64_t count = FromEnvironment("RAY_ENGINE_SIM_SEEDS", kSeeds);
  for (std::uint64_t seed = only == 0 ? 1 : only; seed <= (only == 0 ? count : only); ++seed) {
    SimOptions options;
    options.seed = seed;
    options.prints = FromEnvironment("RAY_ENGINE_SIM_PRINT", 0) != 0;
    options.nodes = 1 + seed % 3;
    options.cpus = 1 + seed / 3 % 2;
    options.drivers = 1 + seed % 2;
    set(&options);
    ASSERT_EQ(SimWorld(options).Run(), "");
  }
}

TEST(SimulationTest, NestedTasksAndReferences) {
  RunSeeds([](SimOptions*) {});
}

TEST(SimulationTest, ReferencesKeptInWorkersAndActors) {
  RunSeeds([](SimOptions* options) { options->actors = options->keep_state = true; });
}

TEST(SimulationTest, FailingAndCancelledTasks) {
  RunSeeds(
      [](SimOptions* options) { options->actors = options->keep_state = options->failures = options->cancels = true; });
}

TEST(SimulationTest, LeasesReclaimedAndIdleWorkersEnded) {
  RunSeeds([](SimOptions* options) { options->actors = options->meddling = options->failures = true; });
}

TEST(SimulationTest, Crashes) {
  RunSeeds([](SimOptions* options) { options->actors = options->keep_state = options->crashes = true; });
}

TEST(SimulationTest, StoredValuesThatVanish) {
  RunSeeds([](SimOptions* options) { options->actors = options->keep_state = options->losses = true; });
}

// Nobody ever ends, so nothing may be left in a store.
TEST(SimulationTest, StoredValuesThatVanishWhileNobodyDies) {
  RunSeeds([](SimOptions* options) { options->keep_state = options->losses = options->failures = true; });
}

TEST(SimulationTest, Streams) {
  RunSeeds([](SimOptions* options) { options->actors = options->streams = options->meddling = true; });
}

TEST(SimulationTest, StreamsWhoseItemsVanish) {
  RunSeeds([](SimOptions* options) { options->actors = options->streams = options->losses = true; });
}

TEST(SimulationTest, ActorsThatAreKilled) {
  RunSeeds(
      [](SimOptions* options) { options->actors = options->keep_state = options->kills = options->crashes = true; });
}

// Crashed, cut off for a while or for too long, or given up while they live.
TEST(SimulationTest, NodesThatAreLost) {
  RunSeeds([](SimOptions* options) {
    options->actors = options->keep_state = options->node_ends = true;
    options->nodes = 3;
  });
}

TEST(SimulationTest, EverythingAtOnce) {
  RunSeeds([](SimOptions* options) {
    options->actors = options->keep_state = options->failures = options->cancels = true;
    options->meddling = options->crashes = options->losses = options->streams = true;
    options->kills = options->node_ends = true;
    options->nodes = 3;
  });
}

TEST(SimulationTest, ValuesAreFoundWhereTheirOwnersSaidTheyLie) {
  std::uint64_t proven = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.actors = options.keep_state = true;
    SimWorld world(options);
    ASSERT_EQ(world.Run(), "");
    proven += world.proven_hints();
  }
  EXPECT_GT(proven, 0u);
}

TEST(SimulationTest, EqualSeedsRunEqually) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.actors = options.crashes = true;
    SimWorld first(options), second(options);
    first.Run();
    second.Run();
    EXPECT_EQ(first.trace(), second.trace());
    EXPECT_EQ(first.events(), second.events());
  }
}

}  // namespace
}  // namespace ray_engine::sim
