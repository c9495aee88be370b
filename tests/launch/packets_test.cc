// The packets between engine and forkserver, as C++ encodes them, are those of packets.txt; test_packets.py checks that
// Python reads and writes the same.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "engine/wire/codec.h"
#include "engine/wire/control.h"

namespace ray_engine {
namespace {

std::map<std::string, std::string> ReadExamples() {
  std::map<std::string, std::string> examples;
  std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "packets.txt");
  for (std::string name, hex; file >> name >> hex;) examples[name] = hex;
  return examples;
}

template <class Message>
std::string Hex(const Message& message) {
  std::string bytes, hex;
  Writer writer(&bytes);
  writer(Message::kType, message);
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

Fork ExampleFork() {
  Fork fork;
  fork.serial = 7;
  fork.job = JobId::FromBinary(std::string("\x01\x02\x03\x04", 4));
  fork.name = "worker";
  fork.environment = {{"A", "1"}, {"B", "zwei ü"}};
  fork.node_environment = {{"C", "3,5"}};
  fork.units = {{"GPU", {0, 2}}, {"TPU", {1}}};
  fork.job_config = std::string("\x80\x05N.\x00", 5);
  return fork;
}

TEST(PacketsTest, AreEncodedAsInTheExamples) {
  const std::map<std::string, std::string> expected = {
      {"fork", Hex(ExampleFork())},
      {"kill", Hex(Kill{7, 15})},
      {"flush", Hex(Flush{77})},
      {"flushed", Hex(Flushed{77})},
      {"forked", Hex(Forked{7, 4711, ""})},
      {"not_forked", Hex(Forked{7, 0, "no more processes"})},
      {"exited", Hex(Exited{7, 4711, 9})},
      {"output", Hex(Output{7, 4711, true, "two\nlines\n"})},
  };
  EXPECT_EQ(ReadExamples(), expected);
}

}  // namespace
}  // namespace ray_engine
