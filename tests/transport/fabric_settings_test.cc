#include "engine/transport/fabric_settings.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace ray_engine {
namespace {

std::string Value(const Settings& settings, const std::string& name) {
  for (const auto& [setting, value] : settings) {
    if (setting == name) return value;
  }
  return "(not set)";
}

TEST(FabricSettings, VirtualNodesTalkOverLoopback) {
  const Settings settings = FabricSettings(true, "");
  EXPECT_EQ(Value(settings, "NET_DEVICES"), "lo");
  EXPECT_EQ(Value(settings, "TLS"), "tcp,self");
}

TEST(FabricSettings, NamedInterfaceIsUsed) { EXPECT_EQ(Value(FabricSettings(false, "hsn0"), "NET_DEVICES"), "hsn0"); }

TEST(FabricSettings, UsersVariablesWin) {
  setenv("UCX_NET_DEVICES", "eth7", 1);
  const Settings settings = FabricSettings(true, "");
  unsetenv("UCX_NET_DEVICES");
  EXPECT_EQ(Value(settings, "NET_DEVICES"), "(not set)");
  EXPECT_EQ(Value(settings, "TLS"), "tcp,self");
}

TEST(FabricSettings, EnvironmentLeavesOutWhatIsSet) {
  setenv("UCX_HANDLE_ERRORS", "bt", 1);
  EXPECT_EQ(Value(FabricEnvironment(), "UCX_HANDLE_ERRORS"), "(not set)");
  unsetenv("UCX_HANDLE_ERRORS");
  EXPECT_EQ(Value(FabricEnvironment(), "UCX_HANDLE_ERRORS"), "none");
}

TEST(FabricSettings, ChoosesTheFastestPhysicalInterface) {
  const std::vector<InterfaceFacts> interfaces = {{"lo", true, false, 0},
                                                  {"docker0", false, false, 100'000},
                                                  {"eno1", false, true, 1'000},
                                                  {"hsn0", false, true, 200'000}};
  EXPECT_EQ(ChooseInterface(interfaces, "eno1"), "hsn0");
}

TEST(FabricSettings, DefaultRouteDecidesAmongEquals) {
  const std::vector<InterfaceFacts> physical = {{"eth0", false, true, 0}, {"eth1", false, true, 0}};
  EXPECT_EQ(ChooseInterface(physical, "eth1"), "eth1");
  EXPECT_EQ(ChooseInterface(physical, ""), "eth0");
  const std::vector<InterfaceFacts> virtual_ones = {{"veth0", false, false, 10'000}, {"tun0", false, false, 10}};
  EXPECT_EQ(ChooseInterface(virtual_ones, "tun0"), "tun0");
}

TEST(FabricSettings, LoopbackIsTheLastResort) {
  EXPECT_EQ(ChooseInterface({}, ""), "lo");
  EXPECT_EQ(ChooseInterface({{"lo", true, false, 0}}, "eth0"), "lo");
}

}  // namespace
}  // namespace ray_engine
