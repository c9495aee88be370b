// What is fuzzed: functions that take any bytes, and end the process if what came out of them breaks a rule.
//
// libFuzzer drives one of them per program (preset fuzz); fuzz_test.cc gives them the corpus, and pieces of it, in
// every ordinary test run.

#pragma once

#include <string_view>
#include <vector>

namespace ray_engine::fuzz {

struct Target {
  const char* name;  // also the folder of its corpus
  void (*run)(std::string_view bytes);
};

const std::vector<Target>& Targets();

}  // namespace ray_engine::fuzz
