#include "engine/base/spill_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace ray_engine {
namespace {

using testing::HasSubstr;

class SpillDirectoryTest : public testing::Test {
 protected:
  // Where the tests run: /tmp may be memory.
  SpillDirectoryTest()
      : folder_(std::filesystem::current_path().string() + "/spill-directory-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_ + "/slurm");
    std::filesystem::create_directories(folder_ + "/tmp");
    std::ofstream(folder_ + "/file") << "x";
  }
  ~SpillDirectoryTest() override { std::filesystem::remove_all(folder_); }

  std::string Default(const std::string& slurm, const std::string& tmp) {
    Environment environment;
    environment.Set("SLURM_TMPDIR", slurm);
    environment.Set("TMPDIR", tmp);
    return DefaultSpillDirectory(environment);
  }

  std::string folder_;
};

TEST_F(SpillDirectoryTest, TheFirstFolderThatIsOneIsTaken) {
  EXPECT_EQ(Default(folder_ + "/slurm", folder_ + "/tmp"), folder_ + "/slurm");
  EXPECT_EQ(Default(folder_ + "/missing", folder_ + "/tmp"), folder_ + "/tmp");
  EXPECT_EQ(Default(folder_ + "/file", folder_ + "/tmp"), folder_ + "/tmp");
  EXPECT_NE(Default("", ""), "");
}

TEST_F(SpillDirectoryTest, WhatLiesInMemoryIsTheLastChoice) {
  if (access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "no /dev/shm";
  EXPECT_EQ(Default("/dev/shm", folder_ + "/tmp"), folder_ + "/tmp");
}

TEST_F(SpillDirectoryTest, SaysWhyAFolderCannotBeUsed) {
  EXPECT_TRUE(CheckSpillDirectory(folder_ + "/tmp").ok());
  for (const std::string& path : {folder_ + "/missing", folder_ + "/file"}) {
    const absl::Status status = CheckSpillDirectory(path);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--spill-directory"));
  }
}

}  // namespace
}  // namespace ray_engine
