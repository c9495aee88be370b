#include "engine/base/accelerators.h"

#include <gtest/gtest.h>

#include <fstream>

namespace ray_engine {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::string>;

class AcceleratorsTest : public ::testing::Test {
 protected:
  AcceleratorsTest() {
    char name[] = "/tmp/accelerators-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~AcceleratorsTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void AddNvidia(const std::string& address, const std::string& model) {
    Write("proc/driver/nvidia/gpus/" + address + "/information", "Model: \t\t " + model + "\nIRQ:   \t\t 44\n");
  }
  AcceleratorFamily Gpu() const { return Accelerators(environment_, root_).front(); }
  std::string TypeOf(const std::string& model) {
    AddNvidia("0000:01:00.0", model);
    return AcceleratorType(Gpu(), root_);
  }

  fs::path root_;
  Environment environment_;
};

TEST_F(AcceleratorsTest, AMachineWithoutAnyHasNone) {
  EXPECT_EQ(CountGpus(environment_, root_), 0);
  EXPECT_STREQ(Gpu().variable, "CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(VisibleIds(Gpu(), environment_), std::nullopt);
  EXPECT_EQ(AcceleratorType(Gpu(), root_), "");
}

TEST_F(AcceleratorsTest, DevicesOfNvidiaAreCounted) {
  AddNvidia("0000:01:00.0", "NVIDIA H100 80GB HBM3"), AddNvidia("0000:02:00.0", "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(CountGpus(environment_, root_), 2);
}

TEST_F(AcceleratorsTest, DevicesOfAmdAreCountedWithoutTheCpus) {
  const std::string nodes = "sys/class/kfd/kfd/topology/nodes/";
  Write(nodes + "0/gpu_id", "0\n"), Write(nodes + "1/gpu_id", "50155\n"), Write(nodes + "2/gpu_id", "7\n");
  EXPECT_EQ(CountGpus(environment_, root_), 2);
  EXPECT_STREQ(Gpu().variable, "HIP_VISIBLE_DEVICES");
}

TEST_F(AcceleratorsTest, WithoutDevicesTheVariableNamesTheMaker) {
  environment_.Set("ZE_AFFINITY_MASK", "0,1");
  EXPECT_STREQ(Gpu().variable, "ZE_AFFINITY_MASK");
  EXPECT_EQ(CountGpus(environment_, root_), 2);
}

TEST_F(AcceleratorsTest, TheVariableSaysWhatIsVisible) {
  AddNvidia("0000:01:00.0", "Tesla T4");
  for (const char* none : {"", "NoDevFiles", "-1"}) {
    environment_.Set("CUDA_VISIBLE_DEVICES", none);
    EXPECT_EQ(VisibleIds(Gpu(), environment_), Ids()) << none;
    EXPECT_EQ(CountGpus(environment_, root_), 0);
  }
  environment_.Set("CUDA_VISIBLE_DEVICES", "3,GPU-8eaaebb8");
  EXPECT_EQ(VisibleIds(Gpu(), environment_), (Ids{"3", "GPU-8eaaebb8"}));
  EXPECT_EQ(CountGpus(environment_, root_), 2);
}

TEST_F(AcceleratorsTest, TheTypeIsTheNameOfTheModelWithoutItsVariant) {
  EXPECT_EQ(TypeOf("NVIDIA H100 80GB HBM3"), "H100");
  EXPECT_EQ(TypeOf("NVIDIA A100-SXM4-40GB"), "A100");
  EXPECT_EQ(TypeOf("Tesla V100-SXM2-16GB"), "V100");
  EXPECT_EQ(TypeOf("NVIDIA RTX PRO 6000 Blackwell Server Edition"), "RTX-PRO-6000");
  EXPECT_EQ(TypeOf("NVIDIA GeForce RTX 5090"), "GeForce-RTX-5090");
}

TEST_F(AcceleratorsTest, OneFamilyPerResource) {
  Ids resources;
  for (const AcceleratorFamily& family : Accelerators(environment_, root_)) resources.emplace_back(family.resource);
  EXPECT_EQ(resources, (Ids{"GPU", "neuron_cores", "TPU", "NPU", "HPU", "RBLN", "FURIOSA", "MBLT", "TTNPU"}));
}

TEST_F(AcceleratorsTest, UnitsAreGpusAndTheOthers) {
  EXPECT_TRUE(IsUnitResource("GPU"));
  EXPECT_TRUE(IsUnitResource("neuron_cores"));
  EXPECT_FALSE(IsUnitResource("CPU"));
  EXPECT_FALSE(IsUnitResource("GPU_group_0a"));
}

}  // namespace
}  // namespace ray_engine
