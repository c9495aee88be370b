// One fuzz target as a libFuzzer program; RAY_ENGINE_FUZZ_TARGET is its name.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const auto& target : ray_engine::fuzz::Targets()) {
    if (std::strcmp(target.name, RAY_ENGINE_FUZZ_TARGET) == 0) {
      target.run({reinterpret_cast<const char*>(data), size});
    }
  }
  return 0;
}
