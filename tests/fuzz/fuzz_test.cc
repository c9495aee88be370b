// The corpus of the fuzz targets, and what becomes of it when it is cut, or a byte of it is another.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/targets.h"

namespace ray_engine::fuzz {
namespace {

class FuzzTest : public testing::TestWithParam<Target> {};

std::vector<std::string> CorpusOf(const Target& target) {
  std::vector<std::string> corpus;
  for (const auto& file :
       std::filesystem::directory_iterator(std::string(RAY_ENGINE_FUZZ_CORPUS) + "/" + target.name)) {
    std::ifstream stream(file.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  return corpus;
}

TEST_P(FuzzTest, CorpusAndItsNeighbours) {
  const std::vector<std::string> corpus = CorpusOf(GetParam());
  ASSERT_FALSE(corpus.empty());
  std::mt19937_64 random(1);
  for (const std::string& bytes : corpus) {
    GetParam().run(bytes);
    for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 64)
      GetParam().run(bytes.substr(0, size));
    for (int i = 0; i < 100 && !bytes.empty(); ++i) {
      std::string other = bytes;
      other[random() % other.size()] = static_cast<char>(random());
      GetParam().run(other);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FuzzTest, testing::ValuesIn(Targets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ray_engine::fuzz
